"""Statistics of the papers: agreement (ICC), rank correlation, paired bootstrap and t-test, goodness of fit.

Plain functions of numbers to frozen results; numpy and scipy only.
"""

from services.common.statistics.agreement import (
    CicchettiBand,
    Icc,
    IccForm,
    KooLiBand,
    cicchetti_band,
    counted_icc,
    icc,
    icc_value,
    koo_li_band,
)
from services.common.statistics.bootstrap import BootstrapDifference, Statistic, paired_bootstrap
from services.common.statistics.correlation import Spearman, average_ranks, counted_rho, spearman, spearman_rho
from services.common.statistics.frequencies import ChiSquare, chi_square_uniform
from services.common.statistics.moments import Moments
from services.common.statistics.paired import MeanInterval, PairedComparison, mean_interval, paired_comparison

__all__ = [
    "BootstrapDifference",
    "ChiSquare",
    "CicchettiBand",
    "Icc",
    "IccForm",
    "KooLiBand",
    "MeanInterval",
    "Moments",
    "PairedComparison",
    "Spearman",
    "Statistic",
    "average_ranks",
    "chi_square_uniform",
    "cicchetti_band",
    "counted_icc",
    "counted_rho",
    "icc",
    "icc_value",
    "koo_li_band",
    "mean_interval",
    "paired_bootstrap",
    "paired_comparison",
    "spearman",
    "spearman_rho",
]
