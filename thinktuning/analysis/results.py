"""Read what the jobs of a study wrote: answers, metrics and costs."""

import json
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from thinktuning.analysis.comparison import Answers, mean_figures
from thinktuning.analysis.reflection import behavior_figures, flip_figures, judge_figures
from thinktuning.analysis.scores import maj_at_k, pass_at_k
from thinktuning.analysis.votes import votes
from thinktuning.grading.answers import AnswerKind
from thinktuning.grading.grader import Grader
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl
from thinktuning.study.jobs import CompareJob

JsonObject = dict[str, Any]

COLUMNS = ("id", "sample", "correct", "verdict", "finish_reason", "num_tokens", "reflects")
PRESENT = ("text", "behaviors", "first_correct")  # in every row; `first_correct` may be None
COST = ("wall_seconds", "num_generated_tokens", "num_teacher_tokens", "peak_memory_mb")
CURRENCIES = ("num_tokens", "num_scored_tokens", "budget_used")  # of trainings that counted them


def evaluations(job: CompareJob, results: Path, method: str, task: str) -> list[Path]:
    """Return the directories of a method's evaluations on a task, one per seed."""
    seeds = job.evaluated_seeds[method]
    return [job.place(results, f"eval/{method}/seed{seed}") / task for seed in seeds]


def runs(job: CompareJob, results: Path) -> dict[tuple[str, int], Path]:
    """Return (method, seed) -> the directory of its training run."""
    return {
        (method, seed): job.place(results, f"runs/{method}/seed{seed}")
        for method, seeds in job.seeds.items()
        for seed in seeds
    }


def read_answers(job: CompareJob, results: Path) -> dict[tuple[str, str], Answers]:
    """Read all samples by (method, task); all methods must have answered the same questions."""
    answers = {}
    with Grader() as grader:
        for task in job.tasks:
            reference = None
            for method in job.methods:
                directories = evaluations(job, results, method, task)
                paths = [directory / "samples.jsonl" for directory in directories]
                kind = job.answer_kinds.get(task)
                seeds = [read_samples(path, grader, kind, job.judged) for path in paths]
                for path, seed in zip(paths, seeds, strict=True):
                    reference = reference or (path, seed)
                    check_same_questions(path, seed, *reference)
                answers[method, task] = of_all_seeds(seeds)
    return answers


def of_all_seeds(seeds: Sequence[Answers]) -> Answers:
    """Join the answers of a method's seeds to the same questions."""
    return Answers(
        ids=seeds[0].ids,
        subsets=seeds[0].subsets,
        correct_S_N_K=np.concatenate([seed.correct_S_N_K for seed in seeds]),
        reflects_S_N_K=np.concatenate([seed.reflects_S_N_K for seed in seeds]),
        figures=mean_figures([seed.figures for seed in seeds]),
        reflection=mean_figures([seed.reflection for seed in seeds]),
    )


