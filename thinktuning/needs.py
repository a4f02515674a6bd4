"""What a study needs of a machine beside software: memory, disk, models, questions, servers.

The second half of `thinktuning doctor STUDY`.
"""

import json
import os
import shutil
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from thinktuning.base import find_packaged, required
from thinktuning.config import Study
from thinktuning.doctor import GIB, Finding, runs
from thinktuning.errors import StudyError
from thinktuning.jobs import MIB, Job, estimate, suggested_mem_mb
from thinktuning.loading import generate
from thinktuning.models import HubModel, PackageModel, PathModel
from thinktuning.sources import HubSource, JsonlSource, ReasoningGymSource, parts

LITTLE_DISK = 10  # GiB: is thought scarce where nothing says how much a study needs
ABSENT = "not in the cache: "
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


def examine(study: Study | None) -> list[Finding]:
    """Return the findings; without a study those about disk, token and network alone."""
    if study is None:
        return [disk([]), token(needed=False), network()]
    jobs = estimates(study)
    fetched = list(dict.fromkeys([*models(study), *questions(study)]))  # a repository once
    missing = any(finding.found.startswith(ABSENT) for finding in fetched)
    memory = [*gpu_memory(study, jobs), *host_memory(study, jobs)]
    return [*memory, disk(jobs), *fetched, token(missing), network(), *servers(study)]


def estimates(study: Study) -> list[Job]:
    """Return `thinktuning plan`'s jobs; none where the model's configuration is not here."""
    model = study.model
    try:
        if isinstance(model, HubModel) and not cached(model.repo, model.revision):
            return []
        return estimate(study)
    except StudyError:  # whatever it lacks has a row of its own
        return []


def gpu_memory(study: Study, jobs: Sequence[Job]) -> Iterator[Finding]:
    """Compare what each training is estimated to take with a GPU's memory."""
    import torch

    if not torch.cuda.is_available() or not study.resources.train.gpu:
        return
    total = torch.cuda.get_device_properties(0).total_memory / GIB
    for job in jobs:
        if job.stage == "train":
            found = f"{job.method}: about {job.gpu_memory_gb:.1f} of {total:.0f} GiB on each GPU"
            short = job.gpu_memory_gb > total
            mend = "gradient_checkpointing, a smaller batch, lora, or more GPUs with fsdp2"
            yield Finding("GPU memory", "warning" if short else "ok", found, mend if short else "")


