"""Backends as processes of their own that speak the real contracts, know nothing of torch, and start in a second."""
