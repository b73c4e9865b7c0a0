"""Likeness regenerates images: from a target picture to the prompt and the picture that match it."""
