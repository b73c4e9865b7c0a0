"""The drawn world: a scene graph in, a 128x128 picture and captions out, all deterministic by seed."""
