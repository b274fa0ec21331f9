"""The documentation holds: its Python runs, its links and tables are those of the code, public names exist."""

import ast
import importlib.util
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import invbgc as ib

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md")])


def load_build():
    spec = importlib.util.spec_from_file_location("documentation_build", ROOT / "docs" / "build.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # where dataclasses look for annotations
    spec.loader.exec_module(module)
    return module


BUILD = load_build()
NOTEBOOKS = {notebook.name: notebook for notebook in BUILD.NOTEBOOKS}


def python_of(page: Path) -> str:
    """The Python blocks of a page, at the lines at which they stand."""
    lines, inside = [], False
    for line in page.read_text(encoding="utf-8").splitlines():
        fence = line.startswith("```")
        lines.append(line if inside and not fence else "")
        inside = line == "```python" if fence and not inside else inside and not fence
    return "\n".join(lines)


@pytest.fixture
def small_ocean(monkeypatch, tmp_path, without_pictures):
    """The embedded ocean and its data stand for 22 boxes with observations by formula; files go to a scratch folder."""
    load_circulation = ib.load_circulation
    few_box = load_circulation("few_box")
    forcing = ib.idealised_forcing(few_box.grid)
    phosphate, depth = forcing.phosphate, few_box.grid.wet_depth
    fields = {
        "DIP": phosphate,
        "DIC": 1950.0 + 130.0 * phosphate,
        "ALK": 2310.0 + 35.0 * phosphate,
        "O2": 330.0 - 5.0 * forcing.temperature - 50.0 * phosphate,
        "DOC": 42.0 + 30.0 * np.exp(-depth / 200.0),
    }
    observations = ib.Observations.from_fields(fields, few_box.grid, {"title": "formulas", "synthetic": "true"})
    monkeypatch.setattr(
        ib, "load_circulation", lambda name: few_box if name == "embedded" else load_circulation(name), raising=False
    )
    monkeypatch.setattr(ib, "load_dataset", lambda name, grid=None: (forcing, observations), raising=False)
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("page", [page for page in PAGES if python_of(page).strip()], ids=lambda page: page.stem)
def test_python_of_the_documentation_runs(page, small_ocean, capsys):
    exec(compile(python_of(page), str(page), "exec"), {"__name__": "__main__"})


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_links_lead_somewhere(page):
    text = page.read_text(encoding="utf-8")
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if not re.match(r"[a-z]+://", target):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_generated_tables_are_those_of_the_code(page):
    text = page.read_text(encoding="utf-8")
    assert BUILD.with_generated(text) == text, "run: python docs/build.py --reference"


def test_the_index_lists_every_page():
    docs = ROOT / "docs"
    listed = set(re.findall(r"\]\(([^)#\s]+)", (docs / "README.md").read_text(encoding="utf-8")))
    assert {page.name for page in docs.glob("*.md")} - {"README.md"} <= listed
    assert {f"../notebooks/{page.name}" for page in (ROOT / "notebooks").glob("*.ipynb")} <= listed


def test_notebooks_are_known_and_stored_with_figures():
    stored = {path.stem: path.read_text(encoding="utf-8") for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert set(stored) == set(NOTEBOOKS)
    for name, text in stored.items():
        assert text.count('"image/png"') == NOTEBOOKS[name].figures, name


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name, notebook in NOTEBOOKS.items() if notebook.needs is None])
def test_notebook_runs(name):
    BUILD.execute_notebook(NOTEBOOKS[name].path, save=False)


@pytest.mark.shared_data
def test_notebook_of_traps_runs(shared_data, monkeypatch):
    monkeypatch.setenv("BATS_FLUX_FILE", str(shared_data / "bats" / "bats_flux_v003.txt"))
    # A test of its own asks whether the sampler finds the truth.
    fewer = {"draws=500, warmup=500": "draws=100, warmup=100"}
    BUILD.execute_notebook(NOTEBOOKS["carbon_to_phosphorus"].path, save=False, shorter=fewer)


def test_public_names_exist_and_are_listed_once():
    listed = {alias.name for alias in _imported_for_type_checkers()}
    assert set(ib.__all__) == listed
    for name in ib.__all__:
        assert getattr(ib, name) is not None
    assert set(ib.__all__) <= set(dir(ib))
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        _ = ib.nothing  # pyright: ignore[reportAttributeAccessIssue]


