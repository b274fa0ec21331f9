"""Writes what the documentation takes from the code, and executes the notebooks.

Tables between the marks ``<!-- generated: NAME -->`` and ``<!-- end -->`` are replaced; a test compares them with the
code.

    python docs/build.py [--reference | --notebook NAME]

A notebook that needs a file is left alone where the variable that names it is not set.
"""

import argparse
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import invbgc as ib
from invbgc.datasets.forcing import CONSTANTS, FIELDS_2D, FIELDS_3D
from invbgc.runfile import ModelSection

DOCS = Path(__file__).parent


@dataclass(frozen=True)
class Notebook:
    """A notebook that is stored with its figures.

    Attributes:
        name: of the file, without suffix.
        figures: how many it shows.
        needs: variable that must name a file, or None.
    """

    name: str
    figures: int
    needs: str | None = None

    @property
    def path(self) -> Path:
        """The file."""
        return DOCS.parent / "notebooks" / f"{self.name}.ipynb"


NOTEBOOKS = (
    Notebook("fit_the_embedded_ocean", 4),
    Notebook("bring_your_own_circulation", 1),
    Notebook("read_the_posterior", 3),
    Notebook("where_the_carbon_goes", 4),
    Notebook("mops_and_c_to_p", 2),
    Notebook("carbon_to_phosphorus", 4, needs="BATS_FLUX_FILE"),
)


def table(header: Iterable[str], rows: Iterable[Sequence[object]]) -> str:
    """A Markdown table."""
    header = list(header)
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(str(cell) for cell in line)} |" for line in lines)


def parameters() -> str:
    """The parameter table of the phosphorus, carbon and oxygen model."""
    rows = [
        (f"`{p.name}`", p.symbol, f"`{p.alias}`", p.unit, p.transform, f"{p.first_guess:g}", f"{p.published:g}",
         p.description, p.reference.removeprefix("Wang et al. 2023, "))
        for p in ib.pco_parameters()
    ]  # fmt: skip
    header = ("name", "symbol", "alias", "unit", "transform", "first guess", "published", "meaning", "where")
    return table(header, rows)


def aliases() -> str:
    """The same parameters under the names of OCIM-BGC."""
    coordinate = {"log": "ln p", "logit": "ln(p/(1 - p))", "linear": "p"}
    rows = [
        (f"`{p.alias}`", f"`{p.name}`", p.unit, coordinate[p.transform], p.description) for p in ib.pco_parameters()
    ]
    return table(("OCIM-BGC", "here", "unit", "coordinate", "meaning"), rows)


def forcing() -> str:
    """The forcing fields of a dataset."""
    rows = [(f"`{name}`", "depth, latitude, longitude", unit, text) for name, (unit, text) in FIELDS_3D.items()]
    rows += [(f"`{name}`", "latitude, longitude", unit, text) for name, (unit, text) in FIELDS_2D.items()]
    return table(("forcing", "dimensions", "units", "meaning"), rows)


def constants() -> str:
    """The constants of a dataset."""
    return table(("attribute", "meaning and unit"), [(f"`{name}`", text) for name, text in CONSTANTS.items()])


def options() -> str:
    """The options of the model with both defaults."""
    in_file = ModelSection()
    rows = [
        (f"`{field.name}`", f"`{field.default!r}`",
         f"`{getattr(in_file, field.name)!r}`" if field.name in ModelSection.model_fields else "as in Python")
        for field in fields(ib.PCOOptions)
    ]  # fmt: skip
    return table(("option", "default of `ib.PCOOptions`", "default of a run file"), rows)


def twin() -> str:
    """Size of the errors, sampled boxes and true parameters of the embedded observations."""
    _, observations = ib.load_dataset("embedded")
    truth = json.loads(observations.attrs["truth"])
    counts = table(observations.tracers, [[f"{data.count} boxes" for data in observations.tracers.values()]])
    values = table(("parameter", "truth"), [(f"`{name}`", f"{value:g}") for name, value in truth.items()])
    return f"{observations.attrs['comment']}\n\n{counts}\n\n{values}"


GENERATED = {
    "parameters": parameters,
    "aliases": aliases,
    "forcing": forcing,
    "constants": constants,
    "options": options,
    "twin": twin,
}
"""Name in the mark -> function that writes the table."""


def with_generated(text: str) -> str:
    """A page with its generated tables renewed."""
    return re.sub(
        r"(<!-- generated: (\w+) -->\n).*?(<!-- end -->)",
        lambda found: f"{found[1]}{GENERATED[found[2]]()}\n{found[3]}",
        text,
        flags=re.DOTALL,
    )


def execute_notebook(path: Path, save: bool, timeout: int = 600, shorter: Mapping[str, str] | None = None) -> None:
    """Run a notebook in its folder from a fresh kernel; an error in a cell is raised.

    Args:
        path: the notebook.
        save: store it with its outputs.
        timeout: seconds allowed for a cell.
        shorter: text in the cells -> text in its place, for runs that only test the notebook.
    """
    import nbformat
    from nbclient import NotebookClient

    notebook = nbformat.read(path, as_version=4)
    for text, replacement in (shorter or {}).items():
        (cell,) = (cell for cell in notebook.cells if text in cell.source)
        cell.source = cell.source.replace(text, replacement)
    quiet = os.environ | {"PYTHONWARNINGS": "ignore:IProgress"}  # a warning of tqdm, with a path of this machine
    NotebookClient(notebook, timeout=timeout, kernel_name="python3").execute(env=quiet)
    if save:
        for cell in notebook.cells:
            cell.metadata.pop("execution", None)
        nbformat.write(notebook, path)


def main() -> None:
    """Renew the reference tables and, unless told otherwise, the notebooks."""
    parser = argparse.ArgumentParser(description="Renew what the documentation takes from the code.")
    parser.add_argument("--reference", action="store_true", help="only the tables, not the notebooks")
    parser.add_argument("--notebook", choices=[notebook.name for notebook in NOTEBOOKS], help="only this notebook")
    arguments = parser.parse_args()
    for page in sorted(DOCS.glob("*.md")):
        page.write_text(with_generated(page.read_text(encoding="utf-8")), encoding="utf-8")
    for notebook in () if arguments.reference else NOTEBOOKS:
        if arguments.notebook in (None, notebook.name) and (notebook.needs is None or notebook.needs in os.environ):
            execute_notebook(notebook.path, save=True)


if __name__ == "__main__":
    main()
