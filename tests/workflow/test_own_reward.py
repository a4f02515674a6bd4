"""A study with its own reward, format and scores, in a directory that is not the workflow's."""

import csv
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest
import slurm
from snakemake_run import BIN, ROOT, planned, snakemake, stand_in, write_study

from thinktuning.io.files import read_jsonl, write_jsonl

pytestmark = pytest.mark.slow

FUNCTIONS = '''
import json

from lib.letters import share


def vowels(completions, wanted, **kwargs):
    """Reward the share of the letters that a question wants."""
    return [share(c[-1]["content"], w) for c, w in zip(completions, wanted, strict=True)]


def record(row):
    """Read a record, which has no answer to verify."""
    return {"question": row["ask"]["text"], "answer": "any", "id": row["key"], "wanted": row["in"]}
'''
SHARE = """
def share(text, letters):
    return sum(letter in letters for letter in text) / max(1, len(text))
"""


@pytest.fixture
def study(tmp_path: Path, small: dict[str, Any], likely_eos: Path) -> dict[str, Any]:
    """A study in whose directory are its questions and functions."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib/letters.py").write_text(SHARE)
    (tmp_path / "judging.py").write_text(FUNCTIONS)
    for name, first in (("train", 0), ("task", 100)):
        rows = [
            {"key": f"k{i}", "ask": {"text": f"Say {i * i + 7} words."}, "in": "aeiou" * (i % 2)}
            for i in range(first, first + 16)
        ]
        write_jsonl(tmp_path / f"{name}.jsonl", rows)
    small["seeds"] = [0]
    small["data"]["train"] = {"source": "jsonl", "path": "train.jsonl", "format": "judging:record"}
    small["data"]["answer_kind"] = "text"
    small["tasks"]["chain_sum"] |= {
        "num_samples": 2,
        "data": {"source": "jsonl", "path": "task.jsonl", "format": "judging:record"},
        "answer_kind": "text",
        "reward": "judging:vowels",
        "right_from": 0.01,
    }
    small["model"] = {"source": "path", "path": str(likely_eos)}
    small["training"] |= {"reward": "judging:vowels", "max_steps": 4, "save_steps": None}
    small["training"] |= {"warmup_steps": 0}
    small["training"] |= {"per_device_train_batch_size": 8, "num_generations": 4}
    small["training"] |= {"max_prompt_length": 200, "max_completion_length": 32}
    small["evaluation"] |= {"max_gen_toks": 24}
    small["algorithm"]["max_untaught_batches"] = None
    small["methods"] = {"zero_shot": {"train": False}, "grpo": {"algorithm": {"type": "grpo"}}}
    return small


def test_a_changed_function_runs_again_what_calls_it(tmp_path: Path, study: dict[str, Any]) -> None:
    """A trained and an untrained method."""
    path = write_study(tmp_path, study)
    stand_in(tmp_path, path)
    everything = {"train": 1, "evaluate": 2, "compare": 1}
    for file, stages in (("lib/letters.py", everything), ("judging.py", {"data": 1} | everything)):
        original = (tmp_path / file).read_text()
        (tmp_path / file).write_text(original + "\n# changed\n")
        found = planned(tmp_path, "--configfile", path)
        assert {stage: found[stage] for stage in stages} == stages, file
        (tmp_path / file).write_text(original)
    (tmp_path / "judging.py").write_text("def record(row): ...\n")
    refused = snakemake(tmp_path, "--dry-run", "--configfile", path)
    assert "training.reward: module judging has no function 'vowels'" in refused.stdout


def test_a_whole_study_without_boxes(tmp_path: Path, study: dict[str, Any]) -> None:
    done = snakemake(tmp_path, "--cores", "2", "--configfile", write_study(tmp_path, study))
    assert done.returncode == 0, done.stdout + done.stderr
    results = tmp_path / "results"
    (first, *_) = read_jsonl(results / "data/train.jsonl")
    assert (first["question"], first["answer"]) == ("Say 7 words.", "any")
    wanted = {row["id"]: row["wanted"] for row in read_jsonl(results / "data/eval/chain_sum.jsonl")}
    rows = list(read_jsonl(results / "runs/grpo/seed0/metrics.jsonl"))
    assert all(row["rewards/vowels/mean"] == row["reward"] for row in rows)
    for seed in ("grpo/seed0", "zero_shot/seed0"):
        made = results / f"eval/{seed}/chain_sum"
        samples = list(read_jsonl(made / "samples.jsonl"))
        for row in samples:
            letters = wanted[row["id"]]
            score = sum(letter in letters for letter in row["text"]) / max(1, len(row["text"]))
            assert row["score"] == pytest.approx(score)
            assert row["correct"] == (score >= 0.01) and row["answer"] == row["text"].strip()
        summary = json.loads((made / "results.json").read_text())
        assert summary["mean_score"] == pytest.approx(
            sum(row["score"] for row in samples) / len(samples)
        )
    with (results / "tables/comparison.csv").open() as file:
        table = {row["method"]: row for row in csv.DictReader(file) if row["task"] == "chain_sum"}
    assert set(table) == set(study["methods"])
    assert (results / "report/index.html").is_file()
    assert planned(tmp_path, "--configfile", str(tmp_path / "study.yaml")) == {}


@pytest.mark.skipif(bool(slurm.MISSING), reason=f"SLURM is not installed: no {slurm.MISSING}")
@pytest.mark.skipif(os.geteuid() != 0, reason="starting SLURM's daemons needs root")
def test_a_function_is_found_by_a_clusters_jobs(
    tmp_path: Path, study: dict[str, Any], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """They run in the working directory, which is that of the functions."""
    run = tmp_path / "results/runs/grpo/seed0"
    command = [str(BIN / "snakemake"), "--snakefile", str(ROOT / "Snakefile")]
    command += [f"{run.relative_to(tmp_path)}/provenance.json", "--latency-wait", "5"]
    command += ["--workflow-profile", str(ROOT / "profiles/slurm")]
    command += ["--slurm-init-seconds-before-status-checks", "1"]
    command += ["--seconds-between-status-checks", "1"]
    command += ["--configfile", write_study(tmp_path, study)]
    with slurm.slurm(tmp_path_factory.mktemp("slurm")) as env:
        env |= {"PATH": f"{BIN}{os.pathsep}{env['PATH']}"}
        done = subprocess.run(command, cwd=tmp_path, env=env, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "judging.py" in json.loads((run / "config.json").read_text())["sha256"]
    (row, *_) = read_jsonl(run / "metrics.jsonl")
    assert row["rewards/vowels/mean"] == row["reward"]
