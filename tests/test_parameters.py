"""Parameter table: coordinates, files, freezing, and what it refuses."""

import jax
import numpy as np
import pytest

from invbgc.errors import InputError
from invbgc.models.pco import pco_parameters
from invbgc.parameters import Parameter, ParameterTable
from invbgc.transforms import TRANSFORMS, error_bar


@pytest.fixture
def table():
    return pco_parameters("published")


def test_table_has_21_documented_rows(table):
    assert len(table) == 21
    assert all(row.description and row.reference and row.unit for row in table)
    assert table["kappa_rd"].value == table["krd"].value == 2.99e-12


def test_decay_times_of_refractory_carbon_are_the_published_ones(table):
    years = [1 / row.value / 3.1536e7 for row in (table["kappa_ru"], table["kappa_rd"])]
    np.testing.assert_allclose(years, [5524, 10605], atol=1)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_transform_and_its_inverse_and_slope(name):
    rule, p = TRANSFORMS[name], 0.3
    x = float(rule.coordinate(p))
    assert float(rule.value(x)) == pytest.approx(p, rel=1e-15)
    assert float(jax.grad(rule.value)(x)) == pytest.approx(float(rule.slope(p)), rel=1e-14)


def test_error_bars_end_at_the_shifted_coordinate():
    lower, upper = error_bar("log", 2.0, 0.1)
    assert (lower, upper) == pytest.approx((2 - 2 * np.exp(-0.1), 2 * np.exp(0.1) - 2))
    assert error_bar("linear", 2.0, 0.1) == pytest.approx((0.1, 0.1))
    assert error_bar("logit", 0.98, np.inf) == (np.inf, np.inf)


def test_vector_and_values_are_inverse(table):
    back = table.to_values(table.to_vector())
    assert {name: float(value) for name, value in back.items()} == pytest.approx(table.values, rel=1e-14)


def test_frozen_rows_leave_the_vector_and_keep_their_value(table):
    frozen = table.freeze(["beta", "rO2C"])
    assert len(frozen.to_vector()) == 19
    assert frozen.to_values(frozen.to_vector() + 1.0)["beta"] == table["beta"].value


def test_file_round_trip(table, tmp_path):
    changed = table.freeze(["d_PIC"]).with_values({"alpha": 1 / 3e7})
    changed.to_csv(tmp_path / "table.csv")
    assert tuple(ParameterTable.read_csv(tmp_path / "table.csv")) == tuple(changed)


def test_gaussian_prior_is_in_optimiser_coordinates():
    row = Parameter("a", "a", "a", 2.0, "1", "log", 1.0, 1.0, "d", "r", prior_mean=0.0, prior_sd=0.5)
    table = ParameterTable([row])
    assert float(table.negative_log_prior(table.to_vector())) == pytest.approx(0.5 * (np.log(2) / 0.5) ** 2)


def test_a_prior_is_given_about_a_value_and_lasts(table, tmp_path):
    changed = table.with_prior("kru", 2e-11, 1.0).with_prior("eta", 0.9, 0.5)
    assert changed["kappa_ru"].prior_mean == pytest.approx(np.log(2e-11))
    assert changed["eta"].prior_mean == pytest.approx(np.log(0.9 / 0.1))
    centre = changed.to_vector({"kappa_ru": 2e-11, "eta": 0.9})
    steps = np.zeros((2, 21))
    steps[0, changed.names.index("kappa_ru")], steps[1, changed.names.index("eta")] = 1.0, 0.5
    for step in steps:
        assert float(changed.negative_log_prior(centre + step)) == pytest.approx(0.5)
    changed.to_csv(tmp_path / "table.csv")
    assert tuple(ParameterTable.read_csv(tmp_path / "table.csv")) == tuple(changed)


def test_priors_of_frozen_rows_add_nothing(table):
    changed = table.with_prior("eta", 0.5, 0.01).freeze(["eta"])
    assert float(changed.negative_log_prior(changed.to_vector())) == 0.0


def test_printing_names_symbols_units_and_frozen_rows(table):
    text = str(table.freeze(["eta"]))
    assert "eta (frozen)" in text and "κ_dr" in text and "s-1" in text


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda t: t["kapa_dP"], "unknown parameter 'kapa_dP'; did you mean kappa_dP"),
        (lambda t: t.with_values({"alpha": -1.0}), "parameter alpha: value -1.0 s-1; expected a positive number"),
        (lambda t: t.with_values({"eta": 1.2}), "parameter eta: value 1.2 1; expected a number between 0 and 1"),
        (
            lambda t: t.with_prior("beta", 0.3, 0.0),
            "parameter beta: a Gaussian prior needs both a mean and a positive sd",
        ),
        (lambda t: t.with_prior("betta", 0.3, 1.0), "unknown parameter 'betta'"),
        (lambda t: t.started_from("best"), "start column 'best'"),
        (lambda t: t.to_values(np.zeros(3)), "parameter vector of length 3; expected 21"),
        (lambda t: ParameterTable([*t, t[0]]), "sigma_P appear more than once"),
        (lambda t: ParameterTable.read_csv("absent.csv"), "parameter table absent.csv: no such file"),
    ],
)
def test_bad_input_is_explained(table, change, message):
    with pytest.raises(InputError, match=message):
        change(table)


def test_bad_files_name_row_and_column(table, tmp_path):
    path = tmp_path / "table.csv"
    table.to_csv(path)
    path.write_text(path.read_text().replace("2.45e-08,s-1", "fast,s-1", 1))
    with pytest.raises(InputError, match="row alpha: value holds 'fast'; expected a number"):
        ParameterTable.read_csv(path)
    table.to_csv(path)
    whole = path.read_text()
    path.write_text(whole, encoding="utf-8-sig")  # as spreadsheets save it
    assert tuple(ParameterTable.read_csv(path)) == tuple(table)
    path.write_text(whole, encoding="utf-16")
    with pytest.raises(InputError, match="not UTF-8 text"):
        ParameterTable.read_csv(path)
    path.write_text(whole[: whole.index("sigma_C") + 12])  # a copy cut short
    with pytest.raises(InputError, match=r"line 9: expected .* cells"):
        ParameterTable.read_csv(path)
    path.write_text("name,value\nalpha,1\n")
    with pytest.raises(InputError, match="missing column"):
        ParameterTable.read_csv(path)
