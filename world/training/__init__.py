"""Training of the embedded models on the drawn world: ``python -m world.training.all``."""
