"""Marks tests of packages that only `make test-vllm` installs; there a missing one is an error."""

import os
from importlib.util import find_spec

import pytest

REQUIRED = os.environ.get("THINKTUNING_TEST_VLLM") == "1"


def needs(package):
    """Return a mark that skips a test if the package is not installed."""
    missing = not REQUIRED and not find_spec(package)
    return pytest.mark.skipif(missing, reason=f"{package} is not installed: make test-vllm")
