"""Makes the pages of the site that are not written by hand; MkDocs calls it (``hooks`` in mkdocs.yml).

The navigation is the index of docs/README.md. Stored notebooks become pages with their figures. The reference has one
page for each room of the table in docs/architecture.md, filled by mkdocstrings from the docstrings.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import nbformat
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from nbconvert import MarkdownExporter

DOCS = Path(__file__).parent
ROOT = DOCS.parent
LINK = re.compile(r"\]\(([^)\s#]+)(#[^)]*)?\)")
BESIDE = {"../CHANGELOG.md": "changes.md", "../data_prep/embedded_ocean/README.md": "making_the_embedded_ocean.md"}
"""Files outside docs/ that pages link to -> their pages in the site."""


def page_of(target: str) -> str:
    """Where a link of a page in docs/ leads in the site."""
    return BESIDE.get(target) or re.sub(r"^\.\./notebooks/(\w+)\.ipynb$", r"notebooks/\1.md", target)


def navigation() -> list[dict[str, Any]]:
    """Headings of docs/README.md, each with the pages that its list links to, and the reference of functions."""
    _, *parts = re.split(r"^## ", (DOCS / "README.md").read_text(encoding="utf-8"), flags=re.MULTILINE)
    sections: dict[str, list[str]] = {}
    for part in parts:
        title, _, body = part.partition("\n")
        targets = (page_of(target) for target, _ in LINK.findall(body))
        sections[title.strip()] = [target for target in dict.fromkeys(targets) if target.endswith(".md")]
    functions = ["reference/index.md", *(page for page, _ in rooms())]
    return [{"Contents": "README.md"}, *({title: pages} for title, pages in sections.items()), {"Functions": functions}]


def rooms() -> Iterator[tuple[str, list[str]]]:
    """Page and modules of every room, from the table in docs/architecture.md."""
    text = (DOCS / "architecture.md").read_text(encoding="utf-8")
    for row in re.findall(r"^\| (`[^|]+`) \|", text, flags=re.MULTILINE):
        names = re.findall(r"`([\w/]+(?:\.py|/))`", row)
        if names:
            slug = names[0].removesuffix(".py").strip("/").replace("/", "_")
            yield f"reference/{slug}.md", [module for name in names for module in modules_of(name)]


def modules_of(name: str) -> list[str]:
    """Dotted names of the modules of ``grid.py`` or of ``circulation/``; a package itself only gathers names."""
    path = ROOT / "invbgc" / name
    files = [path] if path.suffix else sorted(file for file in path.rglob("*.py") if file.name != "__init__.py")
    return [".".join(file.relative_to(ROOT).with_suffix("").parts) for file in files]


def reference() -> dict[str, str]:
    """Pages of the functions, and their index."""
    pages, index = {}, ["# Functions", "", "By room, in the order in which rooms import each other.", ""]
    for page, modules in rooms():
        title = page.removeprefix("reference/").removesuffix(".md").replace("models_", "models.")
        pages[page] = "\n\n".join(
            [f"# {title}", *(f"::: {module}\n    options: {{heading_level: 2}}" for module in modules)]
        )
        names = ", ".join(f"`{module.removeprefix('invbgc.')}`" for module in modules)
        index.append(f"- [{title}]({Path(page).name}): {names}")
    return {"reference/index.md": "\n".join(index), **pages}


def notebook_page(path: Path) -> dict[str, str | bytes]:
    """A stored notebook as page and figures."""
    notebook = nbformat.read(path, as_version=4)
    text, resources = MarkdownExporter().from_notebook_node(notebook, {"unique_key": path.stem})
    return {f"notebooks/{name}": content for name, content in {f"{path.stem}.md": text, **resources["outputs"]}.items()}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Take the navigation from the index of the documentation."""
    config.nav = navigation()
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the reference, the notebooks, and pages that stand outside docs/."""
    made: dict[str, str | bytes] = dict(reference())
    for path in sorted((ROOT / "notebooks").glob("*.ipynb")):
        made |= notebook_page(path)
    made |= {page: (DOCS / source).read_text(encoding="utf-8") for source, page in BESIDE.items()}
    for name, content in made.items():
        files.append(File.generated(config, name, content=content))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """Let links to files outside docs/ lead to their pages."""
    return LINK.sub(lambda found: f"]({page_of(found[1])}{found[2] or ''})", markdown)
