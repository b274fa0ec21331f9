"""Records of published ocean circulations: where each file is, its checksum, size, terms and citation."""

from invbgc.sources.record import MEGABYTE, Source, SourceFile

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


def circulations() -> list[Source]:
    """Records of OCIM0, OCIM1, OCIM2 and of transport matrices that users hold themselves."""
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
