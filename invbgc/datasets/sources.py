"""External data by name: where each file is published, its checksum, size, terms and citation, and what reads it.

One record per source and version. Nothing here is downloaded on import; `invbgc.datasets.fetch` does that. A URL of
None means that no stable address of the file is known, or that its terms ask users to get it themselves; `note` says
how. A checksum of None means that none is published; the sum is then recorded on first download and compared later.
"""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import PurePath

from invbgc.errors import InputError

MEGABYTE = 1_000_000
"""Bytes of a megabyte; sizes published in megabytes are rounded to it."""


@dataclass(frozen=True)
class SourceFile:
    """One file of a source.

    Attributes:
        name: file name in the cache; a folder where the source is a set of files.
        url: address; None if it must be got by hand.
        checksum: "sha256:..." or "md5:..." as published; None where none is.
        size: bytes, as published (some publishers round to megabytes); None where not known. For information only.
        mirrors: addresses of the same bytes, tried in this order after `url`.
        optional: fetched only when asked for by name; another file of the source has the same content.
    """

    name: str
    url: str | None = None
    checksum: str | None = None
    size: int | None = None
    mirrors: tuple[str, ...] = ()
    optional: bool = False


@dataclass(frozen=True)
class Source:
    """What is known about a source of data.

    Attributes:
        name: word by which it is fetched; also the name of its folder in the cache.
        version: version of the data.
        title: what it is.
        files: its files.
        licence: terms of use.
        citation: what to cite, with DOI.
        landing: page that describes it.
        reader: dotted name of the function that reads its files; None if there is none yet.
        note: what else a user must know: units, updates, how to get it by hand.
    """

    name: str
    version: str
    title: str
    files: tuple[SourceFile, ...]
    licence: str
    citation: str
    landing: str
    reader: str | None = None
    note: str = ""

    @property
    def size(self) -> int | None:
        """Bytes of the files that are fetched by default; None if one of them is not known."""
        sizes = [file.size for file in self.files if not file.optional]
        return None if None in sizes else sum(size for size in sizes if size is not None)

    def file(self, name: str) -> SourceFile:
        """The file of that name.

        Raises:
            InputError: there is none.
        """
        for file in self.files:
            if file.name == name:
                return file
        raise InputError(
            f"Source '{self.name}' has no file '{name}'; expected one of {', '.join(file.name for file in self.files)}."
        )


# ---------------------------------------------------------------------- circulations

_DEVRIES_2019 = (
    "DeVries, T., Holzer, M. (2019), Radiocarbon and helium isotope constraints on deep ocean ventilation and "
    "mantle-3He sources, J. Geophys. Res. Oceans, 124, 3036-3057, doi 10.1029/2018JC014716"
)
_HOLZER_2021 = (
    "Holzer, M., DeVries, T., de Lavergne, C. (2021), Diffusion controls the ventilation of a Pacific Shadow Zone "
    "above abyssal overturning, Nat. Commun., 12, 4348, doi 10.1038/s41467-021-24648-x"
)
_DEVRIES_2014 = (
    "DeVries, T. (2014), The oceanic anthropogenic CO2 sink: storage, air-sea fluxes, and transports over the "
    "industrial era, Global Biogeochem. Cycles, 28, 631-647, doi 10.1002/2013GB004739"
)
_DEVRIES_2011 = (
    "DeVries, T., Primeau, F. (2011), Dynamically and observationally constrained estimates of water-mass "
    "distributions and ages in the global ocean, J. Phys. Oceanogr., 41, 2381-2401, doi 10.1175/JPO-D-10-05011.1"
)
_PRIMEAU_2013 = (
    "Primeau, F. W., Holzer, M., DeVries, T. (2013), Southern Ocean nutrient trapping and the efficiency of the "
    "biological pump, J. Geophys. Res. Oceans, 118, 2547-2564, doi 10.1002/jgrc.20181"
)
_CONVERTED = "CC BY 4.0 (the archive of the converted files); cite the model"
_ZENODO = "https://zenodo.org/records"
_FIGSHARE = "https://ndownloader.figshare.com/files"
_READ_CIRCULATION = "invbgc.circulation.load_circulation"
_FROM_AUTHORS = (
    "The original MATLAB file has no stable public address: ask the authors of the model, or take the converted file "
    "of the same operator. Its TR is a convergence operator per year; the reader finds sign and unit out and reports "
    "them."
)

