"""What each command imports: torch only where it needs it, and after its configuration is read."""

import os
import subprocess
import sys
from pathlib import Path

import answered_study
import pytest
from finished_study import HARMLESS, JOB, write_results

from thinktuning.io.files import write_jsonl
from thinktuning.study.jobs import DataJob, ExemplarsJob, JudgeJob, to_json
from thinktuning.study.reading import load_study

ROOT = Path(__file__).parents[2]
TORCH = {"torch", "transformers", "trl", "accelerate", "datasets", "peft", "lm_eval"}
LISTING = (
    "import sys\nfrom thinktuning.commands.cli import main\n"
    "try:\n    main()\nfinally:\n    print('imported', *sys.modules)"
)


def imported(directory, *arguments, fails_with=None):
    """Run a command in a process of its own; return the modules that it has imported at its end."""
    done = subprocess.run(
        [sys.executable, "-c", LISTING, *map(str, arguments)],
        cwd=directory,
        capture_output=True,
        text=True,
        env=os.environ,
    )
    assert (fails_with or "") in done.stderr and (done.returncode != 0) == bool(fails_with), done
    return set(done.stdout.split("imported ")[-1].split())


def config(directory, job):
    path = directory / "config.json"
    path.write_text(to_json(job))
    return path


def questions(path):
    rows = [{"id": f"q{i}", "question": f"What is {i} + 1?", "answer": str(i)} for i in range(3)]
    write_jsonl(path, rows)
    return str(path)


@pytest.mark.parametrize(
    "arguments", [["--help"], ["validate", ROOT / "config.yaml"], ["compare", "-h"]]
)
def test_tools_that_only_read_a_study_import_no_large_library(tmp_path, arguments):
    assert not imported(tmp_path, *arguments) & {*TORCH, "numpy", "scipy", "matplotlib", "pandas"}


def test_questions_and_exemplars_are_prepared_without_torch(tmp_path):
    def source(name):
        return {"source": "jsonl", "path": questions(tmp_path / name)}

    values = {"answer_kind": "number", "ngram": 8, "max_ngram_count": 10}
    values |= {"train": source("train.jsonl"), "on_contamination": "drop"}
    task = {"data": source("task.jsonl"), "answer_kind": "number"}
    asked = [{"id": f"t{i}", "question": f"{i} + 2 =", "answer": str(i + 2)} for i in range(2)]
    write_jsonl(tmp_path / "task.jsonl", asked)
    job = DataJob(data=values, tasks={"sums": task})
    options = ["--config", config(tmp_path, job), "--output", "data"]
    assert not imported(tmp_path, "data", *options) & {*TORCH, "reasoning_gym", "scipy"}
    checks = ExemplarsJob(teacher_prompts=["organism"], ngram=8, max_ngram_count=10)
    options = ["--config", config(tmp_path, checks), "--data", "data", "--output", "checked.json"]
    assert not imported(tmp_path, "exemplars", *options) & {*TORCH, "reasoning_gym", "scipy"}


def test_a_judge_behind_a_server_needs_no_torch(tmp_path):
    served = {"base_url": "http://localhost:1/v1", "model": "judge", "max_retries": 0}
    judge = {"backend": "openai", "openai": served, "num_samples": 1}
    write_jsonl(tmp_path / "samples.jsonl", [{"id": "q0", "sample": 0, "text": "1"}])
    questions(tmp_path / "task.jsonl")
    options = ["--config", config(tmp_path, JudgeJob(answer_kind="number", judge=judge))]
    options += ["--samples", "samples.jsonl", "--data", "task.jsonl", "--output", "judged.jsonl"]
    found = imported(tmp_path, "judge", *options, fails_with="localhost:1")
    assert "openai" in found and not found & TORCH


def test_comparison_and_report_load_no_torch(tmp_path):
    """And not scipy.stats, which takes as long to import as all else that both need."""
    job = answered_study.study([0])
    answered_study.write_results(tmp_path / "results", job, answered_study.ONE_SEED)
    options = ["--config", config(tmp_path, job), "--results", "results"]
    written = ["--tables", "tables", "--plots", "plots"]
    found = imported(tmp_path, "compare", *options, *written)
    assert (tmp_path / "tables/comparison.csv").exists() and not found & TORCH
    write_results(tmp_path / "finished", HARMLESS)
    options = ["--config", config(tmp_path, JOB), "--results", "finished", "--output", "page.html"]
    found = imported(tmp_path, "report", *options)
    assert (tmp_path / "page.html").exists()
    assert not found & {*TORCH, "scipy.stats", "statsmodels", "pandas", "matplotlib"}


def test_two_sample_files_are_compared_without_torch(tmp_path):
    row = '{"id": "%s", "correct": true, "text": "2"}\n'
    (tmp_path / "a.jsonl").write_text(row % "q1" + row % "q2")
    found = imported(tmp_path, "compare", "a.jsonl", "a.jsonl")
    assert not found & {*TORCH, "scipy.stats", "statsmodels", "matplotlib"}


@pytest.mark.parametrize("stage", ["model", "warmup", "train", "evaluate", "judge"])
def test_a_mistaken_configuration_is_reported_before_torch_is_imported(tmp_path, stage):
    options = ["--config", "config.json", "--data", "none", "--output", "none"]
    options += ["--samples", "none"] * (stage == "judge")
    options += ["--model", "none"] * (stage in ("warmup", "train", "evaluate"))
    found = imported(tmp_path, stage, *options, fails_with="config.json: cannot be read")
    assert not found & {*TORCH, "numpy"}


def test_training_and_evaluation_import_nothing_of_each_other(tmp_path, tiny_model_dir):
    study = load_study(ROOT / "config.yaml")
    questions(tmp_path / "task.jsonl")
    options = ["--model", "none", "--data", "task.jsonl", "--output", "none"]
    job = config(tmp_path, study.train_job("thinktuning", 0))
    found = imported(tmp_path, "train", "--config", job, *options, fails_with="--model none")
    of_others = {"lm_eval", "matplotlib", "statsmodels", "scipy.stats", "reasoning_gym", "vllm"}
    assert "trl" in found and not found & of_others
    job = config(tmp_path, study.evaluate_job("grpo", 0, "chain_sum"))
    found = imported(tmp_path, "evaluate", "--config", job, *options, fails_with="--model none")
    assert not found & TORCH
    options[1] = str(tiny_model_dir)
    spec = study.evaluation.of_task(study.tasks["chain_sum"])
    spec = spec.model_copy(update={"max_gen_toks": 5000})
    asked = study.evaluate_job("grpo", 0, "chain_sum").model_copy(update={"evaluation": spec})
    job = config(tmp_path, asked)
    found = imported(tmp_path, "evaluate", "--config", job, *options, fails_with="context length")
    assert "lm_eval" in found and not found & {"trl", "matplotlib", "reasoning_gym", "vllm"}


def test_a_method_without_training_is_not_trained(tmp_path):
    """It would be trained by the study's own algorithm."""
    job = load_study(ROOT / "config.yaml").train_job("zero_shot", 0)
    paths = {"config": config(tmp_path, job), "model": "no", "data": "no", "output": "run"}
    arguments = [str(word) for name, path in paths.items() for word in (f"--{name}", path)]
    said = "--config: method zero_shot has train: false; it is not trained"
    assert not imported(tmp_path, "train", *arguments, fails_with=said) & TORCH
