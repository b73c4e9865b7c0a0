"""Loaders change the whole process for moments: nobody else may meet them."""

from __future__ import annotations

import threading
import time
from pathlib import Path

import accelerate
import pytest
import torch
from diffusers import DiffusionPipeline

from services.generator.reading import building, computing, reading


def test_who_computes_or_builds_meets_nothing_of_a_half_precision_model_being_read(models_dir: Path) -> None:
    seen: set[torch.dtype] = set()
    turns, stop = 0, threading.Event()

    def engine() -> None:
        nonlocal turns
        while not stop.is_set():
            with computing():
                seen.add(torch.tensor(0.5).dtype)
            with building():
                assert not torch.nn.Linear(1, 1).weight.is_meta
            turns += 1

    windows: list[torch.dtype] = []
    with reading():
        set_dtype = torch.set_default_dtype

        def noted(dtype: torch.dtype) -> None:
            set_dtype(dtype)
            windows.append(dtype)

        torch.set_default_dtype = noted
        thread = threading.Thread(target=engine)
        thread.start()
        # The others go on while somebody reads.
        while turns < 2:
            time.sleep(0.001)
        pipeline = DiffusionPipeline.from_pretrained(models_dir / "tiny", dtype=torch.float16)
        torch.set_default_dtype = set_dtype
    stop.set()
    thread.join()
    # The loader did what this is about.
    assert torch.float16 in windows
    assert seen == {torch.float32} and pipeline.unet.dtype is torch.float16


def test_a_loader_that_fails_leaves_everything_as_it_was() -> None:
    before = torch.set_default_dtype, accelerate.init_empty_weights
    with pytest.raises(RuntimeError), reading():
        torch.set_default_dtype(torch.float16)
        raise RuntimeError
    assert torch.get_default_dtype() is torch.float32
    assert (torch.set_default_dtype, accelerate.init_empty_weights) == before

    def build() -> None:
        with building():
            pass

    # In another thread: this one may hold the locks without noticing.
    other = threading.Thread(target=build, daemon=True)
    other.start()
    other.join(60)
    assert not other.is_alive()