_OCIM2 = (
    # variant, number at the second archive, MD5, megabytes
    ("CTL_He", 28336284, "da15192381ef04e9f7cce7c886eb4833", 29),
    ("CTL_noHe", 28336299, "abede7e16b75cb3f9b7d25367772455e", 29),
    ("KiHIGH_He", 28336302, "3c8312f9aeb9bb6cb6ac32a8d84fb901", 29),
    ("KiHIGH_noHe", 28336311, "781b8c058eb74a81d10befa83faf0d08", 28),
    ("KiLOW_He", 28336317, "ee6c6f14c6bd90c1980daf8a220f0551", 29),
    ("KiLOW_noHe", 28336323, "47eabd73588739344c81f72d39367f27", 29),
    ("KvHIGH_He", 28336326, "ecd18348d062fb1c1e1518244b2b8275", 29),
    ("KvHIGH_KiHIGH_noHe", 28336329, "c71514b13802c0e497f033612f586f5a", 28),
    ("KvHIGH_KiLOW_He", 28336332, "99edb2894a2ee274e68f3309da1ed200", 29),
    ("KvHIGH_KiLOW_noHe", 28336341, "ff8fb1a0add22bde6f3fed393fa7336f", 29),
    ("KvHIGH_noHe", 28336353, "0c0402b3796c3a7d14c0bdc2db7f0aa7", 29),
)


