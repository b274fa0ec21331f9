"""Do two sets of exponents differ? Welch's test, the paired t test and rank tests, and the difference of medians."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from invbgc.errors import InputError

_RESAMPLES = 2000


@dataclass(frozen=True)
class Comparison:
    """Two samples compared.

    Attributes:
        n: pairs.
        medians: of the first and the second.
        means: of the first and the second.
        median_difference: of the medians, first minus second.
        welch_t: Welch's statistic, without pairing.
        welch_freedom: its degrees of freedom (Welch-Satterthwaite).
        welch_p: two-sided.
        paired_t: statistic of the paired t test.
        paired_p: two-sided.
        signed_rank_p: Wilcoxon's signed-rank test of the pairs, two-sided.
        rank_sum_p: Mann and Whitney's test, without pairing, two-sided.
    """

    n: int
    medians: tuple[float, float]
    means: tuple[float, float]
    median_difference: float
    welch_t: float
    welch_freedom: float
    welch_p: float
    paired_t: float
    paired_p: float
    signed_rank_p: float
    rank_sum_p: float

    def significant(self, level: float = 0.05) -> bool:
        """Whether every test finds the samples to differ."""
        return max(self.welch_p, self.paired_p, self.signed_rank_p, self.rank_sum_p) < level


def compare(first: ArrayLike, second: ArrayLike) -> Comparison:
    """Compare two samples that are paired in time.

    Args:
        first: [n].
        second: [n], of the same profiles.

    Returns:
        the statistics. Source: Tanioka et al. (2021) use Welch's test; the exponents of one array are paired, though.

    Raises:
        InputError: the samples are not of one length, or have fewer than three finite pairs.

    Examples:
        >>> result = compare([1.28, 1.1, 1.5, 1.3, 1.2], [0.98, 0.9, 1.1, 1.0, 0.95])
        >>> round(result.welch_t, 5), round(result.welch_freedom, 5), round(result.welch_p, 7)
        (3.92035, 5.88539, 0.0081025)
    """
    x, y = _pairs(first, second)
    welch: Any = stats.ttest_ind(x, y, equal_var=False)
    paired: Any = stats.ttest_rel(x, y)
    signed_rank: Any = stats.wilcoxon(x, y)
    return Comparison(
        n=len(x),
        medians=(float(np.median(x)), float(np.median(y))),
        means=(float(x.mean()), float(y.mean())),
        median_difference=float(np.median(x) - np.median(y)),
        welch_t=float(welch.statistic),
        welch_freedom=float(welch.df),
        welch_p=float(welch.pvalue),
        paired_t=float(paired.statistic),
        paired_p=float(paired.pvalue),
        signed_rank_p=float(signed_rank.pvalue),
        rank_sum_p=float(stats.mannwhitneyu(x, y).pvalue),
    )


def median_difference_interval(first: ArrayLike, second: ArrayLike, seed: int = 0) -> tuple[float, float]:
    """The 95 % interval of the difference of medians, first minus second, from resampled pairs.

    Args:
        first: [n].
        second: [n], of the same profiles.
        seed: of the resampling.

    Returns:
        lower and upper percentile.

    Raises:
        InputError: as for `compare`.
    """
    x, y = _pairs(first, second)
    draws = np.random.default_rng(seed).integers(0, len(x), (_RESAMPLES, len(x)))
    low, high = np.percentile(np.median(x[draws], axis=1) - np.median(y[draws], axis=1), [2.5, 97.5])
    return float(low), float(high)


def _pairs(first: ArrayLike, second: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    x, y = np.asarray(first, float), np.asarray(second, float)
    if x.shape != y.shape or x.ndim != 1:
        raise InputError(f"Comparison: found samples of shapes {x.shape} and {y.shape}; expected pairs.")
    both = np.isfinite(x) & np.isfinite(y)
    if both.sum() < 3:
        raise InputError(f"Comparison: found {both.sum()} finite pairs; expected at least three.")
    return x[both], y[both]
