"""Checks of the machine that a gateway runs on, for `likeness doctor`."""
