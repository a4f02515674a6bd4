"""What a study needs of a machine beside software: memory, disk, models, questions, servers.

The second half of `thinktuning doctor STUDY`.
"""

import os
import shutil
from collections.abc import Iterator, Sequence
from importlib.util import find_spec
from pathlib import Path
from urllib.error import HTTPError
from urllib.request import urlopen

from thinktuning.config import Study
from thinktuning.doctor import GIB, Finding, runs
from thinktuning.errors import StudyError
from thinktuning.jobs import Job, estimate
from thinktuning.models import HubModel, PackageModel, PathModel
from thinktuning.sources import HubSource, JsonlSource, parts

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
    return [*memory(jobs), disk(jobs), *fetched, token(missing), network(), *servers(study)]


def estimates(study: Study | None) -> list[Job]:
    """Return `thinktuning plan`'s jobs; none where the model's configuration is not here."""
    model = study.model if study else None
    if study is None or (isinstance(model, HubModel) and not cached(model.repo, model.revision)):
        return []
    try:
        return estimate(study)
    except StudyError:  # whatever it lacks has a row of its own
        return []


def memory(jobs: Sequence[Job]) -> Iterator[Finding]:
    """Compare what each training is estimated to take with a GPU's memory."""
    import torch

    if not torch.cuda.is_available():
        return
    total = torch.cuda.get_device_properties(0).total_memory / GIB
    for job in jobs:
        if job.stage == "train":
            found = f"{job.method}: about {job.gpu_memory_gb:.1f} of {total:.0f} GiB on each GPU"
            short = job.gpu_memory_gb > total
            mend = "gradient_checkpointing, a smaller batch, lora, or more GPUs with fsdp2"
            yield Finding("GPU memory", "warning" if short else "ok", found, mend if short else "")


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
    """Return where the hub's cache has a repository at a commit; None if it has not."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    try:
        found = snapshot_download(
            repo, revision=revision, repo_type=repo_type, local_files_only=True
        )
    except LocalEntryNotFoundError:
        return None
    return Path(found)


def models(study: Study) -> Iterator[Finding]:
    """Look for the base model, and for teachers and a judge of their own."""
    for name, model in study.models().items():
        match model:
            case HubModel():
                yield hub(name, model.repo, model.revision, f"results/models/{name}")
            case PathModel():
                yield local(name, Path(model.path), "correct the path")
            case PackageModel():
                there = find_spec(model.package) is not None
                found = model.package if there else f"{model.package} is not installed"
                mend = "" if there else f"install the package that has {model.gguf_file}"
                yield Finding(name, "ok" if there else "problem", found, mend)


def questions(study: Study) -> Iterator[Finding]:
    """Look for the files and data sets of the questions."""
    named = {"data.train": study.data.train}
    named |= {f"tasks.{name}.data": task.data for name, task in study.tasks.items()}
    for name, source in named.items():
        for part in parts(source):
            if isinstance(part, JsonlSource):
                yield local(name, Path(part.path), "correct the path, or fetch the file")
            elif isinstance(part, HubSource):
                yield hub(name, part.repo, part.revision, "results/data/train.jsonl", "dataset")


def local(name: str, path: Path, mend: str) -> Finding:
    """Tell whether a path of the study exists."""
    if path.exists():
        return Finding(name, "ok", str(path))
    return Finding(name, "problem", f"{path} does not exist in {Path.cwd()}", mend)


def hub(name: str, repo: str, revision: str, made: str, repo_type: str | None = None) -> Finding:
    """Tell whether something of the hub has been fetched; `made` is what the workflow makes of it.

    A job with a network fetches it; offline it must be there.
    """
    if Path(made).exists():
        return Finding(name, "ok", f"{repo} is in {made}")
    if cached(repo, revision, repo_type):
        return Finding(name, "ok", f"{repo} is in the cache")
    mend = f"where there is a network: snakemake {made} --configfile STUDY"
    return Finding(name, "problem" if offline() else "warning", f"{ABSENT}{repo}", mend)


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
        except OSError as error:
            mend = "start it before the training (docs/gpu.md), or correct its base_url"
            yield Finding(name, "warning", f"{url}: {error}", mend)
        else:
            yield Finding(name, "ok", f"{url} answers")
