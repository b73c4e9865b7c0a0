"""How far one set of pictures is from another: the kernel distance of their features.

The Fréchet distance, which FID reports, needs the covariance of as many features as the judge has (256). Of some
hundred pictures it is singular, and the distance comes out too large, by an amount that depends on the number of
pictures and on the generator: neither values nor their order could be trusted. A diagonal or shrunk covariance
estimates another distance and keeps a bias. The kernel distance (KID; Binkowski et al. 2018, "Demystifying MMD GANs")
is the squared maximum mean discrepancy under the kernel (x . y / d + 1)^3. It is 0 where all moments up to the third
are equal, so it sees all that the Fréchet distance sees, and its estimate is right on average for sets of any size.
Sets of one distribution get values around 0, some of them below.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Distance:
    """An estimate of 0 or more, and how far it is off by chance (one standard error)."""

    value: float
    standard_error: float


def kernel_distance(features: torch.Tensor, reference: torch.Tensor) -> Distance:
    """Distance of features [N, D] from features [M, D] of independent pictures.

    The standard error comes from leaving out each picture in turn (jackknife) and covers both sets.

    Raises:
        ValueError: a set has fewer than three pictures, or the sets differ in features.
    """
    if features.ndim != 2 or features.shape[1:] != reference.shape[1:] or min(len(features), len(reference)) < 3:
        raise ValueError(f"{list(features.shape)} and {list(reference.shape)}; allowed: [3 or more, D] with one D")
    x, y = features.double(), reference.double()
    within_x, without_x = _mean_of_pairs(_kernel(x, x))
    within_y, without_y = _mean_of_pairs(_kernel(y, y))
    between = _kernel(x, y)
    mean = between.mean()
    lost_x = without_x + within_y - 2 * _means_without_rows(between)
    lost_y = within_x + without_y - 2 * _means_without_rows(between.T)
    value = within_x + within_y - 2 * mean
    return Distance(value.item(), (_jackknife_variance(lost_x) + _jackknife_variance(lost_y)).sqrt().item())


def _kernel(x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
    return (x @ y.T / x.shape[1] + 1) ** 3


def _mean_of_pairs(kernel: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Mean of a kernel [N, N] over pairs of two pictures, and the same [N] without each picture."""
    count = len(kernel)
    sums = kernel.sum(1) - kernel.diagonal()
    total = sums.sum()
    return total / (count * (count - 1)), (total - 2 * sums) / ((count - 1) * (count - 2))


def _means_without_rows(kernel: torch.Tensor) -> torch.Tensor:
    """Means [N] of a kernel [N, M] without each row."""
    rows, columns = kernel.shape
    return (kernel.sum() - kernel.sum(1)) / ((rows - 1) * columns)


def _jackknife_variance(estimates: torch.Tensor) -> torch.Tensor:
    return (len(estimates) - 1) * estimates.var(correction=0)
