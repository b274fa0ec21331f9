"""Pieces of an HTML report: tables, figures as inline images, numbers, units and symbols."""

import base64
import html
import io
import re
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from invbgc.plots.style import unit_text


def image(figure: Figure, caption: str, narrow: bool = False) -> str:
    """A figure as an inline PNG image with its caption."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=130)
    data = base64.b64encode(buffer.getvalue()).decode("ascii")
    kind = "narrow" if narrow else "wide-figure"
    return (
        f'<figure class="{kind}"><img alt="{safe(caption)}" src="data:image/png;base64,{data}">'
        f"<figcaption>{safe(caption)}</figcaption></figure>"
    )


def table(
    head: Sequence[str],
    body: Iterable[Sequence[str]],
    text: Sequence[int] = (),
    flags: Sequence[bool] = (),
    wide: Sequence[int] = (),
) -> str:
    """Write a table; the cells are HTML already."""

    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = [
            " ".join(kind for kind, where in (("text", text), ("wide", wide)) if n in where) for n in range(len(row))
        ]
        return "".join(
            f"<{tag}{f' class={chr(34)}{kind}{chr(34)}' if kind else ''}>{cell}</{tag}>"
            for cell, kind in zip(row, kinds, strict=True)
        )

    marks = list(flags)
    rows = "".join(
        f"<tr{' class=' + chr(34) + 'flag' + chr(34) if n < len(marks) and marks[n] else ''}>{cells('td', row)}</tr>"
        for n, row in enumerate(body)
    )
    return f'<div class="scroll"><table><thead><tr>{cells("th", head)}</tr></thead><tbody>{rows}</tbody></table></div>'


def unit(units: str) -> str:
    """Set a unit string in HTML: ``mmol m-3`` with a raised exponent."""
    return safe(unit_text(units)).replace("$^{", "<sup>").replace("}$", "</sup>") or "–"


def number(value: float, digits: int = 4) -> str:
    """Write a number with so many significant digits, in powers of ten where that reads better."""
    if not np.isfinite(value):
        return "∞" if np.isinf(value) else "–"
    if value == 0:
        return "0"
    power = int(np.floor(np.log10(abs(value))))
    if -4 < power < 6:
        text = f"{value:.{max(digits - 1 - power, 0)}f}"
        return text.replace("-", "−")
    return f"{value / 10.0**power:.{max(digits - 1, 0)}f}".replace(
        "-", "−"
    ) + f"&thinsp;×&thinsp;10<sup>{power}</sup>".replace("-", "−")


def plain(value: float) -> str:
    """Write a number with up to six significant digits and no trailing zeros."""
    if not np.isfinite(value):
        return "–"
    digits = next(
        (digits for digits in range(1, 7) if np.isclose(float(f"{value:.{digits - 1}e}"), value, rtol=1e-7, atol=0)), 6
    )
    return number(value, digits)


def symbol(symbol: str) -> str:
    """Set a symbol such as ``kappa_r`` with its subscript lowered."""
    return re.sub(r"_([A-Za-z:]+)", r"<sub>\1</sub>", safe(symbol))


def significant_digits(value: float, *errors: float) -> int:
    """Significant digits that show a value down to the second digit of its error."""
    smallest = min((error for error in errors if np.isfinite(error) and error > 0), default=np.nan)
    if not np.isfinite(smallest) or value == 0:
        return 4
    return int(np.clip(np.floor(np.log10(abs(value))) - np.floor(np.log10(smallest)) + 2, 2, 7))


def fixed(value: Any) -> str:
    """A number with two decimals."""
    return "–" if value is None or not np.isfinite(value) else f"{value:.2f}".replace("-", "−")


def safe(value: Any) -> str:
    """Text with the characters that HTML reserves replaced."""
    return html.escape(str(value), quote=True)
