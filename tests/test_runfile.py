import math
import tomllib

import pytest
import xarray as xr

from invbgc.errors import InputError
from invbgc.models.pco.parameters import pco_parameters
from invbgc.run import _table
from invbgc.runcheck import validate_run
from invbgc.runfile import PRESETS, RunFile, preset, read_run, to_toml, with_keys, write_template
from invbgc.tomlfile import nearest


def message(tmp_path, text: str) -> str:
    """The error of reading and checking a run file with this content."""
    path = tmp_path / "run.toml"
    path.write_text(text, encoding="utf-8")
    with pytest.raises(InputError) as error:
        validate_run(read_run(path), path)
    return str(error.value)


def test_empty_file_is_the_embedded_run(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("")
    run = read_run(path)
    assert run.fit == RunFile().fit
    assert run.run.output == tmp_path / "runs/embedded"
    validate_run(run, path)


@pytest.mark.parametrize("name", PRESETS)
@pytest.mark.parametrize("comments", [True, False])
def test_template_reads_back_to_its_preset(name, comments):
    assert RunFile.model_validate(tomllib.loads(to_toml(preset(name), comments))) == preset(name)


def test_template_explains_every_key(tmp_path):
    text = write_template(tmp_path / "new" / "run.toml").read_text()
    for section in RunFile.model_fields.values():
        for key, field in section.annotation.model_fields.items():
            assert key in text
            assert field.description


def test_template_does_not_overwrite(tmp_path):
    path = write_template(tmp_path / "run.toml")
    with pytest.raises(InputError, match="exists already"):
        write_template(path)
    write_template(path, "embedded_8deg", overwrite=True)
    assert read_run(path).circulation.name == "embedded_8deg"


def test_unknown_preset():
    with pytest.raises(InputError, match=r"no preset 'embeded'\. Did you mean 'embedded'"):
        preset("embeded")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[modell]\n", ["line 1", "no section [modell]", "Did you mean 'model'?"]),
        ("[model]\nlabil = 'off'\n", ["line 2, [model]", "unknown key 'labil'", "Did you mean 'labile'?"]),
        ("\n[model]\nsinking = 'upwnd'\n", ["line 3, [model] sinking", "'upwnd'", "Did you mean 'upwind'?"]),
        ("[model]\nexponent_layers = 4\n", ["line 2", "exponent_layers", "4 is not a choice", "Valid: 2, 3"]),
        ("[model]\nkappa_p_days = -3\n", ["line 2", "found -3", "greater than 0"]),
        ("[model]\nkappa_p_days = 'long'\n", ["line 2", "found 'long'", "valid number"]),
        ("[model]\nkappa_p_days = nan\n", ["line 2", "finite"]),
        ("[run]\nname = \n", ["not valid TOML", "line 2"]),
        ("[observations]\ntracers = ['DIP', 'O3']\n", ["line 2", "'O3' is not a choice", "DIP, DIC, ALK, O2, DOC"]),
        ("[observations]\nweights = { DOX = 1 }\n", ["line 2", "'DOX'", "Did you mean 'DOC'?"]),
        ("[observations]\nweights = { DOC = 0 }\n", ["line 2", "greater than 0"]),
        ("[observations]\ntracers = ['DIP', 'DIP', 'DIC', 'ALK', 'O2', 'DOC']\n", ["DIP is listed twice"]),
        (
            "[observations]\ntracers = ['O2', 'DOC']\n",
            ["say nothing about d_PIC, rain_ratio_slope, rain_ratio", "freeze"],
        ),
        (
            "[observations]\ntracers = ['DIP', 'DIC', 'ALK', 'O2']\nweights = { DOC = 2 }\n",
            ["DOC has a weight but is not among the tracers"],
        ),
        ("[circulation]\nname = 'embeded'\n", ["[circulation] name", "'embeded'", "Did you mean 'embedded'"]),
        ("[circulation]\nname = 'ocean.nc'\n", ["ocean.nc does not exist"]),
        ("[circulation]\nname = 'ocean.mat'\n", ["ocean.mat does not exist"]),
        ("[circulation]\nname = 'ocean.txt'\n", ["not a .nc, .npz, .mat, .jld2 file", "invbgc data convert"]),
        ("[circulation]\nname = 'ocim2_ctl_he'\n", ["is absent", "invbgc data fetch ocim2_ctl_he"]),
        ("[circulation]\nname = 'ocim2_ctl_hee'\n", ["Did you mean 'ocim2_ctl_he'"]),
        ("[circulation]\ncoarsen = 0\n", ["line 2", "greater than or equal to 1"]),
        ("[dataset]\nname = 'wang23'\n", ["[dataset] name", "Did you mean 'wang2023'"]),
        ("[dataset]\nname = 'wang2023'\n", ["[dataset] source", "needs the folder"]),
        ("[dataset]\nname = 'wang2023'\nsource = 'nowhere'\n", ["nowhere does not exist"]),
        ("[dataset]\nname = 'mine.nc'\n", ["mine.nc does not exist"]),
        ("[dataset]\ndic = 'raw'\n", ["[dataset] dic", "wang2023 only"]),
        ("[parameters]\nfreeze = ['b_c']\n", ["[parameters] freeze", "'b_c'", "Did you mean 'b_C'"]),
        ("[parameters]\noverrides = { sigma = 1 }\n", ["[parameters] overrides", "'sigma'", "sigma_P"]),
        ("[parameters]\noverrides = { eta = -1 }\n", ["eta = -1; expected a number between 0 and 1"]),
        ("[parameters]\npriors = { kru = [2e-11, 1.0] }\n", ["[parameters] priors", "'kru'", "kappa_ru"]),
        ("[parameters]\npriors = { eta = [1.2, 1.0] }\n", ["priors: eta about 1.2; expected a number between 0 and 1"]),
        ("[parameters]\npriors = { eta = [0.9, 0.0] }\n", ["line 2", "greater than 0"]),
        ("[parameters]\npriors = { eta = [0.9, 1.0] }\nfreeze = ['eta']\n", ["eta is frozen; a prior says nothing"]),
        ("[parameters]\nprior_sd = -1\n", ["line 2", "greater than 0"]),
        ("[parameters]\nstart = 'publishd'\n", ["[parameters] start", "Did you mean 'published'?"]),
        ("[fit]\nmax_evaluations = 0\n", ["line 2", "greater than or equal to 1"]),
        ("[fit]\nmethod = 'newtn'\n", ["Did you mean 'newton'?"]),
        ("[laplace]\nscaling = 'author'\n", ["Did you mean 'authors'?"]),
        ("[errors]\nmodel = 'per_traces'\n", ["Did you mean 'per_tracer'?"]),
        ("[sample]\nkernel = 'nut'\n", ["Did you mean 'nuts'?"]),
        ("[twin]\nnumber = 0\n", ["line 2", "greater than or equal to 1"]),
        ("[solver]\nbackend = 'umfpack'\n", ["'umfpack' is not a choice", "auto, superlu, pardiso"]),
    ],
)
def test_bad_run_files_are_explained(tmp_path, monkeypatch, text, expected):
    monkeypatch.setenv("INVBGC_DATA", str(tmp_path / "cache"))
    found = message(tmp_path, text)
    assert str(tmp_path) in found
    for part in expected:
        assert part in found


