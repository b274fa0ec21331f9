"""The recipe of a dataset file: one TOML file that says where every field comes from and what is done to it."""

from importlib.resources import files
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from invbgc.datasets.gridding import Rule
from invbgc.errors import InputError
from invbgc.sources.registry import SOURCES
from invbgc.tomlfile import Section, nearest, read_toml, write_text

Bottled = Literal["DIP", "DIC", "ALK", "O2", "DOC", "D14C", "d13C"]
"""What can be binned from bottles. The model is fitted to the first five; the others are stored for transients."""

FieldName = Literal[
    "temperature",
    "phosphate",
    "silicate",
    "salinity",
    "net_primary_production",
    "piston_velocity_660",
    "sea_level_pressure",
    "freshwater_flux",
    "chemistry_temperature",
    "chemistry_salinity",
    "chemistry_silicate",
    "chemistry_phosphate",
    "chemistry_pressure",
]
"""Fields of the forcing."""

Positive = Annotated[float, Field(gt=0)]


class DatasetSection(Section):
    """The dataset file and the ocean that it is for."""

    output: Path = Field(description="netCDF file to write; relative to this file.")
    circulation: str = Field(default="embedded", description="Name or path of the circulation.")
    title: str = Field(default="Prepared dataset", description="What it is, in a few words.")
    base: str | None = Field(
        default=None,
        description="Dataset that gives whatever the sections below do not: wang2023, embedded, or a netCDF file.",
    )
    source: Path | None = Field(default=None, description="Folder with the files of Wang et al. (2023).")
    dic: Literal["anthropogenic_removed", "raw"] | None = Field(default=None, description="Option of base wang2023.")
    npp: str | None = Field(default=None, description="Option of base wang2023.")


class BottleSection(Section):
    """Bottles of one variable: where they are, which are kept, how they reach boxes and units."""

    file: str = Field(description="Path, or name of a source that was fetched.")
    format: Literal["table", "glodap", "dom"] = Field(default="table", description="Layout of the file.")
    columns: dict[str, str] = Field(default={}, description="table: what -> name of its column.")
    unit: str | None = Field(default=None, description="table: unit of the values.")
    missing: float | None = Field(default=None, description="Missing value, where it is not that of the format.")
    flags: tuple[int, ...] = Field(default=(), description="WOCE flags that are kept; all where none is named.")
    second_flag: bool = Field(default=False, description="Keep cruises that passed secondary quality control only.")
    range: tuple[float, float] | None = Field(default=None, description="Lowest and highest value kept.")
    density: Positive | Literal["potential", "in_situ"] = Field(
        default=1024.5, description="kg m-3, or computed, to turn amounts per mass into amounts per volume."
    )
    rule: Rule = Field(default="nearest_centre", description="How a bottle finds its box.")
    exclude_basins: tuple[Literal["ATL", "PAC", "IND", "ARC", "MED"], ...] = Field(
        default=(), description="Basins whose boxes are left out; needs [dataset] source."
    )
    drop_outliers: bool = Field(default=True, description="Drop boxes outside the percentiles 0.1 and 99.9.")
    floor: float | None = Field(default=None, description="Boxes must exceed it, mmol m-3.")
    keep_bottles: bool = Field(
        default=False, description="Also store box, time and value of each dated bottle (for DIC and D14C)."
    )

    @model_validator(mode="after")
    def _unit_of_a_table(self) -> "BottleSection":
        if self.format == "table" and self.unit is None:
            raise ValueError("needs a unit, because the format is table")
        if self.format != "table" and (self.columns or self.unit is not None):
            raise ValueError("has columns or a unit, which apply to the format table only")
        return self


class FieldSection(Section):
    """One field of the forcing: where it is and what is done to it, in the order of these keys."""

    file: str = Field(description="Path, or name of a source that was fetched, or source/file.")
    format: Literal["netcdf", "ocmip2"] = Field(default="netcdf", description="Layout of the file.")
    variable: str | None = Field(default=None, description="netcdf: the variable.")
    select: dict[str, int | Literal["mean"]] = Field(
        default={}, description="netcdf: dimension -> entry, counted from 0, or its mean."
    )
    unit: str | None = Field(default=None, description="Unit of the values, where the file does not say it right.")
    missing_is: float | None = Field(default=None, description="Value of cells without one, such as 0 for production.")
    floor: float | None = Field(default=None, description="Lower values are raised to it, in the unit of the file.")
    scale: float = Field(default=1.0, description="Factor of the values.")
    smooth: bool = Field(default=False, description="Smooth horizontally, as Wang et al. (2023) do.")

    @model_validator(mode="after")
    def _variable_of_netcdf(self) -> "FieldSection":
        if self.format == "netcdf" and self.variable is None:
            raise ValueError("needs a variable, because the format is netcdf")
        return self


class Recipe(Section):
    """A whole recipe."""

    dataset: DatasetSection
    observations: dict[Bottled, BottleSection] = Field(default={}, description="Binned variables.")
    fields: dict[FieldName, FieldSection] = Field(default={}, description="Forcing.")


TEMPLATES = {
    "wang2023": "the binned files of Wang et al. (2023) on any ocean, with places for your own data",
    "glodap_woa": "GLODAPv2, DOC, World Ocean Atlas and OCMIP-2 files as published",
}
"""Ready-made recipes, and what they are."""


def read_recipe(path: str | Path) -> Recipe:
    """Read a recipe and check every key, type and choice.

    Args:
        path: TOML file; relative paths inside it are taken from its folder.

    Returns:
        the recipe, with absolute paths.

    Raises:
        InputError: the file is missing, is not TOML, or holds an unknown key or a wrong value.
    """
    recipe = read_toml(path, Recipe, "recipe", "invbgc data recipe")
    folder = Path(path).resolve().parent

    def absolute(name: str) -> str:
        known = Path(name).parts[0] in SOURCES or not Path(name).suffix
        return name if known and not (folder / name).exists() else str(folder / name)

    section = recipe.dataset
    dataset = section.model_copy(
        update={
            "output": folder / section.output,
            "circulation": absolute(section.circulation),
            "base": None if section.base is None else absolute(section.base),
            "source": None if section.source is None else folder / section.source,
        }
    )
    parts = {
        kind: {
            name: part.model_copy(update={"file": absolute(part.file)}) for name, part in getattr(recipe, kind).items()
        }
        for kind in ("observations", "fields")
    }
    return recipe.model_copy(update={"dataset": dataset, **parts})


def write_recipe(path: str | Path, template: str = "wang2023", overwrite: bool = False) -> Path:
    """Write a ready-made recipe, commented.

    Args:
        path: the file to write.
        template: a key of `TEMPLATES`.
        overwrite: replace an existing file.

    Returns:
        the path.

    Raises:
        InputError: the template is unknown, the file exists, or its folder cannot be written.
    """
    if template not in TEMPLATES:
        raise InputError(f"there is no recipe {template!r}. {nearest(template, TEMPLATES)}")
    text = files("invbgc").joinpath(f"data/recipe_{template}.toml").read_text(encoding="utf-8")
    return write_text(path, text, overwrite)
