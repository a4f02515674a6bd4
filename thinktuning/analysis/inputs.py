"""Check that the results of a study belong together: one base model, one set of data and prompts.

Every result records the hashes of what it was made from. Snakemake reruns what depends on a change;
results that were copied, kept by `--touch` or made by hand may still be of another model or other
questions, and a table of them would compare nothing.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from thinktuning.analysis.results import evaluations, read_json, runs
from thinktuning.io.errors import StudyError
from thinktuning.io.files import sha256
from thinktuning.study.jobs import CompareJob

Hashes = dict[Path, str | None]  # file of a result -> hash of one of its inputs


def check_inputs(job: CompareJob, results: Path) -> None:
    """Refuse results that were made from different inputs.

    Raises:
        StudyError: names two results, and the stages to run again.
    """
    records = {key: path / "provenance.json" for key, path in runs(job, results).items()}
    made = {key: read_json(path, ["inputs", "model_sha256"]) for key, path in records.items()}
    check_records(job, results)
    trained: dict[Path, Any] = {records[key]: run["inputs"] for key, run in made.items()}
    base = column(trained, "model")
    check_same(column(trained, "data"), "training questions", "train")
    evaluated: dict[str, dict[Path, Any]] = {method: {} for method in job.methods}
    for task in job.tasks:
        data: Hashes = {}
        for method in job.methods:
            directories = evaluations(job, results, method, task)
            for seed, directory in zip(job.evaluated_seeds[method], directories, strict=True):
                path = directory / "results.json"
                summary = read_json(path, ["inputs"])
                samples = directory / "samples.jsonl"
                check_unchanged(samples, summary.get("samples_sha256"), path.name)
                found = summary["inputs"]
                evaluated[method][path] = found
                data[path] = found["data"]
                if (method, seed) in records:
                    model: Hashes = {records[method, seed]: made[method, seed]["model_sha256"]}
                    check_same(model | {path: found["model"]}, "models", "evaluate")
                else:
                    base[path] = found["model"]
        check_same(data, f"questions of {task}", "evaluate")
    check_same(base, "base models", "train evaluate")
    for method, of_evaluations in evaluated.items():
        mine = [records[method, seed] for seed in job.seeds[method]]
        of_runs = {path: trained[path] for path in mine}
        check_same(column(of_runs | of_evaluations, "prompt"), "prompts", "train evaluate")
        check_same(column(of_runs, "teacher_prompt"), "prompts of the teacher", "train")
        check_same(column(of_runs, "teacher_model"), "models of the teacher", "train")


def check_records(job: CompareJob, results: Path) -> None:
    """Refuse metrics and rollouts that are not those of the run whose provenance is beside them.

    Raises:
        StudyError: names the file.
    """
    for run in runs(job, results).values():
        made = read_json(run / "provenance.json", [])
        for name, recorded in made.get("records_sha256", {}).items():
            check_unchanged(run / name, recorded, "provenance.json")


def check_unchanged(path: Path, recorded: str | None, record: str) -> None:
    """Refuse a file that is not the recorded one: it was changed or cut, or is another's.

    Args:
        path: the file; a missing one is for its reader to report.
        recorded: its hash; results of earlier versions have none.
        record: the name of the file beside it that has the hash.

    Raises:
        StudyError: names the file.
    """
    if recorded and path.is_file() and sha256(path) != recorded:
        raise StudyError(
            f"{path}: is not the file that {record} beside it describes: it was changed, cut or"
            f" copied from elsewhere; delete it and run `snakemake {path}`"
        )


def column(found: Mapping[Path, Mapping[str, str | None]], name: str) -> Hashes:
    """Return the hash of one input of each result."""
    return {path: inputs[name] for path, inputs in found.items()}


def check_same(found: Hashes, what: str, stages: str) -> None:
    """Refuse results of which an input differs.

    Args:
        found: the hashes to compare.
        what: names the input, for the message.
        stages: the stages to run again.

    Raises:
        StudyError: names two results with different inputs.
    """
    if len(set(found.values())) > 1:
        (first, expected), *others = found.items()
        other = next(path for path, value in others if value != expected)
        raise StudyError(
            f"{first} and {other} come from different {what}, so that they cannot be compared; run"
            f" them again: `snakemake -R {stages}`"
        )
