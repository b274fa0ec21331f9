"""Records of bottle data, climatologies and atmospheric histories: addresses, checksums, sizes, terms, citations."""

from collections.abc import Sequence

from invbgc.sources.record import MEGABYTE, Source, SourceFile

_NCEI = "https://www.ncei.noaa.gov/data/oceans/ncei/ocads/data"
_GLODAP = "https://glodap.info/glodap_files"
_READ_GLODAP = "invbgc.datasets.bottle_files.read_glodap_bottles"


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


def bottles() -> list[Source]:
    """Records of bottle compilations and sediment-trap tables."""
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
            reader="invbgc.datasets.bottle_files.read_bottle_table",
            note="An Excel sheet; the recipe glodap_woa of invbgc data recipe names its columns. Check them there.",
        ),
        Source(
            name="dom_compilation",
            version="as supplied",
            title="Dissolved organic carbon, nitrogen and phosphorus, 73,748 bottle values with month (DOMobs.csv)",
            files=(SourceFile("DOMobs.csv", size=3136828),),
            licence="not stated; a public compilation of published measurements",
            citation="not stated in the file; cite where you got it, and hansell_doc for DOC, doi 10.25921/s4f4-ye35",
            landing="https://doi.org/10.25921/s4f4-ye35",
            reader="invbgc.datasets.bottle_files.read_dom_bottles",
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


def climatologies() -> list[Source]:
    """Records of gridded fields: hydrography, net primary production, gas exchange, surface temperature."""
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
            reader="invbgc.datasets.regridding.read_climatology",
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
            reader="invbgc.datasets.ocmip2.read_ocmip2",
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


def atmosphere() -> list[Source]:
    """Records of atmospheric histories: CO2, its isotopes, and chlorofluorocarbons."""
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
