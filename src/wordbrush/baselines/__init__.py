"""The methods that instruction editors are measured against: one file each."""
