"""A dataset on a coarser grid: averages over the fine boxes of each coarse box."""

from dataclasses import replace

from invbgc.circulation.coarsen import Coarsening
from invbgc.datasets.forcing import FIELDS_2D, FIELDS_3D, Forcing
from invbgc.observations import Observations


def coarsen_dataset(
    forcing: Forcing, observations: Observations, coarsening: Coarsening
) -> tuple[Forcing, Observations]:
    """Average forcing and observations onto the boxes of a coarser grid.

    Forcings are means over volume (or area, at the surface); observations are means over the observed fine boxes. The
    constants stay those of the fine dataset, so that parameters keep their meaning.

    Args:
        forcing: on the fine grid.
        observations: on the fine grid.
        coarsening: the relation between the grids.

    Returns:
        Forcing and observations on the coarse grid.
    """
    fields = {name: coarsening.mean(getattr(forcing, name)) for name in FIELDS_3D}
    fields |= {name: coarsening.surface_mean(getattr(forcing, name)) for name in FIELDS_2D}
    observed = {name: coarsening.mean(observations.vector(name)) for name in observations.tracers}
    return replace(forcing, **fields), Observations.from_fields(observed, coarsening.coarse, observations.attrs)
