"""Training instruction editors as InstructPix2Pix does (arXiv:2211.09800); ``loop.train`` is the one verb."""