def _circulations() -> list[Source]:
    ocim2 = [
        Source(
            name=f"ocim2_{variant.lower()}",
            version="2019",
            title=f"OCIM2 circulation, variant {variant}, 2 degrees, 24 layers",
            files=(
                SourceFile(
                    f"OCIM2_{variant}.jld2",
                    f"{_ZENODO}/19949125/files/OCIM2_{variant}.jld2",
                    f"md5:{md5}",
                    megabytes * MEGABYTE,
                    (f"{_FIGSHARE}/{number}",),
                ),
            ),
            licence=_CONVERTED,
            citation=_DEVRIES_2019,
            landing=f"{_ZENODO}/19949125",
            reader=_READ_CIRCULATION,
            note="The variant of Wang et al. (2023)." if variant == "CTL_He" else "",
        )
        for variant, number, md5, megabytes in _OCIM2
    ]
    return [
        *ocim2,
        Source(
            name="ocim2_mat",
            version="2019",
            title="OCIM2 circulation, original MATLAB files",
            files=tuple(
                SourceFile(f"OCIM2_{variant}.mat", optional=variant != "CTL_He") for variant, _, _, _ in _OCIM2
            ),
            licence="not stated; ask the authors before passing it on",
            citation=_DEVRIES_2019,
            landing="https://doi.org/10.1029/2018JC014716",
            reader=_READ_CIRCULATION,
            note=_FROM_AUTHORS,
        ),
        Source(
            name="ocim2_48l",
            version="base",
            title="OCIM2 circulation, 2 degrees, 48 layers",
            files=(
                SourceFile(
                    "OCIM2_48L_base.tar.gz",
                    f"{_ZENODO}/19944665/files/OCIM2_48L_base.tar.gz",
                    "md5:7938f20f06eff072b2791b571d2bb9d7",
                    554 * MEGABYTE,
                    (f"{_FIGSHARE}/28468077",),
                ),
            ),
            licence=_CONVERTED,
            citation=f"{_HOLZER_2021}; {_DEVRIES_2019}",
            landing=f"{_ZENODO}/19944665",
            reader=_READ_CIRCULATION,
            note="Unpack it: OCIM2_48L_base_data.nc holds the grid, OCIM2_48L_base_transport.mat the operator.",
        ),
        Source(
            name="ocim1",
            version="CTL",
            title="OCIM1 circulation, control, 2 degrees, 24 layers",
            files=(
                SourceFile(
                    "OCIM1_CTL.jld2",
                    f"{_ZENODO}/19944597/files/OCIM1_CTL.jld2",
                    "md5:eaa57b42e7edec0fe965575e9938c66d",
                    28 * MEGABYTE,
                    (f"{_FIGSHARE}/28335882",),
                ),
            ),
            licence=_CONVERTED,
            citation=f"{_DEVRIES_2014}; {_DEVRIES_2011}",
            landing=f"{_ZENODO}/19944597",
            reader=_READ_CIRCULATION,
        ),
        Source(
            name="ocim1_mat",
            version="CTL",
            title="OCIM1 circulation, original MATLAB file",
            files=(SourceFile("OCIM1_CTL.mat"),),
            licence="not stated; ask the authors before passing it on",
            citation=f"{_DEVRIES_2014}; {_DEVRIES_2011}",
            landing="https://doi.org/10.1002/2013GB004739",
            reader=_READ_CIRCULATION,
            note=_FROM_AUTHORS,
        ),
        Source(
            name="ocim0",
            version="0.1",
            title="OCIM0 circulation, 2 degrees, 90 rows, 24 layers",
            files=(
                SourceFile(
                    "OCIM0.1.jld2",
                    f"{_ZENODO}/19944573/files/OCIM0.1.jld2",
                    "md5:458a463a9f1fdc223a6cfb025daa2d47",
                    11 * MEGABYTE,
                    (f"{_FIGSHARE}/28336086",),
                ),
            ),
            licence=_CONVERTED,
            citation=f"{_PRIMEAU_2013}; {_DEVRIES_2011}",
            landing=f"{_ZENODO}/19944573",
            reader=_READ_CIRCULATION,
        ),
        Source(
            name="ocim0_mat",
            version="0.1",
            title="OCIM0 circulation, original MATLAB file",
            files=(SourceFile("OCIM0.1.mat"),),
            licence="not stated; ask the authors before passing it on",
            citation=f"{_PRIMEAU_2013}; {_DEVRIES_2011}",
            landing="https://doi.org/10.1002/jgrc.20181",
            reader=_READ_CIRCULATION,
            note=_FROM_AUTHORS,
        ),
        Source(
            name="tmm",
            version="as supplied",
            title="Transport matrices of the TMM (MITgcm 2.8 degrees, ECCO, ECCO v4, UVic), monthly",
            files=tuple(
                SourceFile(folder, optional=folder != "MITgcm_2.8deg")
                for folder in ("MITgcm_2.8deg", "MITgcm_ECCO", "MITgcm_ECCO_v4", "UVicOSUpicdefault")
            ),
            licence="code and data files of the TMM may not be posted again; never redistributed with this package",
            citation=(
                "Khatiwala, S., Visbeck, M., Cane, M. A. (2005), doi 10.1016/j.ocemod.2004.04.002; Khatiwala, S. "
                "(2007), doi 10.1029/2007GB002923; Khatiwala, S. (2018), doi 10.5281/zenodo.1246300; and the paper "
                "of the matrices used"
            ),
            landing="http://kelvin.earth.ox.ac.uk/spk/Research/TMM/TransportMatrixConfigs/",
            reader=_READ_CIRCULATION,
            note="Download and unpack a configuration from that page yourself, and leave its folder as it is.",
        ),
    ]


# ---------------------------------------------------------------------- bottle data

_NCEI = "https://www.ncei.noaa.gov/data/oceans/ncei/ocads/data"
_GLODAP = "https://glodap.info/glodap_files"
_READ_GLODAP = "invbgc.datasets.bottles.read_glodap_bottles"


