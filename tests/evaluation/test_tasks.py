"""The packaged lm-eval tasks: their scores, their names, and lm-eval's own command line."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from evaluate_job import evaluate_job

from thinktuning.analysis import diff_samples
from thinktuning.evaluation.config import TASKS, task_kind
from thinktuning.evaluation.tasks import grade
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl, write_jsonl
from thinktuning.study.jobs import EvaluateJob, read_config


def test_scores_are_shares_of_the_samples():
    samples = ["\\boxed{3}", "\\boxed{4}", "3", "\\boxed{4}, no: \\boxed{3}"]
    scores = {"exact_match": 0.5, "no_answer": 0.25, "verifier_failures": 0.0}
    assert grade.number({"answer": "3"}, [samples]) == scores
    assert grade.number({"answer": "3"}, ["\\boxed{3}"])["exact_match"] == 1.0
    assert grade.letter({"answer": "B"}, ["\\boxed{(B)}"])["exact_match"] == 1.0
    assert grade.yes_no({"answer": "yes"}, ["\\boxed{no}"])["exact_match"] == 0.0
    assert grade.latex({"answer": "0.5"}, ["\\boxed{\\frac12}"])["exact_match"] == 1.0
    aime = grade.number_by_subset({"answer": "3", "subset": "2024"}, [samples])
    assert aime == scores | {"exact_match_2024": 0.5}


def test_an_answer_that_ends_within_a_box_was_cut_off():
    for text in (
        "\\boxed{3} so \\boxed{",
        "\\boxed{3}, or \\boxed{\\frac{1}{2}",
        "\\boxed{3} \\boxed{\\}",
    ):
        assert grade.number({"answer": "3"}, [text])["no_answer"] == 1
    for text in ("\\boxed{3}", "\\boxed{4} \\boxed{{3}}", "\\boxed{3} { and"):
        assert grade.number({"answer": "3"}, [text])["exact_match"] == 1


def test_an_unknown_task_is_refused(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(evaluate_job().model_dump() | {"lm_eval": "gsm8k"}))
    with pytest.raises(StudyError, match=r"lm_eval: no such task .*thinktuning_gsm8k"):
        read_config(path, EvaluateJob)


@pytest.mark.slow
def test_the_tasks_run_from_lm_evals_command_line(lively, tmp_path):
    snapshots = tmp_path / "results/data/eval"
    snapshots.mkdir(parents=True)
    tasks = [path.stem for path in TASKS.glob("thinktuning_*.yaml")]
    golds = {"number": "3", "latex": "\\frac{1}{2}", "letter": "B", "yes_no": "no"}
    for task in tasks:
        row = {"id": "q", "question": "?", "answer": golds[task_kind(task)], "subset": "2024"}
        write_jsonl(snapshots / f"{task.removeprefix('thinktuning_')}.jsonl", [row])
    rows = [{"id": f"q{i}", "question": f"{i} + 1 =", "answer": str(i + 1)} for i in range(6)]
    write_jsonl(snapshots / "chain_sum.jsonl", rows)
    command = [str(Path(sys.executable).parent / "lm_eval"), "run", "--model", "hf"]
    command += ["--model_args", f"pretrained={lively},dtype=float32", "--device", "cpu"]
    command += ["--include_path", str(TASKS), "--apply_chat_template"]
    command += ["--tasks", ",".join(tasks), "--gen_kwargs", "max_gen_toks=16"]
    command += ["--log_samples", "--output_path", "out"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    (results,) = (tmp_path / "out").rglob("results_*.json")
    scores = json.loads(results.read_text())["results"]
    assert set(scores) == set(tasks)
    for task in tasks:
        assert scores[task]["exact_match,samples"] == 0.0
        assert scores[task]["no_answer,samples"] == 1.0
    assert scores["thinktuning_aime"]["exact_match_2024,samples"] == 0.0
    (samples,) = (tmp_path / "out").rglob("samples_thinktuning_chain_sum_2*.jsonl")
    compared = diff_samples(samples, samples)
    assert (compared.a.mean, compared.difference.p) == (0, 1)
    assert compared.files[0].failures == {"no answer": 1}
    rows = list(read_jsonl(samples))
    assert [row["doc"]["id"] for row in rows] == [f"q{i}" for i in range(6)]
    asked = rows[3]["arguments"]["gen_args_0"]["arg_0"]
    assert asked == "<|im_start|>user\n3 + 1 =<|im_end|>\n<|im_start|>assistant\n"
