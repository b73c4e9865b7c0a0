"""Metric families, one file each, over the small interface of `base.py`."""
