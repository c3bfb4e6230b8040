"""Making editing data: captions → triplets → pairs → selection → export, each stage a pure function of rows."""
