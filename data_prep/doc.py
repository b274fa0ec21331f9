"""Bin bottles of dissolved organic carbon on a grid and compare them with the file of Wang et al. (2023).

`python -m data_prep.doc --bottles DOMobs.csv --grid GRID.mat --reference FOLDER --out FOLDER`
"""

import argparse
import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.colors import LogNorm
from matplotlib.figure import Figure

from invbgc.circulation import load_circulation
from invbgc.circulation.ocim import read_ocim2_grid
from invbgc.datasets.binning import Binning
from invbgc.datasets.bottle_files import DOM_DENSITY, read_dom_bottles
from invbgc.datasets.gridding import BinnedBottles, Rule, bin_bottles
from invbgc.datasets.wang2023 import CITATION, DOC_FILE, SourceFiles
from invbgc.errors import InputError
from invbgc.files import replaced, write_netcdf
from invbgc.grid import OceanGrid
from invbgc.plots.maps import draw_map
from invbgc.plots.style import (
    DENSITY,
    DIFFERENCE,
    INK,
    colour_bar,
    house_style,
    new_figure,
    symmetric_range,
    with_units,
)
from invbgc.units import convert

LOGGER = logging.getLogger("invbgc.data_prep")

CLOSE = 0.01
"""Difference below which two boxes count as equal, mmol m-3."""

