"""A small study for the workflow's tests."""

import copy
from typing import Any

import pytest
from snakemake_run import DEFAULT


@pytest.fixture
def small() -> dict[str, Any]:
    """The default study with two seeds and one task: fewer jobs to plan."""
    study = copy.deepcopy(DEFAULT)
    study["seeds"] = [0, 1]
    study["tasks"] = {"chain_sum": study["tasks"]["chain_sum"]}
    return study
