"""What the hosted workflows call exists: no runner of theirs is needed to see a broken one."""

import re
import subprocess
import tomllib

import pytest
import yaml
from pages import ROOT

WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def steps(path):
    """Yield the steps of a workflow's jobs."""
    for job in yaml.safe_load(path.read_text())["jobs"].values():
        yield from job["steps"]


def script(path, name):
    """Return the script of a named step."""
    (found,) = [step["run"] for step in steps(path) if step.get("name", "").startswith(name)]
    return found


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_commands_are_targets_or_files(path):
    makefile = (ROOT / "Makefile").read_text()
    commands = [step["run"] for step in steps(path) if "run" in step]
    assert commands
    for target in re.findall(r"^make (\w[\w-]*)", "\n".join(commands), re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), target
    for name in re.findall(r"\S*(?:studies|tests)/\S*|\.ci/\w+", "\n".join(commands)):
        assert (ROOT / name.strip('"').removeprefix('PYTEST_ARGS="')).exists(), name


def test_the_oldest_and_the_newest_trl_are_the_ends_of_the_range(tmp_path):
    """The step's own script, with a pip that prints what it would install."""
    (allowed,) = [d for d in PYPROJECT["project"]["dependencies"] if d.startswith("trl")]
    pip = tmp_path / ".venv/bin/python"
    pip.parent.mkdir(parents=True)
    pip.write_text('#!/bin/sh\nfor last in "$@"; do :; done; echo "$last"\n')
    pip.chmod(0o755)
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    run = ["bash", "-e", "-c", script(ROOT / ".github/workflows/ci.yml", "Install the")]
    found = {
        release: subprocess.run(
            run, cwd=tmp_path, env={"RELEASE": release, "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True, check=True,
        ).stdout.strip()
        for release in ("oldest", "newest")
    }  # fmt: skip
    lower = re.match(r"trl>=([\d.]+),", allowed).group(1)
    assert found == {"oldest": f"trl=={lower}", "newest": allowed}


@pytest.mark.parametrize("tag", ["v9.9.9", f"v{PYPROJECT['project']['version']}"])
def test_a_tag_is_released_only_as_the_version_with_a_changelog(tmp_path, tag):
    run = ["bash", "-e", "-c", script(ROOT / ".github/workflows/release.yml", "Compare")]
    version = PYPROJECT["project"]["version"]
    (tmp_path / "pyproject.toml").write_text((ROOT / "pyproject.toml").read_text())
    for changelog, complete in (("## [Unreleased]\n", False), (f"## [{version}]\n", True)):
        (tmp_path / "CHANGELOG.md").write_text(changelog)
        done = subprocess.run(
            run, cwd=tmp_path, env={"GITHUB_REF_NAME": tag, "PATH": "/usr/bin:/bin"},
            capture_output=True, text=True,
        )  # fmt: skip
        assert (done.returncode == 0) == (complete and tag == f"v{version}"), done.stdout
