"""Writers: language models that turn a caption into an instruction and the caption after it."""