EQUATIONS = (ROOT / "docs" / "equations.md").read_text(encoding="utf-8")


def defined_in(body: list[ast.stmt]) -> dict[str, list[ast.stmt]]:
    """Names that a module or class defines -> what they hold in their turn."""
    names: dict[str, list[ast.stmt]] = {}
    for node in body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names[node.name] = node.body if isinstance(node, ast.ClassDef) else []
        targets = (
            node.targets if isinstance(node, ast.Assign) else [node.target] if isinstance(node, ast.AnnAssign) else []
        )
        for target in targets:
            names |= {part.id: [] for part in ast.walk(target) if isinstance(part, ast.Name)}
    return names


def test_functions_of_the_map_of_equations_exist():
    """By reading the modules: importing them takes long."""
    named = set(re.findall(r"`invbgc\.([\w.]+)`", EQUATIONS))
    assert len(named) > 150
    for name in sorted(named):
        path, rest = ROOT / "invbgc", name.split(".")
        while rest and path.is_dir():
            path /= rest.pop(0)
            path = path if path.is_dir() else path.with_suffix(".py")
        assert path.is_file(), f"docs/equations.md: no module of invbgc.{name}"
        body = ast.parse(path.read_text(encoding="utf-8")).body
        for part in rest:
            names = defined_in(body)
            assert part in names, f"docs/equations.md: invbgc.{name} does not exist"
            body = names[part]


def test_tests_of_the_map_of_equations_exist():
    named = set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", EQUATIONS))
    assert len(named) > 100
    for path in sorted({path for path, _ in named}):
        tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
        present = {node.name for node in tree.body if isinstance(node, ast.FunctionDef)}
        missing = {test for file, test in named if file == path} - present
        assert not missing, f"docs/equations.md: {path} has no {', '.join(sorted(missing))}"


def test_no_row_of_the_map_of_equations_is_empty():
    rows = [line for line in EQUATIONS.splitlines() if line.startswith("| ") and not line.startswith("| equation |")]
    for row in rows:
        equation, paper, function, test = (cell.strip() for cell in row.strip("|").split(" | "))
        assert equation and paper, row
        assert "`invbgc." in function or function.startswith("not here: "), row
        assert "`tests/" in test or test.startswith("none"), row


def _imported_for_type_checkers():
    tree = ast.parse((ROOT / "invbgc" / "__init__.py").read_text(encoding="utf-8"))
    guarded = next(node for node in tree.body if isinstance(node, ast.If) and isinstance(node.test, ast.Name))
    return [alias for node in guarded.body if isinstance(node, ast.ImportFrom) for alias in node.names]


@pytest.mark.parametrize("first", ["import invbgc, jax", "import jax, invbgc"])
def test_double_precision_whatever_is_imported_first(first):
    script = f"{first}, jax.numpy; print(jax.numpy.ones(1).dtype)"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "float64"


def test_importing_the_package_imports_nothing_heavy():
    script = "import sys, invbgc.cli; print(*(m for m in ('jax', 'numpy', 'xarray') if m in sys.modules))"
    answer = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == ""


def test_rooms_import_only_rooms_above_them():
    """The order is that of the table in docs/architecture.md; imports inside functions and for types are free."""
    page = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| (`[^|]+`) \|", page, flags=re.MULTILINE)
    rank = {
        name.strip("/").removesuffix(".py").replace("/", "."): number
        for number, row in enumerate(rows)
        for name in re.findall(r"`([\w/]+(?:\.py|/))`", row)
    }

    def room(module: str) -> str | None:
        inside = module.removeprefix("invbgc.")
        return next((name for name in rank if inside == name or inside.startswith(f"{name}.")), None)

    wrong = []
    for path in sorted((ROOT / "invbgc").rglob("*.py")):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        own = room(module)
        if own is None:
            assert module in ("invbgc", "invbgc.__main__", "invbgc.models"), f"{module} is in no room"
            continue
        for node in ast.parse(path.read_text(encoding="utf-8")).body:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                other = room(name)
                if other is not None and rank[other] > rank[own]:
                    wrong.append(f"{module} imports {name}")
    assert not wrong, "\n".join(wrong)
