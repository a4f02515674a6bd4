"""Each method of a study in one line: its algorithm, and in what it differs from another method."""

import json
from pathlib import Path
from typing import Any, get_args

from thinktuning.algorithms import AnyAlgorithmConfig
from thinktuning.analysis.results import evaluations, runs
from thinktuning.io.section import flattened
from thinktuning.study.jobs import CompareJob

Settings = dict[str, Any]  # key path -> value

BASE = "The base model, without training."
SECTIONS = ("prompt", "training", "algorithm", "teacher")
SHOWN = 4  # settings in which a method differs
DESCRIPTIONS = {
    kind.model_fields["type"].default: kind.description()
    for kind in get_args(get_args(AnyAlgorithmConfig)[0])
}


def described(job: CompareJob, results: Path) -> dict[str, str]:
    """Return method -> what it is, of the methods whose config.json can be read.

    A method whose algorithm an earlier one has as well is described by what it changes of that one.
    """
    found: dict[str, str] = {}
    first: dict[str, tuple[str, Settings]] = {}  # what a method is -> the first one, its settings
    for method, label in job.methods.items():
        settings = read_settings(job, results, method)
        if settings is None:
            continue
        name = settings.get("algorithm.type")
        kind = DESCRIPTIONS.get(name, f"The algorithm {name}.") if job.seeds[method] else BASE
        if kind in first:
            other, its_settings = first[kind]
            found[method] = f"As {other}, but {differences(settings, its_settings)}."
        else:
            first[kind] = (label, settings)
            found[method] = kind
    return found


def read_settings(job: CompareJob, results: Path, method: str) -> Settings | None:
    """Return a method's resolved settings by key path; None without its config.json."""
    trained = [directory for (name, _), directory in runs(job, results).items() if name == method]
    for directory in trained or evaluations(job, results, method, job.tasks[0]):
        try:
            config = json.loads((directory / "config.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return None  # results of an earlier version, or copied without it
        return flattened({name: config[name] for name in SECTIONS if name in config})
    return None


def differences(settings: Settings, others: Settings) -> str:
    """Return the settings that differ, and those that only one of two methods has."""
    keys = [key for key in {**others, **settings} if settings.get(key) != others.get(key)]
    told = [f"{key}: {json.dumps(settings.get(key), ensure_ascii=False)}" for key in keys]
    more = [f"{len(told) - SHOWN} other settings"] if len(told) > SHOWN else []
    return "with " + ", ".join([*told[:SHOWN], *more]) if told else "with the same settings"