def _glodap(year: int, accession: str, sha256: str, citation: str, size: int | None = None) -> Source:
    stem = f"GLODAPv2.{year}_Merged_Master_File"
    return Source(
        name=f"glodap_{year}",
        version=f"v2.{year}",
        title=f"GLODAPv2.{year} merged bottle file",
        files=(
            SourceFile(f"{stem}.csv", f"{_NCEI}/{accession}/{stem}.csv", size=size),
            SourceFile(f"{stem}.mat", f"{_GLODAP}/v2.{year}/{stem}.mat", f"sha256:{sha256}", optional=True),
        ),
        licence="free; the producers ask for citation and for fair use of the cruise data",
        citation=citation,
        landing="https://glodap.info/",
        reader=_READ_GLODAP,
        note="The .csv file is the one that is read; the .mat file has the same content and a published checksum.",
    )


def _bottles() -> list[Source]:
    return [
        _glodap(
            2021,
            "0237935",
            "8329acd8722a3c198455642f8fca29b05f460b149e178fef9e1041f2caa19453",
            "Lauvset, S. K., et al. (2021), An updated version of the global interior ocean biogeochemical data "
            "product, GLODAPv2.2021, Earth Syst. Sci. Data, 13, 5565-5589, doi 10.5194/essd-13-5565-2021",
        ),
        _glodap(
            2022,
            "0257247",
            "3d7ba5bcf59b0c1f513b6fa8140df0618d984fa7b320899e7f188dd7c6cef565",
            "Lauvset, S. K., et al. (2022), GLODAPv2.2022: the latest version of the global interior ocean "
            "biogeochemical data product, Earth Syst. Sci. Data, 14, 5543-5572, doi 10.5194/essd-14-5543-2022; data: "
            "doi 10.25921/1f4w-0t92",
        ),
        _glodap(
            2023,
            "0283442",
            "002881fa71923d15c1bd5aca3b99bc220ad5d1c77a90f130ba1ff0d3910d8766",
            "Lauvset, S. K., et al. (2024), The annual update GLODAPv2.2023: the global interior ocean "
            "biogeochemical data product, Earth Syst. Sci. Data, 16, 2047-2072, doi 10.5194/essd-16-2047-2024; data: "
            "doi 10.25921/zyrq-ht66",
            size=853 * MEGABYTE,
        ),
        Source(
            name="glodap_v3",
            version="v3 (2026)",
            title="GLODAPv3 merged bottle file",
            files=(SourceFile("GLODAPv3_Merged_Master_File.csv", f"{_NCEI}/0315582/GLODAPv3_Merged_Master_File.csv"),),
            licence="CC BY 4.0",
            citation=(
                "Lange, N., et al. (2026), The Global Ocean Data Analysis Project version 3 (GLODAPv3), doi "
                "10.25921/m6tp-mj50; preprint doi 10.5194/essd-2026-496"
            ),
            landing="https://doi.org/10.25921/m6tp-mj50",
            note="The reader was written for GLODAPv2; it reads this file if the columns carry the same names.",
        ),
        Source(
            name="hansell_doc",
            version="2022",
            title="Dissolved organic matter, global compilation of Hansell and co-workers",
            files=(
                SourceFile(
                    "All_Basins_Data_Merged_Hansell_2022.xlsx",
                    f"{_NCEI}/0227166/All_Basins_Data_Merged_Hansell_2022.xlsx",
                ),
            ),
            licence="public (NOAA NCEI accession 0227166); cite the data",
            citation=(
                "Hansell, D. A., et al. (2021), Compilation of dissolved organic matter (DOM) data obtained from "
                "global ocean observations, NCEI accession 0227166, doi 10.25921/s4f4-ye35"
            ),
            landing="https://doi.org/10.25921/s4f4-ye35",
            note="Save the sheet as CSV, or take source dom_compilation, which has a reader.",
        ),
        Source(
            name="dom_compilation",
            version="as supplied",
            title="Dissolved organic carbon, nitrogen and phosphorus, 73,748 bottle values with month (DOMobs.csv)",
            files=(SourceFile("DOMobs.csv", size=3136828),),
            licence="not stated; a public compilation of published measurements",
            citation="not stated in the file; cite where you got it, and hansell_doc for DOC, doi 10.25921/s4f4-ye35",
            landing="https://doi.org/10.25921/s4f4-ye35",
            reader="invbgc.datasets.bottles.read_dom_bottles",
            note=(
                "No stable address is known. A CSV table with columns month, lon, lat, depth, DONt_obs, DOPt_obs, "
                "DOCt_obs and -999 for missing values; a table of your own with these columns will do."
            ),
        ),
        Source(
            name="bats_flux",
            version="v003",
            title="BATS sediment traps: mass, carbon, nitrogen and phosphorus fluxes, December 1988 to June 2023",
            files=(SourceFile("bats_flux_v003.txt", size=355411),),
            licence="public; acknowledge BATS and cite the data",
            citation=(
                "Bermuda Atlantic Time-series Study, carbon, nitrogen and phosphorus content of sinking particles "
                "(Particle Interceptor Trap System), doi 10.26008/1912/bco-dmo.894099"
            ),
            landing="https://bats.bios.asu.edu/bats-data/",
            note=(
                "Download bats_flux_v003.txt from that page by hand (its addresses change). The file is extended as "
                "cruises are added; the size is that of the version that ends in June 2023."
            ),
        ),
    ]


