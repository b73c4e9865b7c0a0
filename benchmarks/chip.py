"""A GPU, or a CPU in its place: time in a pipeline's networks, the rate of matrix products, memory."""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch

GIBIBYTE = 2**30
_MATRIX_SIDE = {"cuda": 8192, "cpu": 1024}
_MATRIX_PRODUCTS = 20


def hardware(device: torch.device) -> str:
    """Name of the chip."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return platform.processor() or platform.machine()


def matrix_rate(device: torch.device, dtype: torch.dtype) -> float:
    """Operations a second of a large matrix product of random numbers, two to a multiplication: the median of many."""
    side = _MATRIX_SIDE[device.type]
    # Not zeros: chips are faster on those.
    one, other = (torch.randn(side, side, device=device).to(dtype) for _ in range(2))
    seconds = []
    for _ in range(_MATRIX_PRODUCTS):
        stopwatch = Stopwatch(device)
        stopwatch.around(torch.matmul, "product")(one, other)
        seconds.append(stopwatch.seconds("product"))
    return float(2 * side**3 / sorted(seconds)[_MATRIX_PRODUCTS // 2])


def finish(device: torch.device) -> None:
    """Waits until the device has done all it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def forget_peak(device: torch.device) -> None:
    """Begins to measure memory anew."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def peak_gibibytes(device: torch.device) -> float | None:
    """Most that tensors and graphs have held; None on a CPU."""
    return torch.cuda.max_memory_reserved(device) / GIBIBYTE if device.type == "cuda" else None


class Stopwatch:
    """Adds up the time of calls by name, on the device's own clock where it has one: nothing waits for it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._spans: list[tuple[str, Any, Any]] = []

    def around(self, call: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The call, timed."""

        def timed(*args: Any, **kwargs: Any) -> Any:
            began = self._now()
            result = call(*args, **kwargs)
            self._spans.append((name, began, self._now()))
            return result

        return timed

    def calls(self, name: str) -> int:
        """How many there were."""
        return sum(of == name for of, _, _ in self._spans)

    def seconds(self, *names: str) -> float:
        """Time of all calls of some names."""
        finish(self._device)
        return sum(self._between(began, ended) for name, began, ended in self._spans if name in names)

    def reset(self) -> None:
        """Forgets all calls."""
        self._spans.clear()

    def _now(self) -> Any:
        if self._device.type != "cuda":
            return time.perf_counter()
        event = torch.cuda.Event(enable_timing=True)
        event.record(torch.cuda.current_stream(self._device))
        return event

    def _between(self, began: Any, ended: Any) -> float:
        return float(ended - began if self._device.type != "cuda" else began.elapsed_time(ended) / 1000)


DENOISER, ENCODER, DECODER = "denoiser", "encoder", "decoder"


@contextmanager
def timed_networks(pipeline: Any, stopwatch: Stopwatch) -> Iterator[None]:
    """Times a pipeline's denoiser, text encoders and decoder while it lasts."""
    found = [(pipeline.unet, "forward", DENOISER), (pipeline.vae, "decode", DECODER)]
    encoders = (pipeline.text_encoder, getattr(pipeline, "text_encoder_2", None))
    found += [(encoder, "forward", ENCODER) for encoder in encoders if encoder is not None]
    with replaced([(network, name, stopwatch.around(getattr(network, name), part)) for network, name, part in found]):
        yield


@contextmanager
def replaced(methods: list[tuple[Any, str, Callable[..., Any]]]) -> Iterator[None]:
    """Other functions in the place of objects' methods while it lasts; such replacements may be nested."""
    before = [(owner, name, vars(owner).get(name)) for owner, name, _ in methods]
    for owner, name, function in methods:
        setattr(owner, name, function)
    try:
        yield
    finally:
        for owner, name, own in before:
            if own is None:
                delattr(owner, name)
            else:
                setattr(owner, name, own)
