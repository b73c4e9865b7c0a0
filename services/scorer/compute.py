"""Where torch computes: device, threads, number type and the digest of what it loaded."""

from __future__ import annotations

import hashlib
import os
from typing import Literal

import torch
from torch import nn

from services.common.settings import Settings

DType = Literal["float32", "bfloat16", "float16"]


def device_of(settings: Settings) -> torch.device:
    """Device of the settings; "auto" takes the first GPU if there is one."""
    if settings.device == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    return torch.device(settings.device)


def dtype_on(device: torch.device, dtype: DType) -> torch.dtype:
    """Number type to compute in: float16 is for GPUs, a CPU takes float32 instead."""
    if device.type == "cpu" and dtype == "float16":
        return torch.float32
    found: torch.dtype = getattr(torch, dtype)
    return found


def set_threads(settings: Settings) -> None:
    """Sets torch's threads for this process. Ray allows a replica only as many as it reserves, so it is set here."""
    torch.set_num_threads(settings.torch_threads or len(os.sched_getaffinity(0)))


def weights_revision(model: nn.Module) -> str:
    """Short SHA-256 over names, types and values of all parameters and buffers, wherever they came from."""
    digest = hashlib.sha256()
    for name, value in sorted(model.state_dict().items()):
        digest.update(f"{name}:{value.dtype}:{tuple(value.shape)}".encode())
        digest.update(value.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()[:16]


def revision_upon(embedder_revision: str, head: nn.Module) -> str:
    """Revision of a head over embeddings: its values depend on the weights of both."""
    return hashlib.sha256(f"{embedder_revision}:{weights_revision(head)}".encode()).hexdigest()[:16]
