"""Networks whose attention can be controlled: where their attention layers are, and the one way to alter them."""
