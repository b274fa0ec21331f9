"""Units at the door: spellings of the oceanographic literature are parsed by pint, and values converted once.

Inside the toolkit arrays are bare: mmol m-3, m and s. Per mass and per volume are tied by one density.
"""

import re
from functools import cache
from typing import TYPE_CHECKING, Any

import numpy as np
import xarray as xr

from invbgc.constants import SEAWATER_DENSITY_FACTOR
from invbgc.errors import InputError

if TYPE_CHECKING:
    import pint

SPELLINGS = {
    "degC": (
        *("degrees_C", "degree_C", "deg_C", "deg C", "°C", "℃"),
        *("degrees_Celsius", "degrees_celsius", "degree_Celsius", "degree_celsius", "Celsius", "celsius"),
    ),
    "umol kg-1": ("micromoles_per_kilogram", "micromole_per_kilogram"),
    "1": ("", "-", "none", "dimensionless", "psu", "PSU", "pss", "PSS-78", "practical salinity"),
}
"""Unit -> words that mean it and that pint does not know; the World Ocean Atlas uses some."""

_SUBSTANCE = re.compile(r"\b(\w*mol(?:es?)?)[ _](?:C|N|P|O2|O|Si)\b")
_POWER = re.compile(r"(?<![\w.])([A-Za-zµμ]+)\^?([-+]?\d+)\b")
_REMARK = re.compile(r"\s*\([A-Za-z]+( [A-Za-z]+)+\)\s*$")


@cache
def _registry() -> "pint.UnitRegistry":
    import pint  # a tenth of a second, paid only where units are read

    registry = pint.UnitRegistry(on_redefinition="ignore", autoconvert_offset_to_baseunit=True)
    registry.define("year = 365 * day = a = yr")
    return registry


@cache
def _parse(unit: str) -> "pint.Unit":
    """The unit behind a spelling such as "mmol C m-2 yr-1", "umol/kg", "m2 s-1" or "degrees_C"."""
    text = _REMARK.sub("", str(unit)).strip()
    for name, words in SPELLINGS.items():
        if text in words:
            text = name
    text = _SUBSTANCE.sub(r"\1", text)
    text = _POWER.sub(r"\1**\2", text)
    text = re.sub(r"(?<=[\w)])\s+(?=[A-Za-zµμ(])", "*", text)
    try:
        return _registry().parse_units(text)
    except Exception as error:  # pint raises a dozen kinds, from tokenizer errors to its own
        raise InputError(f"Unit '{unit}' is not understood ({error}); write it like 'mmol m-3' or 's-1'.") from error


def convert(value: Any, unit_from: str, unit_to: str, density: float = SEAWATER_DENSITY_FACTOR) -> Any:
    """Values in another unit; amounts per mass become amounts per volume by x [mmol m-3] = density x [umol kg-1].

    Args:
        value: number or array, in `unit_from`.
        unit_from: unit of the values, for instance "umol kg-1".
        unit_to: unit wanted, for instance "mmol m-3".
        density: kg per litre of seawater.

    Returns:
        the values in `unit_to`; the same object if the units are equal.

    Raises:
        InputError: a unit is not understood, or the two measure different things.

    Examples:
        >>> round(convert(2000.0, "umol/kg", "mmol m-3"), 6)
        2049.0
    """
    source, target = _parse(unit_from), _parse(unit_to)
    if source == target:
        return value
    registry = _registry()
    quantity = registry.Quantity(value, source)
    mass_per_volume = registry.Quantity(1000.0 * density, "kg/m**3")
    ratio = target.dimensionality / source.dimensionality
    is_amount = "[substance]" in source.dimensionality
    if is_amount and ratio == mass_per_volume.dimensionality:
        quantity = quantity * mass_per_volume
    elif is_amount and 1 / ratio == mass_per_volume.dimensionality:
        quantity = quantity / mass_per_volume
    if not quantity.check(target.dimensionality):
        raise InputError(f"Unit '{unit_from}' cannot be converted to '{unit_to}': they measure different things.")
    return quantity.to(target).magnitude


def require_unit(array: xr.DataArray, expected: str, where: str) -> xr.DataArray:
    """A labelled array in the unit that the toolkit uses.

    Args:
        array: any shape, with the attribute `units`.
        expected: unit wanted.
        where: file and variable, for the message.

    Returns:
        the array converted, float64, with `units` set to `expected`.

    Raises:
        InputError: the attribute is missing, not understood, or of another dimension.
    """
    found = array.attrs.get("units")
    if found is None:
        raise InputError(f"{where}: no attribute 'units'; expected '{expected}' or a unit that converts to it.")
    try:
        values = convert(np.asarray(array.values, dtype=np.float64), str(found), expected)
    except InputError as error:
        raise InputError(f"{where}: units '{found}'; expected '{expected}' or a unit that converts to it.") from error
    return array.copy(data=values).assign_attrs(units=expected)
