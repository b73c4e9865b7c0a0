"""Reading models from files beside an engine that computes.

For moments of it the loaders change the whole process: while they build the modules of a half-precision model, torch's
default dtype is half precision, and while accelerate builds modules without memory, every module of every thread is
built so. The engine and what loads adapters wait for the end of such a moment, not for the reading itself.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import accelerate
import torch

_reading = threading.Lock()
# Whoever takes both takes the first one first.
_default_dtype = threading.RLock()
_building = threading.RLock()


@contextmanager
def reading() -> Iterator[None]:
    """For the call of a loader; one at a time."""
    with _reading:
        set_dtype, empty_weights = torch.set_default_dtype, accelerate.init_empty_weights
        before, has_changed = torch.get_default_dtype(), False

        def set_default_dtype(dtype: torch.dtype) -> None:
            nonlocal has_changed
            if dtype is not before and not has_changed:
                _default_dtype.acquire()
                has_changed = True
            set_dtype(dtype)
            if dtype is before and has_changed:
                has_changed = False
                _default_dtype.release()

        @contextmanager
        def init_empty_weights(*arguments: Any, **options: Any) -> Iterator[None]:
            with _building, empty_weights(*arguments, **options):
                yield

        torch.set_default_dtype, accelerate.init_empty_weights = set_default_dtype, init_empty_weights
        try:
            yield
        finally:
            # A loader that fails may leave the dtype behind.
            set_default_dtype(before)
            torch.set_default_dtype, accelerate.init_empty_weights = set_dtype, empty_weights


@contextmanager
def computing() -> Iterator[None]:
    """For work that makes tensors of the default dtype."""
    with _default_dtype:
        yield


@contextmanager
def building() -> Iterator[None]:
    """For work that builds modules."""
    with _default_dtype, _building:
        yield