# ---------------------------------------------------------------------- climatologies and forcing

_WOA = "https://www.ncei.noaa.gov/data/oceans/woa"
_WOA_VARIABLES = (
    ("temperature", "t", "decav"),
    ("salinity", "s", "decav"),
    ("phosphate", "p", "all"),
    ("silicate", "i", "all"),
    ("oxygen", "o", "all"),
)


def _woa(year: int, sizes: Sequence[int | None], citation: str) -> Source:
    short = f"{year % 100}"
    return Source(
        name=f"woa{short}",
        version=f"{year}, annual, 1 degree, all decades",
        title=f"World Ocean Atlas {year}: temperature, salinity, phosphate, silicate, oxygen",
        files=tuple(
            SourceFile(
                f"woa{short}_{period}_{letter}00_01.nc",
                f"{_WOA}/WOA{short}/DATA/{variable}/netcdf/{period}/1.00/woa{short}_{period}_{letter}00_01.nc",
                size=size,
            )
            for (variable, letter, period), size in zip(_WOA_VARIABLES, sizes, strict=True)
        ),
        licence="public domain (United States government); citation requested",
        citation=citation,
        landing=f"https://www.ncei.noaa.gov/access/world-ocean-atlas-{year}/",
        reader="invbgc.datasets.regridding.read_climatology",
        note="Objectively analysed means t_an, s_an, p_an, i_an, o_an; nutrients and oxygen in umol kg-1.",
    )


