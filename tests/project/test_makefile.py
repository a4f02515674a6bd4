"""The Makefile's own decisions."""

import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]


def make(directory: Path, target: str) -> subprocess.CompletedProcess[str]:
    """Run a target in another directory."""
    command = ["make", "--no-print-directory", "-f", str(ROOT / "Makefile"), target]
    return subprocess.run(command, cwd=directory, capture_output=True, text=True)


def test_a_lock_of_a_killed_snakemake_is_one_line_with_the_remedy(tmp_path: Path) -> None:
    assert make(tmp_path, "unlocked").returncode == 0
    locks = tmp_path / ".snakemake" / "locks"
    locks.mkdir(parents=True)
    assert make(tmp_path, "unlocked").returncode == 0
    (locks / "0.input.lock").touch()
    done = make(tmp_path, "unlocked")
    assert done.returncode != 0
    message, *of_make = done.stderr.splitlines()
    assert message.endswith("make unlock") and len(of_make) == 1  # make: *** [...] Error 1
