"""Methods that editors are compared with: one file each, with its paper."""
