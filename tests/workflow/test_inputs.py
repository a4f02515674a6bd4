"""A file that a study names is an input: its content decides what runs again, not its time."""

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from snakemake_run import ROOT, planned, stand_in, write_study

from thinktuning.io.files import write_jsonl

STAGES = ("data", "exemplars", "model", "organism", "train", "evaluate", "judge", "compare")


def rewrite(path: Path, old: str, new: str) -> None:
    """Change a file's content, and set its times back."""
    before = path.stat()
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def questions(path: Path) -> dict[str, Any]:
    """Write questions; return the source that names the file."""
    rows = [{"id": f"q{i}", "question": f"{i} + 1 =", "answer": str(i + 1)} for i in range(9)]
    write_jsonl(path, rows)
    return {"source": "jsonl", "path": path.name}


@pytest.fixture
def study(tmp_path: Path, small: dict[str, Any], tiny_model_dir: Path) -> dict[str, Any]:
    """A study in whose directory are all files that it names."""
    small["data"]["train"] = questions(tmp_path / "train.jsonl")
    small["tasks"]["chain_sum"]["data"] = questions(tmp_path / "task.jsonl")
    for name in ("base", "teacher", "judge"):
        shutil.copytree(tiny_model_dir, tmp_path / name)
    prompts = ROOT / "thinktuning/teachers/prompts"
    shutil.copy(prompts / "paper.yaml", tmp_path / "tutor.yaml")
    shutil.copy(prompts / "judge.yaml", tmp_path / "judge.yaml")
    small["model"] = {"source": "path", "path": "base"}
    teacher = {"backend": "model", "model": {"source": "path", "path": "teacher"}}
    small["methods"]["other"] = {"teacher": teacher | {"prompt": "tutor.yaml"}}
    judge = {"backend": "model", "model": {"source": "path", "path": "judge"}}
    small["judge"] = judge | {"prompt": "judge.yaml"}
    return small


def test_what_depends_on_a_changed_file_runs_again(tmp_path: Path, study: dict[str, Any]) -> None:
    """Three trained methods with two seeds, two untrained ones; one method has the teacher."""
    path = write_study(tmp_path, study)
    stand_in(tmp_path, path)
    everything = {"train": 6, "evaluate": 8, "judge": 8, "compare": 1}
    one_method = {"train": 2, "evaluate": 2, "judge": 2, "compare": 1}
    changes = [
        ("train.jsonl", "8 + 1", "8 + 01", {"data": 1, "exemplars": 1} | everything),
        ("task.jsonl", "8 + 1", "8 + 01", {"data": 1, "exemplars": 1} | everything),
        ("tutor.yaml", "first person", "third person", {"exemplars": 1} | one_method),
        ("judge.yaml", "system:", "# judge\nsystem:", {"judge": 8, "compare": 1}),
        ("base/config.json", "1024", "512", {"model": 1} | everything),
        ("teacher/chat_template.jinja", "im_start", "im_end", {"model": 1} | one_method),
        ("judge/config.json", "1024", "512", {"model": 1, "judge": 8, "compare": 1}),
        ("base/config.json", "1024", "1024", {}),  # written again, with the same content
    ]
    for file, old, new, expected in changes:
        original = (tmp_path / file).read_text(encoding="utf-8")
        rewrite(tmp_path / file, old, new)
        found = planned(tmp_path, "--configfile", path)
        assert {rule: n for rule, n in found.items() if rule in STAGES} == expected, file
        (tmp_path / file).write_text(original, encoding="utf-8")


def test_weights_that_change_run_everything_again(tmp_path: Path, study: dict[str, Any]) -> None:
    """Also large ones, whose hashes are remembered, and whatever their time says."""
    weights = tmp_path / "base/model.safetensors"
    with weights.open("ab") as file:
        file.write(bytes(2**24))
    path = write_study(tmp_path, study)
    stand_in(tmp_path, path)
    before = weights.stat()
    with weights.open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        file.write(b"x")
    os.utime(weights, ns=(before.st_atime_ns, before.st_mtime_ns))
    found = planned(tmp_path, "--configfile", path)
    assert (found["model"], found["train"], found["evaluate"]) == (1, 6, 8)
