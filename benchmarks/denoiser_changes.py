"""Single changes of a denoiser that are said to make it faster, each undone afterwards."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import torch
from torch.utils import _pytree as pytree

from benchmarks.chip import replaced

Change = Callable[[Any], AbstractContextManager[None]]
_WARM_UP_CALLS = 3


class Graphs:
    """A denoiser's kernels as CUDA graphs, one for each shape of its arguments: a call is one launch.

    What `torch.compile` does with mode "reduce-overhead", but in any thread: in torch 2.11 (no longer in 2.15) that
    mode fails in threads that torch has not started itself, such as the engine's.
    """

    def __init__(self, call: Callable[..., Any]) -> None:
        self._call = call
        self._graphs: dict[Hashable, tuple[Any, list[torch.Tensor], Any]] = {}
        self._pool = torch.cuda.graph_pool_handle()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the call gives; the first for new shapes takes as long as several."""
        leaves, structure = pytree.tree_flatten((args, kwargs))
        tensors = [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]
        others = tuple(None if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves)
        key = (str(structure), others, tuple((tensor.shape, tensor.dtype) for tensor in tensors))
        if key not in self._graphs:
            kept = [tensor.clone() for tensor in tensors]
            filled = iter(kept)
            held = [next(filled) if isinstance(leaf, torch.Tensor) else leaf for leaf in leaves]
            self._graphs[key] = self._captured(*pytree.tree_unflatten(held, structure), kept)
        graph, inputs, output = self._graphs[key]
        for own, given in zip(inputs, tensors, strict=True):
            own.copy_(given)
        graph.replay()
        # The next replay writes where this one has written.
        return pytree.tree_map_only(torch.Tensor, torch.clone, output)

    def _captured(self, args: Any, kwargs: Any, inputs: list[torch.Tensor]) -> tuple[Any, list[torch.Tensor], Any]:
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            for _ in range(_WARM_UP_CALLS):
                self._call(*args, **kwargs)
        torch.cuda.current_stream().wait_stream(stream)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, pool=self._pool, capture_error_mode="thread_local"):
            output = self._call(*args, **kwargs)
        return graph, inputs, output


@contextmanager
def compiled(denoiser: Any) -> Iterator[None]:
    """By `torch.compile`, whole and with its default mode."""
    with replaced([(denoiser, "forward", torch.compile(denoiser.forward, fullgraph=True))]):
        yield
    torch.compiler.reset()


@contextmanager
def in_graphs(denoiser: Any) -> Iterator[None]:
    """As CUDA graphs."""
    with replaced([(denoiser, "forward", Graphs(denoiser.forward))]):
        yield


@contextmanager
def compiled_in_graphs(denoiser: Any) -> Iterator[None]:
    """Compiled, and the compiled kernels as CUDA graphs."""
    with compiled(denoiser), in_graphs(denoiser):
        yield


@contextmanager
def channels_last(denoiser: Any) -> Iterator[None]:
    """Convolutions with the channels of a pixel side by side in memory."""
    denoiser.to(memory_format=torch.channels_last)
    yield
    denoiser.to(memory_format=torch.contiguous_format)


@contextmanager
def fused_qkv(denoiser: Any) -> Iterator[None]:
    """One matrix product for queries, keys and values of an attention layer."""
    denoiser.fuse_qkv_projections()
    yield
    denoiser.unfuse_qkv_projections()