MAP_LAYERS = 2
"""Number of layers averaged in the map of differences: the euphotic zone."""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two binned fields in the boxes that both have.

    Attributes:
        own: [m] mmol m-3.
        reference: [m] mmol m-3.
        box: [m] wet index.
        n_own: boxes of the first field.
        n_reference: boxes of the second.
    """

    own: np.ndarray
    reference: np.ndarray
    box: np.ndarray
    n_own: int
    n_reference: int

    def scores(self) -> dict[str, float]:
        """Counts, shares of common boxes, and the distribution of own minus reference, mmol m-3."""
        difference = self.own - self.reference
        low, median, high = np.percentile(difference, [5.0, 50.0, 95.0])
        return {
            "boxes": self.n_own,
            "boxes of the reference": self.n_reference,
            "common boxes": self.own.size,
            "share of own boxes that are common": self.own.size / self.n_own,
            "share of reference boxes that are common": self.own.size / self.n_reference,
            "median difference": float(median),
            "5th percentile of difference": float(low),
            "95th percentile of difference": float(high),
            "median absolute difference": float(np.median(np.abs(difference))),
            f"share of common boxes within {CLOSE} mmol m-3": float(np.mean(np.abs(difference) < CLOSE)),
            "share of common boxes within 1 mmol m-3": float(np.mean(np.abs(difference) < 1.0)),
            "correlation": float(np.corrcoef(self.own, self.reference)[0, 1]),
        }


def compare(own: np.ndarray, reference: np.ndarray) -> Comparison:
    """Common boxes of two fields.

    Args:
        own: [n_wet] mmol m-3, NaN where empty.
        reference: [n_wet] mmol m-3, NaN where empty.

    Returns:
        the values of both where both have one.

    Raises:
        InputError: no box is common.
    """
    common = np.isfinite(own) & np.isfinite(reference)
    if not common.any():
        raise InputError("Comparison of binned fields: no common box; are both on the same grid and in the same order?")
    box = np.flatnonzero(common)
    return Comparison(own[box], reference[box], box, int(np.isfinite(own).sum()), int(np.isfinite(reference).sum()))


def bin_doc(bottles: Path, grid: OceanGrid, rule: Rule = "nearest_centre") -> BinnedBottles:
    """DOC of the compilation on a grid, mmol m-3."""
    return bin_bottles(read_dom_bottles(bottles), "DOC", grid, rule)


def reference_doc(folder: Path, grid: OceanGrid, density: float = DOM_DENSITY) -> np.ndarray:
    """Binned DOC of Wang et al. (2023) on a grid.

    Args:
        folder: folder with the authors' files and GRID.mat.
        grid: OCIM2, where values pass through unchanged, or another grid, by overlap volume.
        density: kg m-3, from umol kg-1 to mmol m-3.

    Returns:
        [n_wet] mmol m-3, NaN where empty.
    """
    files = SourceFiles(folder)
    values = files.field(DOC_FILE, "DOCobs")
    values = convert(np.where(values > 0.0, values, np.nan), "umol kg-1", "mmol m-3", density=density / 1000.0)
    return Binning(files.grid, grid).observations(values)


def figure(comparison: Comparison, grid: OceanGrid) -> Figure:
    """Scatter of the two fields, and a map of their difference in the first layers.

    Args:
        comparison: the common boxes.
        grid: the grid.

    Returns:
        a Matplotlib figure.
    """
    scores = comparison.scores()
    full = np.full(grid.n_wet, np.nan)
    full[comparison.box] = comparison.own - comparison.reference
    upper = grid.unpack(full).values[:MAP_LAYERS]
    number = np.isfinite(upper).sum(axis=0)
    mean = np.where(number > 0, np.nansum(upper, axis=0) / np.maximum(number, 1), np.nan)
    field = grid.unpack_surface(mean[grid.wet[0]], "difference", {"units": "mmol m-3"})
    wet = field.copy(data=grid.wet[0])
    limits = np.percentile(np.r_[comparison.own, comparison.reference], [0.05, 99.95])
    with house_style():
        result = new_figure(12.0, 4.8)
        left, right = result.subplots(1, 2, width_ratios=(1.0, 1.9))
        dots = left.hexbin(
            comparison.reference, comparison.own, gridsize=60, extent=(*limits, *limits), norm=LogNorm(), cmap=DENSITY
        )
        left.plot(limits, limits, color=INK, linewidth=0.7)
        left.set(xlim=limits, ylim=limits, box_aspect=1)
        left.set_xlabel(with_units("Wang et al. (2023)", "mmol m-3"))
        left.set_ylabel(with_units("binned here", "mmol m-3"))
        left.set_title(
            f"{comparison.own.size} common boxes, median difference {scores['median difference'] + 0.0:.2f}, "
            f"r = {scores['correlation']:.3f}"
        )
        bar = result.colorbar(dots, ax=left, shrink=0.8, pad=0.02)
        bar.set_label("number of boxes")
        norm = symmetric_range(mean, percentile=95.0)
        mesh = draw_map(right, field, wet, DIFFERENCE, norm)
        right.set_title(f"binned here minus Wang et al. (2023), mean of the upper {grid.depth_edges[MAP_LAYERS]:.0f} m")
        colour_bar(result, mesh, [right], with_units("difference of DOC", "mmol m-3"), shrink=0.7)
    return result


def make(bottles: Path, grid_file: str | Path, reference: Path | None, out: Path) -> dict[str, float]:
    """Bin, compare, and write `doc_binned.nc` and `doc_comparison.png`.

    Args:
        bottles: DOMobs.csv.
        grid_file: GRID.mat of OCIM2, or a circulation by name or file, whose grid is taken.
        reference: folder of the files of Wang et al. (2023), or None for no comparison.
        out: folder for the results.

    Returns:
        counts and, with a reference, the scores of the comparison.

    Raises:
        InputError: a file is missing or not sound.
    """
    grid = read_ocim2_grid(grid_file) if Path(grid_file).suffix == ".mat" else load_circulation(grid_file).grid
    binned = bin_doc(bottles, grid)
    scores: dict[str, float] = {"bottles binned": int(binned.count.sum()), "boxes": binned.n_boxes}
    scores |= {f"bottles dropped, {reason}": number for reason, number in binned.dropped.items()}
    dataset = binned.to_dataset()
    if reference is not None:
        comparison = compare(binned.mean, reference_doc(reference, grid))
        scores |= comparison.scores()
        dataset.attrs["reference"] = CITATION
        picture = figure(comparison, grid)
        with replaced(out / "doc_comparison.png") as temporary:
            picture.savefig(temporary, format="png")
    dataset.attrs |= {"title": "Binned bottles of dissolved organic carbon", "scores": scores}
    write_netcdf(dataset, out / "doc_binned.nc")
    return scores


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(prog="python -m data_prep.doc", description="Bin DOC bottles and compare them.")
    parser.add_argument("--bottles", type=Path, required=True, help="DOMobs.csv")
    parser.add_argument("--grid", required=True, help="GRID.mat of OCIM2, or a circulation (name or netCDF file)")
    parser.add_argument("--reference", type=Path, help=f"folder with {DOC_FILE}; without it nothing is compared")
    parser.add_argument("--out", type=Path, default=Path("doc"), help="folder for the results")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        scores = make(arguments.bottles, arguments.grid, arguments.reference, arguments.out)
    except InputError as error:
        raise SystemExit(f"error: {error}") from error
    for name, value in scores.items():
        LOGGER.info("%-48s %12.6g", name, value)
    LOGGER.info("written: %s", arguments.out)


if __name__ == "__main__":
    main()
