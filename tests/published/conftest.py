"""The authors' files of Wang et al. (2023), for every test of published numbers."""

import pytest

from invbgc.datasets.wang2023 import SourceFiles


@pytest.fixture(scope="session")
def folder(shared_data):
    return shared_data / "wang2023_observations"


@pytest.fixture(scope="session")
def files(folder):
    return SourceFiles(folder)
