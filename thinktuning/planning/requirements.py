"""Check what a study needs besides software: memory, disk, models, questions, servers.

The second half of `thinktuning doctor STUDY`.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path

from thinktuning.data.config import HubConfig, JsonlConfig, ReasoningGymConfig, parts
from thinktuning.data.sources import generate
from thinktuning.io.errors import StudyError
from thinktuning.models.checks import required
from thinktuning.models.config import HubModelConfig, PackageModelConfig, PathModelConfig
from thinktuning.models.sources import find_packaged
from thinktuning.planning.costs import GIB, MIB, is_known
from thinktuning.planning.doctor import Finding
from thinktuning.planning.estimates import StageEstimate, suggested_mem_mb
from thinktuning.planning.points import estimate_points
from thinktuning.planning.servers import servers
from thinktuning.study.sharing import homes, place
from thinktuning.study.study import Study

LITTLE_DISK = 10  # GiB: less is a warning where the study's need is unknown
ABSENT = "not in the cache: "
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


def examine(study: Study | None) -> list[Finding]:
    """Return the findings; without a study only those about disk, token and network."""
    if study is None:
        return [disk([]), token(needed=False), network()]
    estimates: list[StageEstimate] = []
    unknown = []
    try:
        estimates = cached_estimates(study)
    except StudyError as error:
        found, fix = said(error, "correct it")
        unknown = [Finding("memory", "warning", f"not estimated: {found}", fix)]
    sources = list(dict.fromkeys([*models(study), *questions(study)]))  # each repository once
    missing = any(finding.found.startswith(ABSENT) for finding in sources)
    memory = [*gpu_memory(study, estimates), *host_memory(study, estimates)]
    rows = [
        *unknown,
        *memory,
        disk(estimates),
        *sources,
        token(missing),
        network(),
        *servers(study),
    ]
    return list(dict.fromkeys(rows))  # points of a sweep need much alike


def cached_estimates(study: Study) -> list[StageEstimate]:
    """Return `thinktuning plan`'s estimates; none if the size of a model is not known here.

    Raises:
        StudyError: a model cannot be read.
    """
    hub = [m for m in (p.model for p in study.points().values()) if isinstance(m, HubModelConfig)]
    if not all(is_known(model) or cached(model.repo, model.revision) for model in hub):
        return []
    return [one for found in estimate_points(study).values() for one in found]


def gpu_memory(study: Study, estimates: Sequence[StageEstimate]) -> Iterator[Finding]:
    """Compare each method's estimated memory in training with that of a GPU."""
    import torch

    if not torch.cuda.is_available() or not study.resources.train.gpu:
        return
    total = torch.cuda.get_device_properties(0).total_memory / GIB
    for estimate in estimates:
        if estimate.stage == "train":
            needed = estimate.gpu_memory_gb
            found = f"{estimate.method}: about {needed:.1f} of {total:.0f} GiB on each GPU"
            short = needed > total
            fix = "gradient_checkpointing, a smaller batch, lora, or more GPUs with fsdp2"
            yield Finding("GPU memory", "warning" if short else "ok", found, fix if short else "")


