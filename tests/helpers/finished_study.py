"""A small study after all stages but the report: synthetic tables, plots and rollouts."""

import csv
import json
from pathlib import Path
from typing import Any

from answered_study import batch

from thinktuning.analysis.gallery import GALLERY
from thinktuning.analysis.training import TRAINING
from thinktuning.commands.report import report
from thinktuning.grading.behaviors import PATTERNS
from thinktuning.io.files import write_jsonl
from thinktuning.study.config import ComparisonConfig
from thinktuning.study.jobs import CompareJob

JOB = CompareJob(
    study="tiny",
    methods={"base": "zero-shot", "taught": "<i>a & b</i>"},
    seeds={"base": [], "taught": [0, 1]},
    evaluated_seeds={"base": [0], "taught": [0, 1]},
    tasks=["sums", "products"],
    comparison=ComparisonConfig(baselines=["base"]),
)


def rollout(text: str, **changes: Any) -> dict[str, Any]:
    """Return a row of rollouts.jsonl; the student wrote `text`, with feedback added if `taught`."""
    taught = changes.get("taught", False)
    row = {"step": 1, "question": "1 + 1 = ?", "student_text": text}
    row |= {"text": f"{text}\n\nWait: {text}" if taught else text}
    row |= {"student_reward": 0.0, "reward": 1.0 if taught else 0.0, "advantage": -0.5}
    row |= {"student_length": 3, "completion_length": 9, "asked": taught, "parsed": taught}
    row |= {"taught": taught, "teacher_reply": f"<reason>{text}</reason>" if taught else None}
    return row | changes


HARMLESS = {0: [rollout("a"), rollout("b", taught=True)], 1: [rollout("c")]}


def write_table(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a CSV file with the columns of its first row."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def write_results(results: Path, rollouts: dict[int, list[dict[str, Any]]]) -> None:
    """Write the outputs of the earlier stages; `rollouts` by seed."""
    shares = {"mean": 0.5, "ci_low": 0.25, "ci_high": 0.75}
    shares |= {f"reflection_{key}": 0.125 for key in ("rate", "ci_low", "ci_high")}
    gain = {"diff_base": 0.375, "diff_base_ci_low": -0.1, "diff_base_ci_high": 0.85}
    comparison = [
        {"method": method, "label": label, "task": task, "n": 4, "mean_tokens": 12.4}
        | shares
        | (gain if method == "taught" else dict.fromkeys(gain))
        | {"diff_base_p": 0.0004 if method == "taught" else None}
        for task in ("sums", "products", "mean of tasks")
        for method, label in JOB.methods.items()
    ]
    write_table(results / "tables/comparison.csv", comparison)
    names = {"method": "taught", "label": JOB.methods["taught"], "seed": "mean"}
    counts = dict.fromkeys(TRAINING, 8) | {"num_asked": 1234.5, "num_taught": 7}
    write_table(
        results / "tables/training.csv",
        [names | counts | {"parsed_rate": 0.321, "last_reflection_rate": None}],
    )
    cost = {"method": "taught", "label": JOB.methods["taught"], "stage": "train"}
    cost |= {"seed": "mean", "wall_seconds": 90.0, "num_generated_tokens": 12345.0}
    cost |= {"num_teacher_tokens": 67.0, "peak_memory_mb": 1000.4}
    write_table(results / "tables/cost.csv", [cost])
    flips = {"wrong_to_right": 0.123, "right_to_wrong": 0, "right_to_right": 0.8}
    row = {"method": "taught", "label": "taught", "task": "sums"} | flips | {"wrong_to_wrong": None}
    write_table(results / "tables/flips.csv", [row])
    rates = {f"{name}_rate": 0.456 for name in PATTERNS} | {"mean_words": 5.2}
    row = {"method": "taught", "label": "taught", "task": "mean of tasks"} | rates
    write_table(results / "tables/behaviors.csv", [row])
    for name in GALLERY:
        path = results / f"plots/{name}.svg"
        path.parent.mkdir(exist_ok=True)
        path.write_text('<svg xmlns="http://www.w3.org/2000/svg" width="20" height="10"/>')
    for seed, rows in rollouts.items():
        directory = results / f"runs/taught/seed{seed}"
        write_jsonl(directory / "rollouts.jsonl", rows)
        write_jsonl(directory / "metrics.jsonl", [batch(1)])
        made = {"commit": f"c0ffee{seed}", "python": "3.11.7", "versions": {"torch": "2.13"}}
        (directory / "provenance.json").write_text(json.dumps(made))
    for evaluation in ("base/seed0", "taught/seed0", "taught/seed1"):
        for task in JOB.tasks:
            path = results / f"eval/{evaluation}/{task}/results.json"
            path.parent.mkdir(parents=True)
            path.write_text('{"commit": "c0ffee0"}')


def write_page(directory: Path, rollouts: dict[int, list[dict[str, Any]]]) -> Path:
    """Write results and their report; return the page."""
    page = directory / "index.html"
    write_results(directory, rollouts)
    report(JOB, directory, page)
    return page
