"""What docs/tutorial.md and docs/howto.md say to type works."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pages import ROOT, TEXTS

from thinktuning.io.errors import StudyError
from thinktuning.study.reading import load_study
from thinktuning.teachers.prompts import load

TUTORIAL = TEXTS[ROOT / "docs/tutorial.md"]
HOWTO = TEXTS[ROOT / "docs/howto.md"]
FILE = re.compile(r"^```yaml\n# (\S+)\n(.*?)^```$", re.M | re.S)
COMMANDS = re.compile(r"(?:^ {4}.*\n)+", re.M)
BLOCK = re.compile(r"^```.*?^```$", re.M | re.S)
INSTALLATION = ("git clone ", "make env", "source ")  # what `.ci/run` begins with
FEWER = {  # half the time
    "seeds: [0, 1]": "seeds: [0]\nmethods: {zero_shot_reflect: null}",
    "max_steps: 200 ": "max_steps: 100 ",
}


@pytest.fixture
def clone(tmp_path):
    """A copy of the repository, in which files can be written."""
    ignored = shutil.ignore_patterns(".*", "__pycache__", "docs", "results", "site", "tests")
    return Path(shutil.copytree(ROOT, tmp_path / "thinktuning", ignore=ignored))


def run(script, directory, home):
    """Run lines of a terminal, with the interpreter of the tests; stop at the first that fails."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    env = os.environ | {"PATH": path, "HOME": str(home), "PYTHONPATH": str(directory)}
    command = ["bash", "-euxo", "pipefail", "-c", script]
    return subprocess.run(command, cwd=directory, env=env, capture_output=True, text=True)


def commands(text):
    """The commands of a page, one after the other, each file that it shows written in its place."""
    inside = [found.span() for found in BLOCK.finditer(text)]
    lines = {
        found.start(): [line[4:] for line in found[0].splitlines()]
        for found in COMMANDS.finditer(text)
        if not any(start < found.start() < end for start, end in inside)
    }
    files = {
        found.start(): [f"cat > {found[1]} <<'END'\n{found[2]}END"] for found in FILE.finditer(text)
    }
    return [line for _, block in sorted((lines | files).items()) for line in block]


@pytest.mark.slow
def test_the_tutorial_can_be_typed(clone, tmp_path):
    study = clone / "studies/smallest.yaml"
    for line, shorter in FEWER.items():
        assert study.read_text().count(line) == 1
        study.write_text(study.read_text().replace(line, shorter))
    lines = [line for line in commands(TUTORIAL) if not line.startswith(INSTALLATION)]
    done = run("\n".join(lines), clone, tmp_path)
    assert done.returncode == 0, done.stderr
    for command in ("validate", "plan", "show", "compare"):
        assert f"\n+ thinktuning {command} " in f"\n{done.stderr}"
    results = tmp_path / "first/results"
    assert (results / "report/index.html").exists()
    assert "ThinkTuning, a tenth taught" in (results / "tables/comparison.md").read_text()
    # of the second study only the new method is trained
    runs = {path.parts[-3]: path.stat().st_mtime for path in results.glob("runs/*/*/metrics.jsonl")}
    made = (results / "data/train.jsonl").stat().st_mtime
    assert made < runs["grpo"] < runs["thinktuning_rarely"] and len(runs) == 3


def test_the_message_about_a_typing_error_is_the_tutorials(clone, monkeypatch):
    ((name, text),) = FILE.findall(TUTORIAL)
    (clone / name).write_text(text.replace("schedule", "shedule"))
    monkeypatch.chdir(clone)
    with pytest.raises(StudyError) as refused:
        load_study(Path(name))
    (message,) = re.findall(r"^```text\nthinktuning: (.*?)\n```$", TUTORIAL, re.M | re.S)
    assert str(refused.value) == message


def test_the_studies_of_the_how_to_page_are_valid(clone, monkeypatch):
    written = [clone / name for name, _ in FILE.findall(HOWTO)]
    for path, (_, text) in zip(written, FILE.findall(HOWTO), strict=True):
        assert not path.exists()
        path.write_text(text)
    monkeypatch.chdir(clone)
    studies = [path for path in written if "extends:" in path.read_text()]
    (prompt,) = set(written) - set(studies)
    assert len(studies) == 3 and load(str(prompt)).user
    for path in studies:
        assert load_study(path).name == path.stem


@pytest.mark.slow
def test_the_questions_of_the_how_to_page_are_prepared(clone, tmp_path):
    name, text = FILE.findall(HOWTO)[0]
    (clone / name).write_text(text)
    typed = [line for line in commands(HOWTO) if line.startswith(("mkdir", "echo"))]
    stage = f"snakemake data --cores 1 --directory ~/mine --configfile {name}"
    done = run("\n".join([*typed, stage]), clone, tmp_path)
    assert done.returncode == 0, done.stderr
    prepared = (tmp_path / "mine/results/data/eval/quiz.jsonl").read_text()
    assert "6 times 8" in prepared and '"48"' in prepared