def host_memory(study: Study, estimates: Sequence[StageEstimate]) -> Iterator[Finding]:
    """Compare each stage's estimated memory with the machine's, and with `mem_mb`.

    Snakemake runs as many jobs at a time as there are cores for their threads, and GPUs.
    """
    import psutil
    import torch

    total = psutil.virtual_memory().total / MIB
    for stage in dict.fromkeys(estimate.stage for estimate in estimates):
        of_stage = [estimate for estimate in estimates if estimate.stage == stage]
        given = getattr(study.resources, stage)
        needed = max(estimate.host_memory_mb for estimate in of_stage)
        room = 1 if stage == "model" else (os.cpu_count() or 1) // given.threads
        if given.gpu:
            room = min(room, torch.cuda.device_count() // given.gpu)
        together = min(sum(estimate.jobs for estimate in of_stage), max(1, room))
        found = f"{stage}: {together} at a time, each about {needed / 1024:.1f} of"
        found += f" {total / 1024:.0f} GiB"
        fix = "a smaller batch or model, or a machine with more memory"
        if needed <= total:
            fix = f"snakemake --resources mem_mb={total:.0f} runs fewer at a time"
        short = together * needed > total
        yield Finding("memory", "warning" if short else "ok", found, fix if short else "")
        if given.mem_mb < needed:
            found = f"resources.{stage}.mem_mb is {given.mem_mb}; a job takes about {needed:.0f}"
            yield Finding("memory", "warning", found, f"raise it to {suggested_mem_mb(of_stage)}")


def disk(estimates: Sequence[StageEstimate]) -> Finding:
    """Compare the free disk space with what models and checkpoints are estimated to take."""
    free = shutil.disk_usage(Path.cwd()).free / GIB
    needed = sum(estimate.disk_gb for estimate in estimates)
    found = f"{free:.0f} GiB free in {Path.cwd()}"
    if estimates:
        found += f"; the study takes about {needed:.1f}"
    short = free < (needed or LITTLE_DISK)
    fix = "free some, or run snakemake with --directory on a larger disk" if short else ""
    return Finding("disk", "warning" if short else "ok", found, fix)


def cached(repo: str, revision: str, repo_type: str | None = None) -> Path | None:
    """Return the directory of a repository at a commit in the hub's cache; None if not cached.

    Raises:
        StudyError: `repo` is not a valid repository name.
    """
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        found = snapshot_download(
            repo, revision=revision, repo_type=repo_type, local_files_only=True
        )
    except LocalEntryNotFoundError:
        return None
    except HFValidationError:
        raise StudyError(f"{repo!r} is not a valid repository name") from None
    return Path(found)


def models(study: Study) -> Iterator[Finding]:
    """Look for the base model and for separate teacher and judge models."""
    points = study.points()
    found = homes(points)
    named = [(at, name, model) for at in points for name, model in points[at].models().items()]
    for point, name, model in named:
        match model:
            case HubModelConfig():
                made = place(found[point][f"models/{name}"], f"models/{name}")
                yield hub(name, model.repo, model.revision, made, f"{made}/provenance.json")
            case PathModelConfig():
                yield local_model(name, Path(model.path))
            case PackageModelConfig():
                yield packaged(name, model)


def questions(study: Study) -> Iterator[Finding]:
    """Look for the files, data sets and generators that questions come from."""
    points = study.points()
    named = [
        (point, *part)
        for point, each in points.items()
        for part in parts("data.train", each.data.train).items()
    ]
    for name, task in study.tasks.items():
        named += [
            (next(iter(points)), *part) for part in parts(f"tasks.{name}.data", task.data).items()
        ]
    for point, key, source in named:
        match source:
            case JsonlConfig():
                yield local_file(key, Path(source.path))
            case HubConfig():
                data = place(point, "data")
                made, record = f"{data}/train.jsonl", f"{data}/config.json"
                yield hub(key, source.repo, source.revision, made, record, "dataset")
            case ReasoningGymConfig():
                yield generated(key, source)


def generated(key: str, source: ReasoningGymConfig) -> Finding:
    """Check that reasoning_gym has the generator and its parameters, by generating one problem."""
    try:
        next(generate(source, key), None)
    except ModuleNotFoundError as error:
        return Finding(key, "problem", f"{error.name} is not installed", "install it: make env")
    except StudyError as error:
        return Finding(key, "problem", str(error), "correct it")
    return Finding(key, "ok", f"reasoning_gym has {source.generator}")


def packaged(name: str, model: PackageModelConfig) -> Finding:
    """Check that a package is installed and contains the model's file."""
    try:
        find_packaged(model)
    except StudyError as error:
        found, _, fix = str(error).partition("; ")
        return Finding(name, "problem", found, fix or "name one of these")
    return Finding(name, "ok", f"{model.package} has {model.gguf_file}")


def local_model(name: str, path: Path) -> Finding:
    """Check that a directory in the study has a model's files."""
    if not path.exists():
        absent = f"{path} does not exist in {Path.cwd()}"
        return Finding(name, "problem", absent, "correct the path")
    try:
        list(required(path, str(path)))
    except StudyError as error:
        return Finding(name, "problem", *said(error, "correct the path"))
    return Finding(name, "ok", str(path))


def said(error: StudyError, otherwise: str) -> tuple[str, str]:
    """Return what an error says is wrong, and the fix at its end or, without one, another."""
    found, _, fix = str(error).rpartition("; ")
    return (found, fix) if found else (fix, otherwise)


def local_file(name: str, path: Path) -> Finding:
    """Check that a file in the study exists."""
    if path.is_file():
        return Finding(name, "ok", str(path))
    found = f"{path} is a directory" if path.is_dir() else f"{path} does not exist in {Path.cwd()}"
    return Finding(name, "problem", found, "correct the path, or fetch the file")


def hub(
    name: str, repo: str, revision: str, made: str, record: str, repo_type: str | None = None
) -> Finding:
    """Check whether a repository of the hub has been fetched.

    Online, a job will fetch it; offline it must be in the cache, or already converted.

    Args:
        name: what the repository is for, in the finding.
        repo: the repository's name on the hub.
        revision: the commit.
        made: the path that the workflow converts it into.
        record: the file that names the source of `made`, which may be another study's.
        repo_type: "dataset", or None for a model.
    """
    if Path(made).exists() and is_made_of(Path(record), repo, revision):
        return Finding(name, "ok", f"{repo} is in {made}")
    try:
        directory = cached(repo, revision, repo_type)
    except StudyError as error:
        return Finding(name, "problem", str(error), "OWNER/NAME, as in its address on the hub")
    if directory and (repo_type == "dataset" or is_complete(directory)):
        return Finding(name, "ok", f"{repo} is in the cache")
    found = f"{ABSENT}{'the weights or the tokenizer of ' if directory else ''}{repo}"
    fix = f"on a machine with network access: snakemake {made} --configfile STUDY"
    return Finding(name, "problem" if offline() else "warning", found, fix)


def is_made_of(record: Path, repo: str, revision: str) -> bool:
    """Tell whether a provenance record names this repository and commit."""
    if not record.is_file():
        return False
    text = record.read_text(encoding="utf-8")
    return json.dumps(repo) in text and json.dumps(revision) in text


def is_complete(model: Path) -> bool:
    """Tell whether a cached model has weights and a tokenizer; `plan` fetches its config only."""
    try:
        return bool(list(required(model, "")))
    except StudyError:
        return False


def offline() -> bool:
    """Tell whether the environment forbids access to the hub."""
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in OFFLINE)


def network() -> Finding:
    """Report whether jobs may access the hub."""
    if offline():
        names = ", ".join(name for name in OFFLINE if name in os.environ)
        return Finding("hub", "ok", f"offline ({names}): the cache only")
    return Finding("hub", "ok", "online; HF_HUB_OFFLINE=1 forbids access")


def token(needed: bool) -> Finding:
    """Look for a hub token, which gated models and data sets need."""
    from huggingface_hub import get_token

    if get_token():
        return Finding("HF token", "ok", "set")
    if not needed:
        return Finding("HF token", "ok", "none, and nothing is left to fetch")
    fix = "for a gated one (Llama, GPQA), accept its terms on the hub, then hf auth login"
    return Finding("HF token", "warning", "none, and something has to be fetched", fix)