def read_samples(
    path: Path, grader: Grader, kind: AnswerKind | None = None, judged: bool = False
) -> Answers:
    """Read one evaluation's samples, with questions sorted by id.

    Args:
        path: the samples.jsonl.
        grader: groups equal answers for the majority vote.
        kind: of the answers; None groups them by their text.
        judged: whether to read judgments.jsonl as well.
    """
    import pandas as pd

    rows = list(read_jsonl(path))
    frame = pd.DataFrame([{key: row.get(key) for key in COLUMNS} for row in rows])
    again = f"delete it and run `snakemake {path}`"
    absent = [column for column in COLUMNS if column not in frame or frame[column].hasnans]
    absent += [key for key in PRESENT if any(key not in row for row in rows)]
    if absent:
        raise StudyError(f"{path}: has rows without {', '.join(absent)}; {again}")
    subsets = {str(row["id"]): str(row.get("subset") or "") for row in rows}
    frame["answer"] = [row.get("answer") for row in rows]
    frame = frame.sort_values(["id", "sample"], kind="stable")
    counts = frame.groupby("id").size()
    if frame.duplicated(["id", "sample"]).any() or counts.nunique() != 1 or len(counts) < 2:
        raise StudyError(
            f"{path}: has {len(counts)} questions with {counts.min()} to {counts.max()} samples;"
            " needs at least two questions, and the same number of distinct samples for each;"
            f" {again}"
        )
    shape = (1, len(counts), int(counts.iloc[0]))
    ids = [str(identifier) for identifier in counts.index]
    correct_S_N_K, reflects_S_N_K = (
        frame[name].to_numpy(dtype=float).reshape(shape) for name in ("correct", "reflects")
    )
    answers_N_K = frame["answer"].to_numpy(dtype=object).reshape(shape[1:])
    cast_N_K = votes(answers_N_K.tolist(), correct_S_N_K[0].tolist(), grader, kind)
    reflection = behavior_figures(rows) | flip_figures(rows)
    if judged:
        reflection |= judge_figures(read_judgments(path.with_name("judgments.jsonl"), rows))
    return Answers(
        ids=ids,
        subsets=[subsets[identifier] for identifier in ids],
        correct_S_N_K=correct_S_N_K,
        reflects_S_N_K=reflects_S_N_K,
        reflection=reflection,
        figures={
            "pass_at_k": float(pass_at_k(correct_S_N_K[0], shape[2]).mean()),
            "reflection_pass_at_k": float(pass_at_k(reflects_S_N_K[0], shape[2]).mean()),
            "maj_at_k": float(maj_at_k(cast_N_K, correct_S_N_K[0]).mean()),
            "mean_tokens": float(frame["num_tokens"].mean()),
            "truncation_rate": float((frame["finish_reason"] == "length").mean()),
            "no_answer_rate": float((frame["verdict"] == "no_answer").mean()),
            "error_rate": float(frame["verdict"].isin(["error", "timeout"]).mean()),
        },
    )


def read_judgments(
    path: Path, answers: Iterable[JsonObject]
) -> list[tuple[list[str], list[str] | None]]:
    """Read the detector's and the judge's behaviors of the same answers.

    Args:
        path: the judgments.jsonl.
        answers: the rows of the samples.jsonl beside it.
    """
    rows = list(read_jsonl(path))
    if any(not {"lexical", "judge"} <= row.keys() for row in rows):
        raise StudyError(f"{path}: has rows without lexical or judge; run `snakemake -R judge`")
    detected = {(row["id"], row["sample"]): row["behaviors"] for row in answers}
    if any(detected.get((row.get("id"), row.get("sample"))) != row["lexical"] for row in rows):
        raise StudyError(
            f"{path}: is not of the answers beside it: it was changed or copied from elsewhere;"
            f" delete it and run `snakemake {path}`"
        )
    return [(row["lexical"], row["judge"]) for row in rows]


def check_same_questions(path: Path, found: Answers, other: Path, expected: Answers) -> None:
    """Refuse to pair answers to different questions."""
    if found.ids != expected.ids or found.correct_S_N_K.shape != expected.correct_S_N_K.shape:
        sizes = [
            f"{answers.correct_S_N_K.shape[1]} x {answers.correct_S_N_K.shape[2]}"
            for answers in (found, expected)
        ]
        raise StudyError(
            f"{path}: answers other questions than {other} ({sizes[0]} and {sizes[1]} questions x"
            " samples), so they cannot be paired; evaluate all methods again: `snakemake -R"
            " evaluate`"
        )


def read_metrics(path: Path, keys: Iterable[str] = ()) -> list[JsonObject]:
    """Read one run's metrics, one row per log; each must have a `rollout_batch` and these keys."""
    rows = list(read_jsonl(path))
    needed = ("rollout_batch", *keys)
    absent = [key for key in needed if any(key not in row for row in rows)]
    if not rows or absent:
        raise StudyError(
            f"{path}: has no rows, or rows without {', '.join(absent or needed)}; train this run"
            " again"
        )
    return rows