def test_all_problems_are_listed(tmp_path):
    found = message(tmp_path, "[model]\nlabil = 'off'\nsinking = 'x'\n[fit]\ngtol = 0\n")
    assert found.startswith("3 problems:")


def test_freezing_what_no_tracer_feels_is_enough(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text(
        "[observations]\ntracers = ['O2', 'DOC']\n[parameters]\nfreeze = ['d_PIC', 'rain_ratio_slope', 'rain_ratio']\n"
    )
    validate_run(read_run(path), path)


def test_freezing_all_parameters_is_refused(tmp_path):
    assert "nothing is left to fit" in message(tmp_path, f"[parameters]\nfreeze = {list(pco_parameters().names)}\n")


def test_dataset_without_observations_of_a_tracer(tmp_path):
    xr.Dataset({f"observed_{name}": 0.0 for name in ("DIP", "DIC", "ALK", "O2")}).to_netcdf(tmp_path / "mine.nc")
    assert "mine.nc has no variable observed_DOC" in message(tmp_path, "[dataset]\nname = 'mine.nc'\n")


def test_source_folder_without_the_data_files(tmp_path):
    (tmp_path / "data").mkdir()
    found = message(tmp_path, "[dataset]\nname = 'wang2023'\nsource = 'data'\n")
    assert "[dataset] source" in found
    assert "no file GLODAPv2_91x180x24raw.mat" in found


def test_missing_run_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the run file .*no\.toml.*invbgc init"):
        read_run(tmp_path / "no.toml")


def test_paths_count_from_the_folder_of_the_file(tmp_path):
    path = tmp_path / "run.toml"
    path.write_text("[circulation]\nname = 'a/ocean.nc'\n[parameters]\nstart = 'table.csv'\n")
    run = read_run(path)
    assert run.circulation.name == str(tmp_path / "a/ocean.nc")
    assert run.parameters.start == str(tmp_path / "table.csv")


def test_output_that_is_a_file(tmp_path):
    (tmp_path / "taken").write_text("")
    assert "is not a folder" in message(tmp_path, "[run]\noutput = 'taken'\n")


def test_nearest_knows_the_authors_names():
    assert nearest("kru", ["kappa_ru", "beta"], {"kru": "kappa_ru"}).startswith("Did you mean 'kappa_ru'?")


# ---------------------------------------------------------------- priors, and keys that are changed


def test_priors_of_a_run_end_in_its_parameter_table():
    """Those named about their own value, the other free parameters about the start."""
    section = {
        "parameters.priors": {"kappa_ru": (2e-11, 1.0), "b_P_slope": (0.1, 0.2)}, "parameters.prior_sd": 0.5,
        "parameters.overrides": {"beta": 0.3}, "parameters.freeze": ("eta",),
    }  # fmt: skip
    table = _table(with_keys(RunFile(), section))
    priors = {row.name: (row.prior_mean, row.prior_sd) for row in table}
    assert priors["kappa_ru"] == (pytest.approx(math.log(2e-11)), 1.0) and priors["b_P_slope"] == (0.1, 0.2)
    assert priors["beta"] == (pytest.approx(math.log(0.3)), 0.5) and priors["eta"] == (None, None)
    assert sum(sd == 0.5 for _, sd in priors.values()) == 18
    plain = _table(with_keys(RunFile(), {"parameters.priors": {"kappa_ru": (2e-11, 1.0)}}))
    assert [row.name for row in plain if row.prior_sd is not None] == ["kappa_ru"]


def test_dotted_keys_and_whole_sections_are_changed():
    run = preset("embedded_8deg")
    changed = with_keys(
        run, {"model.sinking": "exact", "sample.draws": 7, "dataset": {"name": "wang2023", "dic": "raw"}}
    )
    assert (changed.model.sinking, changed.sample.draws, changed.dataset.dic) == ("exact", 7, "raw")
    assert changed.circulation == run.circulation and changed.sample.chains == run.sample.chains
    assert with_keys(run, {}) == run and run.model.sinking == "upwind"


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"model.sinkin": "exact"}, ["no key 'model.sinkin'", "Did you mean 'model.sinking'"]),
        ({"modell.sinking": "exact"}, ["no key 'modell.sinking'", "'model.sinking'"]),
        ({"smaple": {}}, ["no key 'smaple'"]),
        ({"model.sinking": "exakt"}, ["changing model.sinking", "'upwind' or 'exact'"]),
        ({"sample.draws": 0, "run.seed": -1}, ["changing sample.draws, run.seed", "sample.draws: ", "run.seed: "]),
        ({"dataset": {"nam": "embedded"}}, ["changing dataset", "dataset.nam"]),
    ],
)
def test_wrong_changes_are_explained(change, expected):
    with pytest.raises(InputError) as error:
        with_keys(RunFile(), change)
    for part in expected:
        assert part in str(error.value)


def test_sections_on_the_posterior_read_back(tmp_path):
    changes = {
        "parameters.priors": {"kappa_ru": (2e-11, 1.0)}, "parameters.prior_sd": 0.5, "errors.model": "per_tracer",
        "sample": {"kernel": "delayed", "chains": 2, "warmup": 5, "draws": 9, "chunk": 3, "importance": 50},
        "twin": {"number": 3, "spread": 0.1, "noise": 0.02, "structure": 0.0, "draws": 4},
        "ensemble.members": {
            "dataset.npp": ("satellite_pattern", "inverse_uptake_pattern"), "model.exponent_layers": (2, 3),
            "dataset.structured_error": (True, False), "parameters.prior_sd": (0.1, 1e-20),
        },
        "dataset.structured_error": False, "ensemble.draws": 0,
    }  # fmt: skip
    run = with_keys(RunFile(), changes)
    for comments in (True, False):
        assert RunFile.model_validate(tomllib.loads(to_toml(run, comments))) == run
