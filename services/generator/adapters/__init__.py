"""LoRA adapters of a generator model: small changes of its weights that a picture may be made with."""
