"""The golden tests of the trainer with the oldest TRL that pyproject.toml allows.

The newest is the locked one, with which they run anyway. They fail with a TRL that changes what the
trainer relies on.
"""

import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TESTS = ["tests/trainer", "tests/algorithms"]  # but no slow ones: this file would run itself


@pytest.mark.slow
def test_golden_tests_pass_with_the_oldest_supported_trl(tmp_path):
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (trl,) = [line for line in project["dependencies"] if re.match(r"trl\b", line)]
    oldest = re.search(r">=([\d.]+)", trl)[1]
    install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps"]
    command = [*install, "--target", str(tmp_path / "trl"), f"trl=={oldest}"]
    installed = subprocess.run(command, capture_output=True, text=True)
    if installed.returncode:
        pytest.skip(f"needs the package registry for trl=={oldest}: {installed.stderr[-300:]}")

    program = "import sys, pytest, trl; print('TRL', trl.__version__); sys.exit(pytest.main())"
    done = subprocess.run(
        [
            sys.executable,
            "-c",
            program.replace("main()", f"main({['-q', '-m', 'not slow', *TESTS]})"),
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": str(tmp_path / "trl"), "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert f"TRL {oldest}" in done.stdout
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\d{3} passed", done.stdout)
