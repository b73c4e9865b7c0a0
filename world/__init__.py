"""The drawn world: a scene graph in, a 64x64 picture and captions out, all deterministic by seed."""
