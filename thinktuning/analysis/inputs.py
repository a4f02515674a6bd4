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
from thinktuning.io.files import check_recorded
from thinktuning.io.provenance import fingerprint
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
    check_processes({records[key]: run.get("num_processes") for key, run in made.items()})
    evaluated: dict[str, dict[Path, Any]] = {method: {} for method in job.methods}
    for task in job.tasks:
        data: Hashes = {}
        for method in job.methods:
            directories = evaluations(job, results, method, task)
            for seed, directory in zip(job.evaluated_seeds[method], directories, strict=True):
                path = directory / "results.json"
                summary = read_json(path, ["inputs"])
                trains = (method, seed) in records
                own = {"method": method, "seed": seed if trains else None, "task": task}
                check_evaluation(path, summary, own)
                found = summary["inputs"]
                evaluated[method][path] = found
                data[path] = found["data"]
                if trains:
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
    """Refuse a run that is another one's, and metrics, rollouts and a configuration not its own.

    Raises:
        StudyError: names the file.
    """
    for (method, seed), run in runs(job, results).items():
        made = read_json(run / "provenance.json", [])
        check_place(run / "provenance.json", made, {"method": method, "seed": seed})
        check_files(run, made)


def check_files(run: Path, made: Mapping[str, Any]) -> None:
    """Refuse files of a run that are not those of its provenance.json.

    Args:
        run: the directory.
        made: what the provenance.json has; that of an earlier version has no hashes.

    Raises:
        StudyError: names the file.
    """
    for name, recorded in made.get("records_sha256", {}).items():
        check_unchanged(run / name, recorded, "provenance.json")


def check_processes(found: Mapping[Path, int | None]) -> None:
    """Refuse runs in different numbers of processes, each of which has a batch of its own.

    That is `resources.train`, for which no run is made again.

    Args:
        found: the number of each run; None of an earlier version.

    Raises:
        StudyError: names two runs.
    """
    known: Hashes = {path: str(number) for path, number in found.items() if number}
    check_same(known, "numbers of training processes, which multiply a batch", "train")


def check_evaluation(path: Path, summary: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse a summary that is of another evaluation, of other answers or another configuration.

    Args:
        path: the results.json.
        summary: what it has; that of an earlier version lacks some of it.
        own: the method, seed and task that it should be of.

    Raises:
        StudyError: names the file.
    """
    check_place(path, summary, own)
    check_unchanged(path.with_name("samples.jsonl"), summary.get("samples_sha256"), path.name)
    config = path.with_name("config.json")
    if not config.is_file() or "fingerprint" not in summary:
        return
    inputs = {key: summary["inputs"][key] for key in ("data", "model")}
    text = config.read_text(encoding="utf-8", errors="replace")
    if fingerprint(text, inputs) != summary["fingerprint"]:
        raise StudyError(
            f"{path}: was not made with the config.json beside it: one of the two is another"
            f" study's, or was changed; run `snakemake --force {path}`"
        )


def check_place(path: Path, made: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Refuse a result that says that it is another method's, seed's or task's.

    Raises:
        StudyError: names the file, and what it is of.
    """
    for key, value in own.items():
        if made.get(key, value) != value:
            raise StudyError(
                f"{path}: is of {key} {made[key]}, and not of {value}: it was copied from"
                f" elsewhere; run `snakemake --force {path}`"
            )


def check_unchanged(path: Path, recorded: str | None, record: str) -> None:
    """Refuse a file that is not the recorded one: it was changed or cut, or is another's.

    Args:
        path: the file.
        recorded: its hash; results of earlier versions have none.
        record: the name of the file beside it that has the hash.

    Raises:
        StudyError: names the file.
    """
    again = f"delete it and run `snakemake {path}`"
    if path.name == "config.json":
        again = f"run `snakemake -R {path}`"
    check_recorded(path, recorded, f"{record} beside it", f"from elsewhere; {again}")


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
