"""Denoising engines: what runs between a checked item and its picture."""
