"""The look of all figures: colours, colour ranges, labels and fonts, in one place."""

import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Colormap, Normalize
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

with warnings.catch_warnings():
    # cmocean 4.0 builds its maps with an argument that matplotlib 3.11 deprecates; nothing to be done here.
    warnings.simplefilter("ignore", mpl.MatplotlibDeprecationWarning)
    import cmocean  # noqa: F401  (registers the colour maps "cmo.*")


def _colours(name: str) -> Colormap:
    return mpl.colormaps[f"cmo.{name}"]


INK = "#1b2733"
"""Colour of text and axes."""
LAND = "#cfc8bd"
"""Colour of land."""
UNOBSERVED = "#dde5ea"
"""Colour of ocean without data."""
BLUE, ORANGE, GREEN, PURPLE, GREY = "#0072b2", "#d55e00", "#009e73", "#aa4499", "#7a8591"
"""Line colours, told apart under the common colour-vision deficiencies (Okabe and Ito 2008)."""

DIFFERENCE = _colours("balance")
"""Diverging colours of differences: red where the model is high, blue where it is low."""
DENSITY = _colours("dense")
"""Colours of counts."""

_SETTINGS: dict[Any, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 9,
    "axes.titlesize": 9.5,
    "axes.titleweight": "normal",
    "axes.titlelocation": "left",
    "axes.edgecolor": INK,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.7,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "text.color": INK,
    "xtick.color": INK,
    "ytick.color": INK,
    "xtick.labelsize": 8,
    "ytick.labelsize": 8,
    "xtick.major.width": 0.7,
    "ytick.major.width": 0.7,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "figure.facecolor": "white",
    "savefig.facecolor": "white",
    "figure.dpi": 100,
    "savefig.dpi": 150,
    "svg.fonttype": "path",
}


@dataclass(frozen=True)
class FieldStyle:
    """How a field is named and coloured."""

    label: str
    colours: Colormap


FIELDS = {
    "DIP": FieldStyle("phosphate (DIP)", _colours("matter")),
    "DIC": FieldStyle("dissolved inorganic carbon", _colours("dense")),
    "ALK": FieldStyle("alkalinity", _colours("tempo")),
    "O2": FieldStyle("oxygen", _colours("deep_r")),
    "DOC": FieldStyle("dissolved organic carbon", _colours("turbid")),
    "poc_export": FieldStyle("POC export", _colours("algae")),
    "pic_export": FieldStyle("PIC export", _colours("ice_r")),
}
"""Known fields; others are drawn in the colours of ``field_style``."""


def field_style(name: str) -> FieldStyle:
    """Return the label and colours of a field, with sober ones for names that are not known."""
    return FIELDS.get(name, FieldStyle(name.replace("_", " "), _colours("dense")))


@contextmanager
def house_style() -> Iterator[None]:
    """Apply the fonts, lines and colours of the toolkit while figures are made."""
    with mpl.rc_context(_SETTINGS):
        yield


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure that belongs to no window.

    Args:
        width: inches.
        height: inches.

    Returns:
        The figure, laid out so that labels do not overlap.
    """
    return Figure(figsize=(width, height), layout="constrained")


def unit_text(units: str) -> str:
    """Set a unit string in type: ``mmol m-3`` becomes mmol m with a raised -3.

    Args:
        units: words separated by spaces, each with an optional integer exponent.

    Returns:
        Text with mathematical markup; empty for a dimensionless quantity.
    """
    if units in ("", "1"):
        return ""
    words = [re.sub(r"^([A-Za-zµ°]+)(-?\d+)$", r"\1$^{\2}$", word) for word in units.split()]
    text = " ".join(words).replace("degC", "°C")
    return re.sub(r"\^\{-(\d+)\}", r"^{\\minus\1}", text).replace(r"\minus", "−")


def with_units(label: str, units: str) -> str:
    """Join a label and its units."""
    unit = unit_text(units)
    return f"{label} ({unit})" if unit else label


def robust_range(*values: np.ndarray, percentiles: tuple[float, float] = (1.0, 99.0)) -> Normalize:
    """Find a colour range that a few odd boxes do not stretch.

    Args:
        values: arrays of any shape; NaN is ignored.
        percentiles: lower and upper percentile of all values together.

    Returns:
        The range; 0 to 1 where nothing is finite.
    """
    lower, upper = np.percentile(_finite(values), percentiles)
    if not upper > lower:
        pad = 0.5 * max(abs(lower), 1.0) * 1e-3
        lower, upper = lower - pad, upper + pad
    return Normalize(lower, upper)


def from_zero(values: np.ndarray) -> Normalize:
    """Colour range from zero to the upper percentile; the colour of zero stands for what is below it."""
    return Normalize(0.0, max(robust_range(values).vmax or 0.0, 1e-12))


def symmetric_range(*values: np.ndarray, percentile: float = 98.0) -> Normalize:
    """Find a colour range symmetric about zero, for differences.

    Args:
        values: arrays of any shape; NaN is ignored.
        percentile: of the absolute values.

    Returns:
        The range.
    """
    limit = float(np.percentile(np.abs(_finite(values)), percentile)) or 1.0
    return Normalize(-limit, limit)


def _finite(values: tuple[np.ndarray, ...]) -> np.ndarray:
    joined = np.concatenate([np.ravel(np.asarray(part, dtype=float)) for part in values])
    finite = joined[np.isfinite(joined)]
    return finite if finite.size else np.array([0.0, 1.0])


def colour_bar(figure: Figure, mesh: ScalarMappable, axes: Sequence[Axes], label: str, shrink: float = 0.8) -> None:
    """Add a horizontal colour bar below some axes.

    Args:
        figure: the figure.
        mesh: what is coloured.
        axes: the axes that share the bar.
        label: quantity and units.
        shrink: length as a fraction of the axes' width.
    """
    bar = figure.colorbar(
        mesh, ax=list(axes), orientation="horizontal", shrink=shrink, aspect=36, pad=0.02, extend="both"
    )
    bar.set_label(label)
    bar.ax.tick_params(width=0.5, length=2.5)
    bar.locator = MaxNLocator(6)
    bar.update_ticks()
    bar.ax.spines["outline"].set_linewidth(0.5)
