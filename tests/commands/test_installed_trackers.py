"""The tests of trackers, in an environment that has some: requirements.lock has none."""

import os
import re
import subprocess
import sys
import tomllib

import pytest
from apart import Environment
from pages import ROOT

TRACKERS = ("tensorboard", "trackio")


@pytest.mark.slow
def test_records_continue_where_the_trackers_are_installed(tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    wanted = [line for name in TRACKERS for line in project["optional-dependencies"][name]]
    environment = Environment(tmp_path)
    python = str(environment.bin / "python")
    pip = [sys.executable, "-m", "pip", "--python", python, "install"]
    installed = subprocess.run([*pip, "--quiet", *wanted], capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"needs the package registry for {wanted}: {installed.stderr[-300:]}")
    tests = ["tests/commands/test_trackers.py", "-m", "slow or not slow"]
    done = subprocess.run(
        [python, "-m", "pytest", "-q", "-rs", *tests],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(ROOT), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stdout[-3000:]
    skipped = re.findall(r"^SKIPPED .*: (\w+) is missing", done.stdout, re.M)
    assert set(skipped) <= {"mlflow", "wandb"}
