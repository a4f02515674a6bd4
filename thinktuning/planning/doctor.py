"""Check the installed software and the GPUs: the first half of `thinktuning doctor [STUDY]`.

Each check yields findings: what was found and, if something is wrong, how to fix it. Memory, disk,
models, questions and servers are checked in `requirements`. Nothing is downloaded or trained.
"""

import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from thinktuning.io.provenance import installed_version
from thinktuning.io.trackers import missing
from thinktuning.planning.costs import GIB
from thinktuning.study.jobs import TrainJob
from thinktuning.study.study import Study
from thinktuning.study.tracked import tracked

if TYPE_CHECKING:
    from rich.table import Table

VLLM_SHARE = 0.92  # of a GPU's memory: vLLM's default (vllm.config.CacheConfig)
NAMED = ("torch", "transformers", "trl", "lm-eval")  # packages with a row of their own
INSTALL_TORCH = "install torch for this machine's CUDA (docs/gpu.md)"
DRIVERS = {"12": 525, "13": 580}  # CUDA -> the oldest driver that runs it
INSTALL_VLLM = "create an environment from requirements-vllm.lock (docs/gpu.md)"
STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}
Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One row of the table. A `problem` will stop the study; a `warning` may."""

    check: str
    status: Status
    found: str
    fix: str = ""


def examine(study: Study | None) -> list[Finding]:
    """Return the findings about installed software and GPUs."""
    found = [*packages(), *vllm(study), *deepspeed(study), *trackers(study), *gpus(study)]
    return list(dict.fromkeys(found))


def table(findings: Iterable[Finding]) -> "Table":
    """Lay findings out for a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD)
    for name in ("check", "", "found", "what to do"):
        made.add_column(name, overflow="fold")  # never cut off a command
    for finding in findings:
        status = Text(finding.status, style=STYLES[finding.status])
        made.add_row(Text(finding.check), status, Text(finding.found), Text(finding.fix))
    return made


def train_jobs(study: Study | None) -> list[TrainJob]:
    """Return the training job of each method's first seed, at all points; none without a study."""
    points = study.points().values() if study else []
    return [each.train_job(method, each.seeds[0]) for each in points for method in each.trained()]


def vllm_stages(study: Study | None) -> set[str]:
    """Return the stages whose jobs import vLLM."""
    uses = {
        "train": any(job.training.vllm for job in train_jobs(study)),
        "evaluate": study is not None and study.evaluation.backend == "vllm",
    }
    return {stage for stage, used in uses.items() if used}


# --- what is installed ----------------------------------------------------------------------------


def packages() -> Iterator[Finding]:
    """Check Python and the installed packages against the ranges that this package declares."""
    python, running = metadata.metadata("thinktuning")["Requires-Python"], platform.python_version()
    fix = "" if running in SpecifierSet(python) else f"make env PYTHON=/path/to/python ({python})"
    yield Finding("Python", "problem" if fix else "ok", running, fix)
    required = [Requirement(line) for line in metadata.requires("thinktuning") or []]
    required = [r for r in required if r.marker is None or r.marker.evaluate({"extra": ""})]
    missing = [r for r in required if not _allowed(r)]
    for requirement in required:
        if requirement.name in NAMED or requirement in missing:
            yield _package(requirement)
    yield Finding("packages", "ok", f"{len(required) - len(missing)} of {len(required)} in range")


def _allowed(requirement: Requirement) -> bool:
    version = installed_version(requirement.name)
    return version is not None and version in requirement.specifier


def _package(requirement: Requirement) -> Finding:
    version = installed_version(requirement.name)
    if _allowed(requirement):
        return Finding(requirement.name, "ok", str(version))
    found = f"{version}, outside {requirement.specifier}" if version else "not installed"
    fix = f"make env, or pip install '{requirement.name}{requirement.specifier}'"
    return Finding(requirement.name, "problem", found, fix)


def _tested(name: str) -> SpecifierSet:
    """Return the range of an optional package in this package's extras."""
    declared = [Requirement(line) for line in metadata.requires("thinktuning") or []]
    (tested,) = (requirement.specifier for requirement in declared if requirement.name == name)
    return tested


def vllm(study: Study | None) -> Iterator[Finding]:
    """Check that vLLM is the tested release and, if the study uses it, that it can be imported."""
    tested, version, used = _tested("vllm"), installed_version("vllm"), bool(vllm_stages(study))
    if version is None:
        found = f"not installed, and {'the study uses it' if used else 'not needed'}"
        yield Finding("vLLM", "problem" if used else "ok", found, INSTALL_VLLM if used else "")
    elif version.split("+")[0] not in tested:  # +cpu etc. are builds of a release
        found = f"{version}; tested: {tested}"
        yield Finding("vLLM", "problem" if used else "warning", found, INSTALL_VLLM)
    elif used:
        yield _load_vllm(version)
    else:
        yield Finding("vLLM", "ok", version)


