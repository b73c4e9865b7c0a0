"""Evaluations: many items scored by the same settings, from a stream or from a manifest."""