def host_memory(study: Study, jobs: Sequence[Job]) -> Iterator[Finding]:
    """Compare what each stage's jobs are estimated to take with the machine, and with `mem_mb`.

    Snakemake runs as many jobs together as their threads leave it cores for, and GPUs.
    """
    import psutil
    import torch

    total = psutil.virtual_memory().total / MIB
    for stage in dict.fromkeys(job.stage for job in jobs):
        of_stage = [job for job in jobs if job.stage == stage]
        given = getattr(study.resources, stage)
        needed = max(job.host_memory_mb for job in of_stage)
        room = 1 if stage == "base" else (os.cpu_count() or 1) // given.threads
        if given.gpu:
            room = min(room, torch.cuda.device_count() // given.gpu)
        together = min(sum(job.jobs for job in of_stage), max(1, room))
        found = f"{stage}: {together} at a time, each about {needed / 1024:.1f} of"
        found += f" {total / 1024:.0f} GiB"
        mend = "a smaller batch or model, or a machine with more"
        if needed <= total:
            mend = f"snakemake --resources mem_mb={total:.0f} lets fewer run together"
        short = together * needed > total
        yield Finding("memory", "warning" if short else "ok", found, mend if short else "")
        if given.mem_mb < needed:
            found = f"resources.{stage}.mem_mb is {given.mem_mb}; a job takes about {needed:.0f}"
            yield Finding("memory", "warning", found, f"raise it to {suggested_mem_mb(of_stage)}")


def disk(jobs: Sequence[Job]) -> Finding:
    """Compare the free disk with what the study's models and checkpoints are estimated to take."""
    free = shutil.disk_usage(Path.cwd()).free / GIB
    needed = sum(job.disk_gb for job in jobs)
    found = f"{free:.0f} GiB free in {Path.cwd()}"
    if jobs:
        found += f"; the study takes about {needed:.1f}"
    short = free < (needed or LITTLE_DISK)
    mend = "free some, or run with snakemake --directory on a larger disk" if short else ""
    return Finding("disk", "warning" if short else "ok", found, mend)


def cached(repo: str, revision: str, repo_type: str | None = None) -> Path | None:
    """Return where the hub's cache has a repository at a commit; None if it has not.

    Raises:
        StudyError: no repository can be called that.
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
        raise StudyError(f"{repo!r} cannot be the name of a repository") from None
    return Path(found)


def models(study: Study) -> Iterator[Finding]:
    """Look for the base model, and for teachers and a judge of their own."""
    for name, model in study.models().items():
        match model:
            case HubModel():
                made = f"results/models/{name}"
                yield hub(name, model.repo, model.revision, made, f"{made}/provenance.json")
            case PathModel():
                yield local(name, Path(model.path), "correct the path")
            case PackageModel():
                yield packaged(name, model)


def questions(study: Study) -> Iterator[Finding]:
    """Look for the files, data sets and generators of the questions."""
    named = parts("data.train", study.data.train)
    for name, task in study.tasks.items():
        named |= parts(f"tasks.{name}.data", task.data)
    for key, source in named.items():
        match source:
            case JsonlSource():
                yield local(key, Path(source.path), "correct the path, or fetch the file")
            case HubSource():
                made, record = "results/data/train.jsonl", "results/data/config.json"
                yield hub(key, source.repo, source.revision, made, record, "dataset")
            case ReasoningGymSource():
                yield generated(key, source)


def generated(key: str, source: ReasoningGymSource) -> Finding:
    """Tell whether reasoning_gym generates such problems, by the first of them."""
    try:
        next(generate(source, key), None)
    except StudyError as error:
        return Finding(key, "problem", str(error), "correct it")
    return Finding(key, "ok", f"reasoning_gym has {source.generator}")


def packaged(name: str, model: PackageModel) -> Finding:
    """Tell whether a package is installed and has the model's file."""
    try:
        find_packaged(model)
    except StudyError as error:
        found, _, mend = str(error).partition("; ")
        return Finding(name, "problem", found, mend or "name one of these")
    return Finding(name, "ok", f"{model.package} has {model.gguf_file}")


def local(name: str, path: Path, mend: str) -> Finding:
    """Tell whether a path of the study exists."""
    if path.exists():
        return Finding(name, "ok", str(path))
    return Finding(name, "problem", f"{path} does not exist in {Path.cwd()}", mend)


def hub(
    name: str, repo: str, revision: str, made: str, record: str, repo_type: str | None = None
) -> Finding:
    """Tell whether something of the hub has been fetched.

    A job with a network fetches it; offline it must be there.

    Args:
        made: what the workflow makes of it.
        record: the file beside it that says of what it was made: it may be another study's.
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
    mend = f"where there is a network: snakemake {made} --configfile STUDY"
    return Finding(name, "problem" if offline() else "warning", found, mend)


def is_made_of(record: Path, repo: str, revision: str) -> bool:
    """Tell whether a record of what was made names a repository at a commit."""
    if not record.is_file():
        return False
    text = record.read_text(encoding="utf-8")
    return json.dumps(repo) in text and json.dumps(revision) in text


def is_complete(model: Path) -> bool:
    """Tell whether a model's directory has weights and a tokenizer; `plan` fetches neither."""
    try:
        return bool(list(required(model, "")))
    except StudyError:
        return False


def offline() -> bool:
    """Tell whether the environment forbids the hub."""
    return any(os.environ.get(name, "").upper() in ("1", "ON", "YES", "TRUE") for name in OFFLINE)


def network() -> Finding:
    """Say whether the hub may be asked."""
    if offline():
        names = ", ".join(name for name in OFFLINE if name in os.environ)
        return Finding("hub", "ok", f"offline ({names}): only what is in the cache")
    return Finding("hub", "ok", "may be asked; HF_HUB_OFFLINE=1 forbids it")


def token(needed: bool) -> Finding:
    """Look for a token of the hub, without which gated models and data cannot be fetched."""
    from huggingface_hub import get_token

    if get_token():
        return Finding("HF token", "ok", "set")
    if not needed:
        return Finding("HF token", "ok", "none, and nothing is to be fetched with it")
    mend = "if one is gated (Llama, GPQA): accept its terms on the hub, then hf auth login"
    return Finding("HF token", "warning", "none, and something is to be fetched", mend)


def servers(study: Study) -> Iterator[Finding]:
    """Ask the servers of teachers, judge and rollouts whether they are up."""
    endpoints = {}
    for run in runs(study):
        if run.guidance.enabled and run.teacher.openai:
            endpoints[f"{run.teacher.openai.base_url}/models"] = f"teacher of {run.method}"
        if run.training.vllm and run.training.vllm.server_base_url:
            endpoints[f"{run.training.vllm.server_base_url}/health"] = f"rollouts of {run.method}"
    if study.judge and study.judge.openai:
        endpoints[f"{study.judge.openai.base_url}/models"] = "judge"
    for url, name in endpoints.items():
        try:
            urlopen(url, timeout=5).close()
        except HTTPError as error:  # it is up, and asks for a key, say
            yield Finding(name, "warning", f"{url}: {error}", "check OPENAI_API_KEY and the path")
        except (OSError, HTTPException, ValueError) as error:  # away, no HTTP, no address
            mend = "start it before the training (docs/gpu.md), or correct its base_url"
            yield Finding(name, "warning", f"{url}: {error}", mend)
        else:
            yield Finding(name, "ok", f"{url} answers")
