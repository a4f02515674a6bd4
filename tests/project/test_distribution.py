"""The wheel works without the repository: it has the workflow, which `new` writes elsewhere."""

import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from apart import Environment, copy_repository, tracked
from pages import ROOT

from thinktuning.io.project import IN_WHEEL, project_files

BUILD = """
import sys
from setuptools import build_meta

sdist = build_meta.build_sdist(sys.argv[1])
print(f"{sys.argv[1]}/{sdist}")
"""


def thinktuning(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the checkout."""
    command = [sys.executable, "-m", "thinktuning.commands.cli", *arguments]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT)


def test_the_workflows_files_are_all_that_snakemake_reads() -> None:
    rooms = ("Snakefile", "config.yaml", "environment.", "studies/", "profiles/", "workflow/")
    named = {name for name in tracked() if name.startswith(rooms)}
    apart = {name for name in named if name.startswith("workflow/container/")}
    apart |= {"workflow/profiles"}  # a link to profiles/, its former place
    assert {str(path) for path in project_files(ROOT)} == named - apart


def test_new_writes_the_workflow_to_a_new_or_an_empty_directory(tmp_path: Path) -> None:
    for name in ("new/one", "empty"):
        (tmp_path / "empty").mkdir(exist_ok=True)
        done = thinktuning("new", str(tmp_path / name))
        assert done.returncode == 0, done.stderr
        for path in project_files(ROOT):
            written = tmp_path / name / path
            assert written.read_bytes() == (ROOT / path).read_bytes()
            assert written.stat().st_mode == (ROOT / path).stat().st_mode


@pytest.mark.parametrize("name", ["notes.txt", ".git"])
def test_new_refuses_a_directory_with_anything_in_it(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("mine")
    done = thinktuning("new", str(tmp_path))
    assert done.returncode == 1
    assert done.stderr == (
        f"thinktuning: {tmp_path} is not empty (it has {name}); nothing was written: name a new or"
        " an empty directory\n"
    )
    assert [path.name for path in tmp_path.iterdir()] == [name]
    for below in ("", "deeper"):
        done = thinktuning("new", str(tmp_path / name / below))
        assert done.returncode == 1
        assert re.match(r"thinktuning: .*(is not|Not) a directory; name another one$", done.stderr)


def test_the_version_has_one_place() -> None:
    done = thinktuning("--version")
    (line,) = [
        line
        for line in (ROOT / "pyproject.toml").read_text().splitlines()
        if line.startswith("version = ")
    ]
    version = line.split('"')[1]
    assert done.stdout == f"thinktuning {version}\n"
    assert f"\nversion: {version}\n" in (ROOT / "CITATION.cff").read_text()
    assert f"\n## [{version}]" in (ROOT / "CHANGELOG.md").read_text()


@pytest.mark.slow
def test_the_wheel_runs_the_smallest_study_in_an_environment_of_its_own(tmp_path: Path) -> None:
    source = copy_repository(tmp_path / "source")
    built = tmp_path / "built"
    built.mkdir()
    pip = (sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check")
    # As `python -m build`: the wheel is built from the source distribution.
    sdist = subprocess.run(
        [sys.executable, "-c", BUILD, str(built)], cwd=source, capture_output=True, text=True
    ).stdout.split()[-1]
    wheel = [*pip, "wheel", "--no-deps", "--no-build-isolation", "--no-index", "-w", built, sdist]
    subprocess.run(wheel, check=True, cwd=built)
    (path,) = built.glob("*.whl")
    files = {f"thinktuning/{IN_WHEEL}/{path}" for path in project_files(ROOT)}
    packaged = {
        name for name in tracked() if name.startswith("thinktuning/") and (ROOT / name).is_file()
    }
    found = [name for name in zipfile.ZipFile(path).namelist() if ".dist-info/" not in name]
    assert sorted(found) == sorted(files | packaged)

    environment = Environment(tmp_path / "environment")
    target = ("--python", environment.bin / "python")
    install = [*pip, *target, "install", "--no-deps", "--no-index", path]
    subprocess.run(install, check=True, cwd=built)
    where = environment.run(tmp_path, "python", "-c", "import thinktuning as t; print(t.__file__)")
    assert where.stdout.startswith(str(tmp_path / "environment"))
    done = environment.run(tmp_path, "thinktuning", "new", "mine")
    assert done.returncode == 0, done.stderr
    mine = tmp_path / "mine"
    printed = environment.run(mine, "thinktuning", "schema").stdout
    assert printed == (mine / "workflow/schemas/config.schema.json").read_text(encoding="utf-8")
    study = ("--configfile", "studies/smallest.yaml", "--config")
    fewer = ("seeds=[0]", "methods={zero_shot_reflect: null, grpo: null}")
    only = "comparison={baselines: [zero_shot]}"
    done = environment.run(mine, "snakemake", "--cores", "1", *study, *fewer, only)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "ThinkTuning" in (mine / "results/tables/comparison.md").read_text(encoding="utf-8")
    assert (mine / "results/report/index.html").is_file()
    assert str(ROOT) not in done.stdout + done.stderr
