"""A small study after its evaluations: what the comparison reads, with verdicts given by hand."""

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from thinktuning.commands.compare import compare
from thinktuning.io.files import write_jsonl
from thinktuning.study.config import ComparisonConfig
from thinktuning.study.jobs import CompareJob

Correct = Mapping[tuple[str, int, str], Sequence[Sequence[int]]]  # (method, seed, task) -> N x K

# The untrained base, on four questions with two samples: scores 1, 0, 1/2, 1/2, mean 1/2.
BASE = [[1, 1], [0, 0], [1, 0], [0, 1]]
# A method: scores 1, 1, 1, 1/2, mean 7/8. Minus the base: 0, 1, 1/2, 0, mean 3/8.
METHOD = [[1, 1], [1, 1], [1, 1], [0, 1]]
ONE_SEED: Correct = {("base", 0, "sums"): BASE, ("method", 0, "sums"): METHOD}


def study(seeds: Sequence[int], tasks: Sequence[str] = ("sums",)) -> CompareJob:
    """Return the comparison of the untrained base with a method trained with these seeds."""
    return CompareJob(
        study="tiny",
        methods={"base": "zero-shot", "method": "a|b"},
        seeds={"base": [], "method": list(seeds)},
        evaluated_seeds={"base": [*seeds, 0][:1], "method": list(seeds) or [0]},
        tasks=list(tasks),
        comparison=ComparisonConfig(baselines=["base"]),
    )


def write_results(results: Path, job: CompareJob, correct: Correct) -> None:
    """Write the outputs of the earlier stages.

    The method reflects in the first sample of each question. A first box is right only there, and
    only if the last one is; question 1 has no box where it is wrong. Questions 0 and 1 form the
    subset "easy".
    """
    for (method, seed, task), questions in correct.items():
        directory = results / f"eval/{method}/seed{seed}/{task}"
        rows = [
            {
                "id": f"q{i}",
                "sample": k,
                "correct": bool(right),
                "verdict": "correct" if right else "no_answer" if i == 1 else "timeout",
                "finish_reason": "stop" if right else "length",
                "num_tokens": 10 + 2 * k,
                "reflects": method == "method" and k == 0,
                "behaviors": ["self_conflict"] * (method == "method" and k == 0),
                "text": "Wait, let me check. Yes." if method == "method" and k == 0 else "No.",
                "answer": "7" if right else None if i == 1 else str(k),
                "first_correct": None if i == 1 and not right else bool(right and k == 0),
                "subset": "easy" if i < 2 else "",
            }
            for i, samples in enumerate(questions)
            for k, right in enumerate(samples)
        ]
        write_jsonl(directory / "samples.jsonl", rows)
        made = {"commit": "c0ffee", "wall_seconds": 5.0 + seed, "peak_memory_mb": 50.0 + seed}
        made |= {"n": len(questions), "k": len(questions[0]), "mean_tokens": 11.0}
        model = f"{method}{seed}" if job.seeds[method] else "base"
        made |= {"inputs": {"model": model, "data": task, "prompt": method}}
        (directory / "results.json").write_text(json.dumps(made))
    for method, seeds in job.seeds.items():
        for seed in seeds:
            directory = results / f"runs/{method}/seed{seed}"
            directory.mkdir(parents=True)
            cost = {"wall_seconds": 10.0 + seed, "peak_memory_mb": 100.0}
            cost |= {"num_generated_tokens": 1000 * seed, "num_teacher_tokens": 7}
            inputs = {"model": "base", "data": "train", "prompt": method}
            inputs |= {"teacher_prompt": "organism", "teacher_model": None}
            cost |= {"inputs": inputs, "model_sha256": f"{method}{seed}"}
            (directory / "provenance.json").write_text(json.dumps(cost))
            metrics = [batch(b, reward=b / 4) for b in (1, 2, 3)]
            write_jsonl(directory / "metrics.jsonl", metrics)


def batch(number: int, **changes: float) -> dict[str, float]:
    """Return a row of metrics.jsonl: of eight rollouts, two asked about, one taught."""
    row = {"rollout_batch": number, "reward": 0.5, "guidance_rate": 0.1, "num_rollouts": 8.0}
    row |= {"num_asked": 2.0, "num_unanswered": 0.0, "num_unparsed": 1.0, "num_taught": 1.0}
    row |= {"num_cut_off": 4.0, "no_signal": 0, "reflection_rate": 0.25}
    return row | changes


def run_compare(directory: Path, job: CompareJob, correct: Correct) -> list[dict[str, str]]:
    """Write results, compare them and return the rows of comparison.csv."""
    write_results(directory, job, correct)
    compare(job, directory, directory / "tables", directory / "plots")
    return read(directory / "tables/comparison.csv")


def read(path: Path) -> list[dict[str, str]]:
    """Return the rows of a CSV file."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def numbers(row: Mapping[str, str], *columns: str) -> list[float]:
    """Return the values of some columns as numbers."""
    return [float(row[column]) for column in columns]
