"""Tasks in one process and on two workers: what is finished stays, what fails or dies is alone in it."""

import sys

import numpy as np
import pytest

from invbgc import tasks
from invbgc.errors import InputError
from invbgc.runfile import SampleSection
from invbgc.tasks import Workers, fingerprint_of, read_results, run_tasks
from tests.task_work import square


@pytest.fixture
def calls(tmp_path):
    """File in which every call is noted."""
    return tmp_path / "calls.txt"


def numbers(calls, count=3, **more):
    """Tasks 0 to count - 1; `more` is added to task 1."""
    made = {f"task_{i}": {"number": i, "calls": str(calls)} for i in range(count)}
    made["task_1"] |= more
    return made


def noted(calls):
    return sorted(map(int, calls.read_text().split()))


def squares(outcome):
    return {name: int(data["square"]) for name, data in read_results(outcome.results).items()}


def silent(line):
    pass


def test_results_are_files_without_what_belongs_to_the_book_keeping(tmp_path, calls):
    lines = []
    outcome = run_tasks(square, numbers(calls), tmp_path / "out", "a", progress=lines.append)
    assert squares(outcome) == {"task_0": 0, "task_1": 1, "task_2": 4} and outcome.failures == {}
    assert outcome.results["task_2"] == tmp_path / "out" / "task_2.nc"
    attrs = read_results(outcome.results)["task_2"].attrs
    assert attrs["note"] == "kept" and "fingerprint" not in attrs
    assert "task_2: squaring 2" in lines and any(line.startswith("task_2: done  (3 of 3") for line in lines)
    assert (tmp_path / "out" / "task_2.log").read_text() == "squaring 2\n"


def test_what_is_finished_is_not_done_again(tmp_path, calls):
    run_tasks(square, numbers(calls, 2), tmp_path, "a", progress=silent)
    lines = []
    outcome = run_tasks(square, numbers(calls, 3), tmp_path, "a", progress=lines.append)
    assert noted(calls) == [0, 1, 2] and lines[0] == "2 of 3 are there already"
    assert squares(outcome) == {"task_0": 0, "task_1": 1, "task_2": 4}


def test_another_fingerprint_does_all_again(tmp_path, calls):
    for mark in ("a", "b"):
        run_tasks(square, numbers(calls), tmp_path, mark, progress=silent)
    assert noted(calls) == [0, 0, 1, 1, 2, 2]


def test_a_damaged_result_is_done_again(tmp_path, calls):
    outcome = run_tasks(square, numbers(calls), tmp_path, "a", progress=silent)
    outcome.results["task_1"].write_bytes(b"half a file")
    assert squares(run_tasks(square, numbers(calls), tmp_path, "a", progress=silent))["task_1"] == 1
    assert noted(calls) == [0, 1, 1, 2]


def test_a_failure_is_told_and_the_others_go_on(tmp_path, calls):
    lines = []
    outcome = run_tasks(square, numbers(calls, fail=True), tmp_path, "a", progress=lines.append)
    assert outcome.failures == {"task_1": "no steady state of 1"} and set(outcome.results) == {"task_0", "task_2"}
    assert any(line.startswith("task_1: FAILED: no steady state of 1") for line in lines)
    again = run_tasks(square, numbers(calls), tmp_path, "a", progress=silent)
    assert again.failures == {} and noted(calls) == [0, 1, 1, 2]


def test_the_result_of_another_fingerprint_does_not_outlive_a_failure(tmp_path, calls):
    run_tasks(square, numbers(calls), tmp_path, "a", progress=silent)
    outcome = run_tasks(square, numbers(calls, fail=True), tmp_path, "b", progress=silent)
    assert set(outcome.results) == {"task_0", "task_2"} and set(outcome.failures) == {"task_1"}


@pytest.fixture
def two_workers(monkeypatch):
    pytest.importorskip("distributed")
    monkeypatch.setattr(tasks, "POLL", 0.1)
    return Workers(2)


def test_two_workers_have_the_same_results(tmp_path, calls, two_workers):
    lines = []
    outcome = run_tasks(square, numbers(calls, 4, fail=True), tmp_path, "a", two_workers, lines.append)
    assert squares(outcome) == {"task_0": 0, "task_2": 4, "task_3": 9}
    assert outcome.failures == {"task_1": "no steady state of 1"}
    assert "task_3: squaring 3" in lines and noted(calls) == [0, 1, 2, 3]


def test_a_worker_that_dies_loses_its_own_task_only(tmp_path, calls, two_workers):
    flag = tmp_path / "kill"
    flag.touch()
    outcome = run_tasks(square, numbers(calls, 4, kill=str(flag)), tmp_path, "a", two_workers, silent)
    assert outcome.failures == {"task_1": "its worker died (killed, or out of memory)"}
    assert squares(outcome) == {"task_0": 0, "task_2": 4, "task_3": 9}
    flag.unlink()
    again = run_tasks(square, numbers(calls, 4, kill=str(flag)), tmp_path, "a", progress=silent)
    assert squares(again) == {"task_0": 0, "task_1": 1, "task_2": 4, "task_3": 9}
    assert noted(calls) == [0, 1, 1, 2, 3]


def test_without_dask_more_workers_are_refused(tmp_path, calls, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    with pytest.raises(InputError, match=r"pip install 'invbgc\[distributed\]', or use --workers 1"):
        run_tasks(square, numbers(calls), tmp_path, "a", Workers(2), silent)


def test_workers_are_no_more_than_memory_holds(monkeypatch):
    monkeypatch.setattr(tasks, "machine_memory", lambda: 16.0)
    lines = []
    assert Workers(8).within(4.0, lines.append) == Workers(3)  # 0.9 of 16 GB
    assert "3 workers instead of 8: each needs about 4.0 GB of the 16.0 here" in lines
    assert Workers(3).within(4.0, lines.append) == Workers(3) and Workers(8).within(0.0) == Workers(8)
    assert Workers(8, "tcp://far:8786").within(4.0) == Workers(8, "tcp://far:8786") and len(lines) == 1
    assert Workers(2).within(100.0, silent) == Workers(1)


def test_fingerprints_tell_small_changes_apart():
    parts = (np.arange(2000.0), "text", {"b": 1, "a": [1.5, None]}, SampleSection())
    mark = fingerprint_of(*parts)
    assert mark == fingerprint_of(np.arange(2000.0), "text", {"a": [1.5, None], "b": 1}, SampleSection())
    changed = np.arange(2000.0)
    changed[1000] += 1e-12 * changed[1000]
    for i, other in enumerate((changed, "texts", {"b": 1, "a": [1.5]}, SampleSection(draws=7))):
        assert fingerprint_of(*parts[:i], other, *parts[i + 1 :]) != mark
