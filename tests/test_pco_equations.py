"""The equations of the P-C-O model, written out box by box, against the sources of every stage at some state."""

import jax.numpy as jnp
import numpy as np
import pytest

import invbgc as ib
from invbgc.chemistry.carbonate import co2_star
from invbgc.chemistry.gas_exchange import oxygen_saturation
from invbgc.models.pco import PCOModel, PCOOptions, pco_parameters

YEAR = 365.0 * 86400.0
CASES = {
    "first round": PCOOptions(),
    "second round": PCOOptions(
        labile="satellite_residual", labile_fraction=0.1, c_to_p="modelled_phosphate", exponent_layers=3
    ),
}


def schmidt(t, *coefficients):
    return sum(c * t**power for power, c in enumerate(coefficients))


def some_state(n: int) -> dict[str, np.ndarray]:
    draw = np.random.default_rng(0)
    size = {"DIP": 2.0, "DOP": 0.3, "DOPl": 1e-4, "DOC": 20.0, "DOCr": 40.0, "DOCl": 0.1, "ALK": 2400.0, "DIC": 2100.0}
    return {name: value * draw.uniform(0.9, 1.1, n) for name, value in size.items()} | {"O2": draw.uniform(0, 12, n)}


def by_hand(model: PCOModel, p, c) -> dict[str, np.ndarray]:
    """Sources minus sinks of every tracer, mmol m-3 s-1 (Wang et al. 2023, Methods); chemistry has tests of its own."""
    grid, forcing, options, constants = model.grid, model.forcing, model.options, model.environment.equilibrium
    k, column, n = grid.layer, grid.column, grid.n_wet
    dz, edges, columns = grid.thickness, grid.depth_edges, grid.n_columns
    lit, top = k < 2, k == 0
    delta, kappa_l, kappa_g = options.labile_fraction, 1.0 / (12 * 3600.0), 1e-6 / YEAR

    # Equation 1, in mmol P m-3 yr-1 per layer, and C:P
    npp = np.where(lit, 0.5 * forcing.net_primary_production[column] / dz[k], 0.0)
    satellite = npp * (0.006 + 0.0069 * forcing.phosphate)
    uptake = np.where(lit, p["alpha"] * satellite ** p["beta"] / (1e-6 + forcing.phosphate), 0.0) * c["DIP"]
    phosphate = c["DIP"] if options.c_to_p == "modelled_phosphate" else forcing.phosphate
    carbon = uptake / (p["P_to_C_slope"] * phosphate + p["P_to_C_intercept"])
    labile = npp / YEAR - carbon if options.labile == "satellite_residual" else np.zeros(n)

    # Sinking, layer by layer: what meets the floor dissolves above it
    warmth = (forcing.temperature - forcing.T_min + 1.0) / (forcing.T_max - forcing.T_min)
    warmth = np.array([warmth[(column == i) & (k < options.exponent_layers)].mean() for i in range(columns)])

    def dissolved(source, through):
        """kappa C, for the part through(layer, column) of the flux that leaves a layer with water below it."""
        result = np.zeros(n)
        for i in range(columns):
            flux = 0.0
            boxes = np.flatnonzero(column == i)
            for layer, box in enumerate(boxes):
                arriving = flux + source[box] * dz[layer]
                flux = arriving * through(layer, i) if layer + 1 < len(boxes) else 0.0
                result[box] = (arriving - flux) / dz[layer]
        return result

    def power_law(pool):
        b = p[f"b_{pool}"] + p[f"b_{pool}_slope"] * warmth
        return lambda layer, i: 1.0 / (1.0 + b[i] * dz[layer] / edges[layer + 1])

    def q10(pool):
        return p[f"kappa_d{pool}"] * p[f"Q10_{pool}"] ** ((forcing.temperature - 30.0) / 10.0)

    pop = dissolved((1.0 - p["sigma_P"] - delta) * uptake, power_law("P"))
    particles = (1.0 - p["sigma_C"] - delta) * carbon
    poc = dissolved(particles, power_law("C"))
    silicate = np.where(lit, (forcing.silicate - forcing.Si_min) / (forcing.Si_max - forcing.Si_min), 0.0)
    pic_made = (p["rain_ratio_slope"] * silicate + p["rain_ratio"]) * particles
    pic = dissolved(pic_made, lambda layer, i: 1.0 / (1.0 + dz[layer] / p["d_PIC"]))

    # Air-sea exchange
    t = forcing.temperature[:columns]
    dissolved_co2 = np.asarray(co2_star(c["DIC"][:columns] / 1.0245, c["ALK"][:columns] / 1.0245, constants))
    velocity = forcing.piston_velocity_660 * np.sqrt(660.0 / schmidt(t, 2073.1, -125.62, 3.6276, -0.043219))
    air_co2, air_o2 = np.zeros(n), np.zeros(n)
    air_co2[top] = velocity / dz[0] * 1.0245 * (np.asarray(constants.solubility) * 278.0 - dissolved_co2)
    velocity = forcing.piston_velocity_660 * np.sqrt(660.0 / schmidt(t, 1638.0, -81.83, 1.483, -0.008004))
    saturation = np.asarray(oxygen_saturation(t, forcing.salinity[:columns]))
    air_o2[top] = velocity / dz[0] * (forcing.sea_level_pressure * saturation - c["O2"][:columns])
    freshwater = np.where(top, forcing.freshwater_flux[column], 0.0)

    loss, refractory = q10("C") * c["DOC"], np.where(lit, p["kappa_ru"], p["kappa_rd"]) * c["DOCr"]
    docl, dopl = (c.get(name, np.zeros(n)) for name in ("DOCl", "DOPl"))
    respired = p["eta"] * loss + refractory + poc + kappa_l * docl
    taken = carbon + labile
    oxic = 0.5 + 0.5 * np.tanh((c["O2"] - 5.0) / 1.0)
    return {
        "DIP": kappa_g * (forcing.DIP_mean - c["DIP"]) - uptake + pop + q10("P") * c["DOP"] + kappa_l * dopl,
        "DOP": p["sigma_P"] * uptake - q10("P") * c["DOP"],
        "DOPl": delta * uptake - kappa_l * dopl,
        "DOC": p["sigma_C"] * carbon - loss,
        "DOCr": (1.0 - p["eta"]) * loss - refractory,
        "DOCl": delta * carbon + labile - kappa_l * docl,
        "ALK": kappa_g * (forcing.ALK_mean - c["ALK"]) + 2.0 * (pic - pic_made) + 18.0 / 106.0 * (taken - respired)
        - freshwater * forcing.ALK_surface_mean,
        "DIC": respired - taken + pic - pic_made + air_co2 - freshwater * forcing.DIC_surface_mean,
        "O2": p["r_O2C"] * (taken - oxic * respired) + air_o2,
    }  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_sources_are_the_equations_of_the_paper(name):
    ocean, table = ib.load_circulation("few_box"), pco_parameters("published")
    model = PCOModel(ocean, ib.idealised_forcing(ocean.grid), CASES[name], table, "superlu")
    tracers, x = [tracer for stage in model.stages for tracer in stage.tracers], jnp.asarray(table.to_vector())
    state = {tracer: jnp.asarray(part) for tracer, part in some_state(ocean.grid.n_wet).items() if tracer in tracers}
    expected = by_hand(model, table.values, {t: np.asarray(c) for t, c in state.items()})

    for stage in model.stages:
        for tracer, found in stage.source({t: state[t] for t in stage.tracers}, state, x).items():
            scale = np.abs(expected[tracer]).max()
            np.testing.assert_allclose(found, expected[tracer], atol=1e-10 * scale, err_msg=tracer)
