"""Published values of the numbers of `invbgc.diagnostics.scalars`, to be shown beside ours."""

PUBLISHED: dict[str, tuple[float, float | None]] = {
    "poc_export": (10.63, 0.14),
    "semilabile_export": (1.67, 0.02),
    "labile_export": (2.70, 1.04),
    "toc_export": (15.00, 1.12),
    "toc_export_100m": (10.64, 0.80),
    "advective_share_0-15": (0.15, None),
    "advective_share_15-30": (0.37, None),
    "advective_share_30-45": (0.39, None),
    "advective_share_45-60": (0.29, None),
    "longer_than_0.25_yr": (11.09, 1.02),
    "longer_than_1_yr": (8.25, 0.30),
    "longer_than_3_yr": (6.30, 0.09),
    "poc_share_1_yr": (0.81, None),
}
"""Name -> value and standard deviation over four versions of the model (Wang et al. 2023, abstract and main text)."""


def published_text(name: str) -> str:
    """A published value with its spread, or a dash."""
    value, spread = PUBLISHED.get(name, (None, None))
    if value is None:
        return "–"
    return f"{value:.2f}" if spread is None else f"{value:.2f} ± {spread:.2f}"
