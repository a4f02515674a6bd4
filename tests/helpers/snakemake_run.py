"""Calls Snakemake as users do, in a directory of its own."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))


def snakemake(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the workflow in a directory."""
    command = [str(BIN / "snakemake"), "--snakefile", str(ROOT / "Snakefile"), *arguments]
    return subprocess.run(
        command,
        cwd=directory,
        capture_output=True,
        text=True,
        env=os.environ | {"PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}"},
    )


def planned(directory: Path, *arguments: str) -> dict[str, int]:
    """Return rule -> the number of jobs that a dry run plans."""
    done = snakemake(directory, "--dry-run", *arguments)
    assert done.returncode == 0, done.stdout + done.stderr
    table = re.search(r"^job +count\n[- ]+\n(.*?)^total", done.stdout, re.M | re.S)
    return {rule: int(n) for rule, n in map(str.split, table[1].splitlines())} if table else {}


def stand_in(directory: Path, study: str, *optional: str) -> None:
    """Write a study's resolved jobs, and stand-ins for all other outputs, as after a whole run.

    What is planned depends only on their times. `optional` names stages that few studies have.
    """
    stages = ("data", "exemplars", "model", "train", "evaluate", "judge", "compare", *optional)
    until = [f"resolve_{stage}" for stage in stages]
    written = snakemake(directory, "--cores", "1", "--configfile", study, "--until", *until)
    assert written.returncode == 0, written.stderr
    listed = snakemake(directory, "--dry-run", "--configfile", study).stdout
    outputs = re.findall(r"^ +output: (.*)$", listed, re.M)
    paths = [directory / path for line in outputs for path in line.split(", ")]
    for path in paths:
        if path.suffix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        else:
            path.mkdir(parents=True)
    configs = (directory / "results").rglob("config.json")
    now = max(path.stat().st_mtime for path in configs) + 10
    for path in paths:
        os.utime(path, (now, now))
    assert planned(directory, "--configfile", study) == {}


def write_study(directory: Path, study: dict[str, Any], name: str = "study.yaml") -> str:
    """Write a study file and return its path."""
    path = directory / name
    path.write_text(yaml.safe_dump(study, sort_keys=False), encoding="utf-8")
    return str(path)


def executable(path: Path, script: str) -> None:
    """Write an executable script."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(script)
    path.chmod(0o755)
