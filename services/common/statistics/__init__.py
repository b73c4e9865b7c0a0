"""Statistics of the papers: agreement (ICC), rank correlation, paired bootstrap, goodness of fit.

Plain functions of numbers to frozen results; numpy and scipy only.
"""

from services.common.statistics.agreement import (
    CicchettiBand,
    Icc,
    IccForm,
    KooLiBand,
    cicchetti_band,
    icc,
    icc_value,
    koo_li_band,
)
from services.common.statistics.bootstrap import BootstrapDifference, paired_bootstrap
from services.common.statistics.correlation import Spearman, average_ranks, spearman, spearman_rho
from services.common.statistics.frequencies import ChiSquare, chi_square_uniform

__all__ = [
    "BootstrapDifference",
    "ChiSquare",
    "CicchettiBand",
    "Icc",
    "IccForm",
    "KooLiBand",
    "Spearman",
    "average_ranks",
    "chi_square_uniform",
    "cicchetti_band",
    "icc",
    "icc_value",
    "koo_li_band",
    "paired_bootstrap",
    "spearman",
    "spearman_rho",
]
