"""The command intervene, on a study of two small models whose answers were written by hand."""

import csv
import json
import subprocess
import sys
from pathlib import Path

import pytest
from evaluate_job import evaluate_job

from thinktuning.commands import intervene as stage
from thinktuning.commands.intervene import Settings, intervene
from thinktuning.evaluation.interventions import KINDS
from thinktuning.io.errors import StudyError
from thinktuning.io.files import write_jsonl
from thinktuning.study.config import ComparisonConfig
from thinktuning.study.jobs import CompareJob, to_json

N, K = 8, 2
JOB = CompareJob(
    study="tiny",
    methods={"zero_shot": "zero-shot", "trained": "trained"},
    seeds={"zero_shot": [], "trained": [0, 1, 2]},
    evaluated_seeds={"zero_shot": [0], "trained": [0, 1, 2]},
    tasks=["chain_sum"],
    comparison=ComparisonConfig(baselines=["zero_shot"]),
)


def row(i: int, k: int) -> dict[str, object]:
    """Return an answer whose first box is wrong in sample 0, and whose last one is right.

    In sample 1 both are, written differently.
    """
    first = str(i - 1) if k == 0 else f"{i}.0"
    text = f"It is \\boxed{{{first}}}\n\nWait: {i}.\n\nIt is \\boxed{{{i}}}"
    return {"id": f"q{i}", "sample": k, "text": text, "answer": str(i), "gold": str(i)} | {
        "first_answer": first,
        "first_correct": k == 1,
        "correct": True,
        "reflects": True,
    }


@pytest.fixture
def results(tmp_path, likely_eos):
    """Results whose models are one model, which mostly ends at once."""
    (tmp_path / "tables").mkdir()
    (tmp_path / "tables/config.json").write_text(to_json(JOB))
    questions = [{"id": f"q{i}", "question": f"0 + {i} =", "answer": str(i)} for i in range(N)]
    (tmp_path / "data/eval").mkdir(parents=True)
    write_jsonl(tmp_path / "data/eval/chain_sum.jsonl", questions)
    for method, seeds in JOB.evaluated_seeds.items():
        for seed in seeds:
            directory = tmp_path / f"eval/{method}/seed{seed}/chain_sum"
            directory.mkdir(parents=True)
            (directory / "config.json").write_text(to_json(evaluate_job(max_gen_toks=8)))
            rows = [row(i, k) for i in range(N) for k in range(K)]
            write_jsonl(directory / "samples.jsonl", rows)
    for place in ("models/base", *(f"runs/trained/seed{seed}/model" for seed in range(3))):
        (tmp_path / place).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / place).symlink_to(likely_eos)
    return tmp_path


def table(output: Path) -> dict[tuple[str, str], dict[str, str]]:
    with (output / "interventions.csv").open() as file:
        return {(row["method"], row["intervention"]): row for row in csv.DictReader(file)}


def test_answers_go_on_from_their_beginnings(results, tmp_path):
    output = tmp_path / "interventions"
    intervene(results, output, [], [], Settings())
    found = table(output)
    assert len(found) == 2 * (1 + len(KINDS))
    as_is, cut = found["zero_shot", "as_is"], found["zero_shot", "cut"]
    assert (float(as_is["correct"]), float(as_is["follows"])) == (1, 0.5)
    assert (float(cut["correct"]), float(cut["follows"])) == (0.5, 1)
    assert found["trained", "cut"]["seeds"] == "3" and cut["n"] == str(N)
    # what the model says after a box is noise, or nothing: the planted answer stays
    right, wrong = (found["zero_shot", f"{kind}_first"] for kind in ("right", "wrong"))
    assert float(right["correct"]) == float(right["follows"]) > 0.3
    assert float(wrong["correct"]) == 0 < float(wrong["follows"])
    # a swapped reflection has no box after it unless the model writes one
    assert float(found["zero_shot", "swap"]["follows"]) == 0
    rows = json.loads((output / "zero_shot/seed0/chain_sum.json").read_text())["rows"]
    assert len(rows) == N * K * len(KINDS)
    assert all(row["text"].startswith(row["beginning"]) for row in rows)
    ended = [row for row in rows if row["answer"] is not None and row["intervention"] == "doubt"]
    assert all(row["correct"] == (row["sample"] == 1) and row["follows"] for row in ended)
    report = (output / "interventions.md").read_text()
    assert "| cut after the first answer | 8 | 50.0 [" in report
    assert (output / "interventions.svg").read_text().count("<svg") == 1


def test_only_what_is_missing_is_made_again(results, tmp_path, monkeypatch):
    output = tmp_path / "interventions"
    intervene(results, output, ["zero_shot"], [], Settings())
    before = table(output)

    def refuse(*arguments):
        raise AssertionError("loaded a model")

    with pytest.raises(StudyError, match=r"--output: .* is not a directory"):
        intervene(results, output / "interventions.csv", ["zero_shot"], [], Settings())
    kept = output / "zero_shot/seed0/chain_sum.json"
    for broken in ('{"fingerprint": ', "{}", "null"):
        assert stage.kept_fingerprint(kept) is not None
        whole = kept.read_text()
        kept.write_text(broken)
        assert stage.kept_fingerprint(kept) is None
        kept.write_text(whole)
    with monkeypatch.context() as patch:
        patch.setattr(stage, "recording_model", refuse)
        intervene(results, output, ["zero_shot"], ["chain_sum"], Settings())
        assert table(output) == before
        with pytest.raises(AssertionError):  # the answers have changed
            rows = [row(i, k) for i in range(N) for k in range(1, K)]
            write_jsonl(results / "eval/zero_shot/seed0/chain_sum/samples.jsonl", rows)
            intervene(results, output, ["zero_shot"], [], Settings())


def test_a_point_of_a_sweep_has_its_questions_elsewhere(results):
    point, home = results / "steps-2", results / "steps-1"
    home.mkdir()
    (results / "data").rename(home / "data")
    point.mkdir()
    for name in ("eval", "models", "runs", "tables"):
        (results / name).rename(point / name)
    job = JOB.model_copy(update={"elsewhere": {"data": "../steps-1/data"}})
    (point / "tables/config.json").write_text(to_json(job))
    intervene(point, results / "out", ["zero_shot"], [], Settings(kinds=("cut",)))
    assert ("zero_shot", "cut") in table(results / "out")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda results: (results / "tables/config.json").unlink(), "no study has been run here"),
        (
            lambda results: (results / "eval/trained/seed1/chain_sum/samples.jsonl").unlink(),
            "run the study to its end",
        ),
    ],
)
def test_unfinished_results_are_refused(results, change, message):
    change(results)
    with pytest.raises(StudyError, match=message):
        intervene(results, results / "out", ["trained"], [], Settings())


def test_the_command_names_what_there_is(results):
    command = [sys.executable, "-m", "thinktuning.commands.cli", "intervene", str(results)]
    done = subprocess.run([*command, "--methods", "nine"], capture_output=True, text=True)
    assert done.returncode == 1
    assert (
        done.stderr
        == "thinktuning: --methods: the study has no nine; choose from zero_shot, trained\n"
    )