def read_json(path: Path, keys: Iterable[str]) -> JsonObject:
    """Read a JSON object that must have these keys."""
    try:
        values: JsonObject = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise unreadable(path, error) from None
    except ValueError as error:
        raise StudyError(f"{path}: is not valid JSON ({error}); delete it and run again") from None
    if not isinstance(values, dict):
        found = type(values).__name__
        raise StudyError(f"{path}: expected a JSON object, found {found}; delete it and run again")
    if absent := [key for key in keys if key not in values]:
        raise StudyError(f"{path}: has no {', '.join(absent)}; delete it and run again")
    return values


def unreadable(path: Path, error: OSError) -> StudyError:
    """Return the error for a file that the workflow writes and that cannot be read."""
    return StudyError(f"{path}: cannot be read ({error.strerror}); `snakemake {path}` writes it")


def commits(job: CompareJob, results: Path) -> list[str]:
    """Return the commits whose code produced the answers, sorted."""
    found = {
        read_json(directory / "results.json", ["commit"])["commit"]
        for method in job.methods
        for task in job.tasks
        for directory in evaluations(job, results, method, task)
    }
    return sorted(commit or "unknown" for commit in found)


def cost_rows(job: CompareJob, results: Path) -> list[JsonObject]:
    """Return the cost of each seed's training and evaluations, and the means (`seed` is `mean`)."""
    rows: list[JsonObject] = []
    directories = runs(job, results)
    for method, label in job.methods.items():
        seeds = job.seeds[method]
        trained = [directories[method, seed] / "provenance.json" for seed in seeds]
        tasks = [evaluations(job, results, method, task) for task in job.tasks]
        stages = {
            "train": [read_cost(path) for path in trained],
            "evaluate": [evaluation_cost(of_seed) for of_seed in zip(*tasks, strict=True)],
        }
        for stage, costs in stages.items():
            names = {"method": method, "label": label, "stage": stage}
            # an untrained method has no seed: its one evaluation is the mean
            for seed, cost in zip(seeds, costs if seeds else [], strict=True):
                rows.append(names | {"seed": seed} | cost)
            if costs:
                rows.append(names | {"seed": "mean"} | mean_figures(costs))
    return rows


def read_cost(path: Path) -> dict[str, float]:
    """Read the cost of one training run; what an earlier version did not count is NaN."""
    made = read_json(path, COST)
    cost: dict[str, float] = {key: made[key] for key in COST}
    if made.get("num_scored_tokens") is None:
        return cost | dict.fromkeys(CURRENCIES, math.nan)
    return cost | {
        "num_tokens": made["num_generated_tokens"] + made["num_teacher_tokens"],
        "num_scored_tokens": made["num_scored_tokens"],
        "budget_used": made["budget"]["used"] if made.get("budget") else math.nan,
    }


def cost_columns(rows: Sequence[JsonObject]) -> list[str]:
    """Return the columns of cost.csv; without `CURRENCIES` if no training counted them."""
    scored = [row["num_scored_tokens"] for row in rows if row["stage"] == "train"]
    counted = not all(map(math.isnan, scored))
    return ["method", "label", "stage", "seed", *COST, *(CURRENCIES if counted else ())]


def evaluation_cost(directories: Sequence[Path]) -> dict[str, float]:
    """Return the total cost of one seed's evaluations; for memory, the largest job's."""
    keys = ("wall_seconds", "peak_memory_mb", "n", "k", "mean_tokens")
    made = [read_json(directory / "results.json", keys) for directory in directories]
    return {
        "wall_seconds": sum(row["wall_seconds"] for row in made),
        "num_generated_tokens": sum(
            round(row["n"] * row["k"] * row["mean_tokens"]) for row in made
        ),
        "num_teacher_tokens": 0,
        "peak_memory_mb": max(row["peak_memory_mb"] for row in made),
    }
