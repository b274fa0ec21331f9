"""Exponents at Bermuda from the published trap file, against Tanioka et al. (2021)."""

import numpy as np
import pytest

from invbgc import traps
from invbgc.traps.choices import PUBLISHED

pytestmark = pytest.mark.shared_data


@pytest.fixture(scope="module")
def table(shared_data):
    return traps.read_bats(shared_data / "bats" / "bats_flux_v003.txt")


@pytest.fixture(scope="module")
def bermuda(table):
    return traps.profiles(table, ("P", "C"), years=(2006, 2019))


def test_complete_time_points(bermuda):
    data, problems = bermuda
    assert data.sizes["profile"] == 135  # asked for: between 120 and 140
    infinite = problems[problems["reason"] == "not a number"]
    assert infinite[["row", "profile"]].values.tolist() == [[1052, "10342"]]
    # every trap of these years is used or reported
    assert data.sizes["profile"] * 3 + len(problems) + data.attrs["other_depths"] == 474


def test_plain_log_linear_fit(bermuda):
    b = traps.exponents(bermuda[0], ["free"])["b"].isel(fit=0)
    assert float(b.sel(element="P").median()) == pytest.approx(1.38, abs=0.01)
    assert float(b.sel(element="C").median()) == pytest.approx(1.06, abs=0.01)
    found = traps.compare(b.sel(element="P"), b.sel(element="C"))
    assert found.median_difference == pytest.approx(0.30, abs=0.05)
    assert found.significant(0.01)


def test_profiles_with_three_replicates_give_the_published_medians(table):
    chosen = table
    for element in ("C", "P"):
        chosen = traps.from_replicates(chosen, element, "mean", at_least=3)
    data, _ = traps.profiles(chosen, ("P", "C"), years=(2006, 2019))
    b = traps.exponents(data, ["free"])["b"].isel(fit=0).median("profile")
    assert data.sizes["profile"] == 79
    np.testing.assert_allclose(b, [PUBLISHED["P"], PUBLISHED["C"]], atol=0.01)


def test_choices_beside_the_published_medians(table):
    found = traps.all_choices(table)
    assert len(found) == 200
    assert set(found["fit"]) == {"free", "forced", "nonlinear"}
    assert found["distance"].iloc[0] < 0.01
    screened = found[(found["screen"] == "C:P 30 to 3000") & (found["distance"] < 0.02)].iloc[0]
    assert screened[["welch_p", "paired_p", "signed_rank_p", "rank_sum_p"]].max() < 0.01
    assert screened["difference"] == pytest.approx(0.30, abs=0.01)