def _load_vllm(version: str) -> Finding:
    """Import vLLM in a separate process: e.g. a torchvision for another torch breaks it."""
    command = [sys.executable, "-c", "from vllm import LLM"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return Finding("vLLM", "ok", f"{version}, can be imported")
    reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
    fix = f"torch, torchvision and vLLM must be built for the same CUDA; {INSTALL_VLLM}"
    return Finding("vLLM", "problem", f"{version} cannot be imported: {reason}", fix)


def deepspeed(study: Study | None) -> Iterator[Finding]:
    """Check DeepSpeed's version if the study trains with ZeRO-3."""
    train = study.resources.train if study else None
    if train and train.is_sharded and train.distributed == "zero3":
        tested, version = _tested("deepspeed"), installed_version("deepspeed")
        fix = f"pip install 'deepspeed{tested}', or set distributed: fsdp2"
        if version is None:
            found = "not installed, and resources.train.distributed is zero3"
            yield Finding("DeepSpeed", "problem", found, fix)
        elif version not in tested:
            yield Finding("DeepSpeed", "warning", f"{version}; tested: {tested}", fix)
        else:
            yield Finding("DeepSpeed", "ok", version)


def trackers(study: Study | None) -> Iterator[Finding]:
    """Check that the trackers of `report_to` are installed."""
    points = study.points().values() if study else []
    sections = [section for point in points for section in tracked(point).values()]
    names = list(dict.fromkeys(name for section in sections for name in section.trackers))
    absent = missing(names)
    for name in names:
        if name in absent:
            yield Finding(
                name, "problem", "not installed, and the study reports to it", absent[name]
            )
        else:
            yield Finding(name, "ok", "installed")


def on_cpu(study: Study, asked: int) -> Iterator[Finding]:
    """Report the stages that run on the CPU though the machine has GPUs."""
    for stage in ("model", "train", "evaluate") if study.warmup else ("train", "evaluate"):
        if getattr(study.resources, stage).gpu == 0:
            vllm = stage in vllm_stages(study)
            found = f"resources.{stage}.gpu is 0: its jobs run on the CPU"
            fix = "raise it" + ("; vLLM needs a GPU" if vllm else "") if vllm or asked else ""
            status: Status = "problem" if vllm else "warning" if asked else "ok"
            yield Finding("CPU", status, found, fix)


def gpus(study: Study | None) -> Iterator[Finding]:
    """Check CUDA, and that the machine has as many GPUs as a job of the study requests."""
    import torch

    stages = study.resources if study else None
    asked = max(stages.model.gpu, stages.train.gpu, stages.evaluate.gpu) if stages else 0
    there, cuda = torch.cuda.device_count(), torch.version.cuda
    if there:
        fix = f"a job requests {asked}: lower resources.*.gpu" if there < asked else ""
        found = f"{cuda}, GPUs: {there}"
        yield Finding("CUDA", "problem" if fix else "ok", found, fix)
        yield from on_cpu(study, asked) if study else ()
        yield from (_gpu(index, study) for index in range(there))
        return
    if cuda:
        found = f"torch is built for CUDA {cuda} but finds no GPU"
        fix = "run this on a node with GPUs, e.g. with srun --gpus=1; check nvidia-smi"
        needed, driver = DRIVERS.get(cuda.split(".")[0], 0), driver_version()
        if driver and int(driver.split(".")[0]) < needed:
            found = f"torch is built for CUDA {cuda}, and the driver is {driver}"
            fix = f"update the driver to {needed} or newer, or {INSTALL_TORCH}"
    elif shutil.which("nvidia-smi"):
        found, fix = "there is an NVIDIA driver, but torch is a CPU build", INSTALL_TORCH
    else:
        found, fix = "none, and torch is a CPU build", f"on a machine with GPUs, {INSTALL_TORCH}"
    if asked or vllm_stages(study):
        yield Finding("CUDA", "problem", f"{found}; the study requests a GPU", fix)
    elif cuda or shutil.which("nvidia-smi"):
        yield Finding("CUDA", "warning", found, fix)
    else:
        yield Finding("CUDA", "ok", f"{found}: everything runs on the CPU")


def driver_version() -> str | None:
    """Return the version of the NVIDIA driver, None without one."""
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return None
    versions = re.findall(r"^\d+\.[\d.]+$", done.stdout, re.M)
    return versions[0] if versions else None


def _gpu(index: int, study: Study | None) -> Finding:
    """Compare a GPU's free memory with the share that a vLLM engine claims at startup."""
    import torch

    free, total = torch.cuda.mem_get_info(index)
    found = f"{torch.cuda.get_device_name(index)}, {free / GIB:.0f} of {total / GIB:.0f} GiB free"
    share, key = max(engines(study), default=(0.0, ""))
    if free < share * total:
        fix = f"stop what uses the rest (see nvidia-smi), or lower {key} = {share}"
        return Finding(f"GPU {index}", "problem", found, fix)
    if free < 0.9 * total:
        return Finding(f"GPU {index}", "warning", found, "nvidia-smi shows what uses the rest")
    return Finding(f"GPU {index}", "ok", found)


def engines(study: Study | None) -> Iterator[tuple[float, str]]:
    """Yield the share of a GPU's memory that each vLLM engine claims, and its key in the study."""
    if study and study.evaluation.backend == "vllm":
        share = study.evaluation.model_args.get("gpu_memory_utilization", VLLM_SHARE)
        yield share, "evaluation.model_args.gpu_memory_utilization"
    for job in train_jobs(study):
        if job.training.vllm and job.training.vllm.mode == "colocate":
            yield job.training.vllm.gpu_memory_utilization, "training.vllm.gpu_memory_utilization"