def _climatologies() -> list[Source]:
    return [
        _woa(
            2018,
            (None,) * 5,
            "Locarnini, R. A., et al. (2018), World Ocean Atlas 2018, Volume 1: Temperature, NOAA Atlas NESDIS 81; "
            "Zweng, M. M., et al. (2018), Volume 2: Salinity, NOAA Atlas NESDIS 82; Garcia, H. E., et al. (2018), "
            "Volumes 3 (oxygen) and 4 (nutrients), NOAA Atlas NESDIS 83 and 84",
        ),
        _woa(
            2023,
            (85168080, 77439270, None, None, None),
            "Reagan, J. R., et al. (2023), World Ocean Atlas 2023, doi 10.25921/va26-hv25; volumes: temperature doi "
            "10.25923/54bh-1613, salinity doi 10.25923/70qt-9574, oxygen doi 10.25923/rb67-ns53, nutrients doi "
            "10.25923/39qw-7j08",
        ),
        Source(
            name="nowicki2022_npp",
            version="2022",
            title="Net primary production on the OCIM2 grid: SeaWiFS CbPM, CAFE and other products",
            files=(SourceFile("products"),),
            licence="that of the archive; see the page",
            citation=(
                "Nowicki, M., DeVries, T., Siegel, D. A. (2022), Quantifying the carbon export and sequestration "
                "pathways of the ocean's biological carbon pump, Global Biogeochem. Cycles, 36, doi "
                "10.1029/2021GB007083; data: doi 10.6084/m9.figshare.19074521"
            ),
            landing="https://doi.org/10.6084/m9.figshare.19074521",
            note=(
                "The addresses of the single files are not known: download from that page and put the files into the "
                "folder named above. Wang et al. (2023) use index 1 (SeaWiFS CbPM) and index 2 (CAFE)."
            ),
        ),
        Source(
            name="ocmip2_gas_exchange",
            version="OCMIP-2",
            title="OCMIP-2 gas exchange: ice cover, transfer coefficient, sea-level pressure, monthly, 1 degree",
            files=(SourceFile("gasx_ocmip2.nc"),),
            licence="not stated; part of a public model protocol",
            citation=(
                "Najjar, R. G., Orr, J. C. (1999), Biotic-HOWTO, OCMIP-2; Orr, J. C., et al. (2017), Geosci. Model "
                "Dev., 10, 2169-2199, doi 10.5194/gmd-10-2169-2017"
            ),
            landing="http://ocmip5.ipsl.jussieu.fr/documentation/OCMIP/phase2/simulations/Biotic/HOWTO-Biotic-1.html",
            note="Follow the link gasx_ocmip2.nc.gz on that page and unpack it with gunzip.",
        ),
        Source(
            name="ersst_v5",
            version="v5",
            title="Reanalysis of sea-surface temperature (ERSST v5), monthly since 1854, 2 degrees",
            files=(
                SourceFile(
                    "sst.mnmean.nc",
                    "https://downloads.psl.noaa.gov/Datasets/noaa.ersst.v5/sst.mnmean.nc",
                    size=150 * MEGABYTE,
                ),
            ),
            licence="public domain (United States government); citation requested",
            citation=(
                "Huang, B., et al. (2017), Extended Reconstructed Sea Surface Temperature version 5, J. Climate, doi "
                "10.1175/JCLI-D-16-0836.1; data: doi 10.7289/V5T72FNM"
            ),
            landing="https://www.ncei.noaa.gov/products/extended-reconstructed-sst",
            note="Extended every month: the checksum recorded on download is that of the copy you have.",
        ),
    ]


def _atmosphere() -> list[Source]:
    co2 = "mole_fraction_of_carbon_dioxide_in_air_input4MIPs_GHGConcentrations_CMIP_UoM-CMIP-1-1-0_gr3-GMNHSH"
    folder = "GHGConc/CMIP/mon/atmos/UoM-CMIP-1-1-0/GHGConc/gr3-GMNHSH/v20160701"
    return [
        Source(
            name="co2_cmip6",
            version="UoM-CMIP-1-1-0",
            title="Atmospheric CO2 of the CMIP6 historical experiment, monthly to 2014, global and hemispheres",
            files=(
                SourceFile(
                    f"{co2}_000001-201412.csv",
                    f"ftp://data.iac.ethz.ch/CMIP6/input4MIPs/UoM/{folder}/{co2}_000001-201412.csv",
                    "md5:a3d42f5e339f4c652b8ae80e830b6941",
                ),
            ),
            licence="not stated for the table; see the paper",
            citation=(
                "Meinshausen, M., et al. (2017), Historical greenhouse gas concentrations for climate modelling "
                "(CMIP6), Geosci. Model Dev., 10, 2057-2116, doi 10.5194/gmd-10-2057-2017"
            ),
            landing="https://doi.org/10.5194/gmd-10-2057-2017",
            note="An FTP address; where FTP is blocked, take the table from the supplement of the paper.",
        ),
        Source(
            name="co2_mauna_loa",
            version="current",
            title="Atmospheric CO2 at Mauna Loa, monthly since March 1958",
            files=(SourceFile("co2_mm_mlo.csv", "https://gml.noaa.gov/webdata/ccgg/trends/co2/co2_mm_mlo.csv"),),
            licence="free; the producers ask for credit",
            citation=(
                "Lan, X., NOAA Global Monitoring Laboratory (gml.noaa.gov/ccgg/trends), and Keeling, R., Scripps "
                "Institution of Oceanography; Keeling, C. D., et al. (1976), Tellus, 28, 538-551, doi "
                "10.1111/j.2153-3490.1976.tb00701.x"
            ),
            landing="https://gml.noaa.gov/ccgg/trends/data.html",
            note="Extended every month: the checksum recorded on download is that of the copy you have.",
        ),
        Source(
            name="graven2017",
            version="2017",
            title="Atmospheric D14C in three zones and global d13C of CO2, yearly 1850 to 2015",
            files=(
                SourceFile(
                    "gmd-10-4405-2017-supplement.zip",
                    "https://gmd.copernicus.org/articles/10/4405/2017/gmd-10-4405-2017-supplement.zip",
                ),
            ),
            licence="that of the paper, whose supplement it is (open access)",
            citation=(
                "Graven, H., et al. (2017), Compiled records of carbon isotopes in atmospheric CO2 for historical "
                "simulations in CMIP6, Geosci. Model Dev., 10, 4405-4417, doi 10.5194/gmd-10-4405-2017"
            ),
            landing="https://doi.org/10.5194/gmd-10-4405-2017",
            note="TableS1.csv in the archive holds both isotopes; zones: NH, Tropics, SH.",
        ),
        Source(
            name="cfc_histories",
            version="revised 2023, to 2022",
            title="Atmospheric CFC-11, CFC-12, CFC-113, CCl4, SF6 and N2O, both hemispheres",
            files=(
                SourceFile(
                    "Tracer_atmospheric_histories_revised_2023_Table1.csv",
                    f"{_NCEI}/0164584/CFC_ATM_Hist_2022/Tracer_atmospheric_histories_revised_2023_Table1.csv",
                ),
            ),
            licence="public; cite the data",
            citation=(
                "Bullister, J. L., Warner, M. J. (2017), Atmospheric histories (1765-2022) for CFC-11, CFC-12, "
                "CFC-113, CCl4, SF6 and N2O, doi 10.3334/cdiac/otg.cfc_atm_hist_2015"
            ),
            landing="https://doi.org/10.3334/cdiac/otg.cfc_atm_hist_2015",
            note="First row names, second hemispheres, third units.",
        ),
    ]


SOURCES: dict[str, Source] = {
    source.name: source for source in (*_circulations(), *_bottles(), *_climatologies(), *_atmosphere())
}
"""Name -> record of every source."""


def get_source(name: str) -> Source:
    """The record of a source.

    Args:
        name: a key of `SOURCES`.

    Returns:
        the record.

    Raises:
        InputError: the name is unknown.
    """
    if name in SOURCES:
        return SOURCES[name]
    near = difflib.get_close_matches(name, SOURCES, n=1)
    raise InputError(
        f"Source '{name}' is unknown{f'; did you mean {near[0]!r}?' if near else '.'} All names: invbgc data list."
    )


def source_of(path: str | PurePath) -> Source | None:
    """The source that a file belongs to, by its name; for the citation of what a run has read.

    Args:
        path: of a file, in the cache or elsewhere.

    Returns:
        the record, None for a file that belongs to no source.
    """
    name = PurePath(path).name
    return next((source for source in SOURCES.values() if any(file.name == name for file in source.files)), None)


def cite(names: Iterable[str] = ()) -> dict[str, str]:
    """What to cite for the sources used.

    Args:
        names: keys of `SOURCES`; all where none is given.

    Returns:
        citation of each name.

    Raises:
        InputError: a name is unknown.
    """
    return {name: get_source(name).citation for name in (list(names) or SOURCES)}
