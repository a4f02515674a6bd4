"""Check this machine, `thinktuning doctor`, and what a study needs of it, `... doctor STUDY`.

Each check yields findings: what was found and, where it is not in order, what to do about it. What
a study needs beside Python, CUDA and vLLM is in `needs`. Nothing is downloaded, kept or trained.
"""

import platform
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from importlib import metadata
from typing import TYPE_CHECKING, Literal

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from thinktuning.config import Run, Study
from thinktuning.provenance import installed_version

if TYPE_CHECKING:
    from rich.table import Table

GIB = 2**30
VLLM_SHARE = 0.92  # of a GPU's memory, where nothing says another (vllm.config.CacheConfig)
NAMED = ("torch", "transformers", "trl", "lm-eval")  # packages with a row of their own
INSTALL_TORCH = "install torch for this machine's CUDA (docs/gpu.md)"
INSTALL_VLLM = "make an environment of requirements-vllm.lock (docs/gpu.md)"
STYLES = {"ok": "green", "warning": "yellow", "problem": "red"}
Status = Literal["ok", "warning", "problem"]


@dataclass(frozen=True)
class Finding:
    """One row of the table. A `problem` will stop the study; a `warning` may."""

    check: str
    status: Status
    found: str
    mend: str = ""


def examine(study: Study | None) -> list[Finding]:
    """Return the findings about what is installed and about the GPUs."""
    return [*packages(), *vllm(study), *deepspeed(study), *gpus(study)]


def table(findings: Iterable[Finding]) -> "Table":
    """Lay findings out for a terminal."""
    from rich import box
    from rich.table import Table
    from rich.text import Text

    made = Table(box=box.SIMPLE_HEAD)
    for name in ("check", "", "found", "what to do"):
        made.add_column(name, overflow="fold")  # a command must not lose its end
    for finding in findings:
        status = Text(finding.status, style=STYLES[finding.status])
        made.add_row(Text(finding.check), status, Text(finding.found), Text(finding.mend))
    return made


def runs(study: Study | None) -> list[Run]:
    """Return each trained method's configuration; none without a study."""
    return [study.run_config(method, study.seeds[0]) for method in study.trained()] if study else []


def vllm_stages(study: Study | None) -> set[str]:
    """Return the stages whose jobs import vLLM."""
    uses = {
        "train": any(run.training.vllm for run in runs(study)),
        "evaluate": study is not None and study.evaluation.backend == "vllm",
    }
    return {stage for stage, used in uses.items() if used}


# --- what is installed ----------------------------------------------------------------------------


def packages() -> Iterator[Finding]:
    """Compare Python and the installed packages with the ranges that this package declares."""
    python, running = metadata.metadata("thinktuning")["Requires-Python"], platform.python_version()
    mend = "" if running in SpecifierSet(python) else f"make env PYTHON=/path/to/python ({python})"
    yield Finding("Python", "problem" if mend else "ok", running, mend)
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
    mend = f"make env, or pip install '{requirement.name}{requirement.specifier}'"
    return Finding(requirement.name, "problem", found, mend)


def _tested(name: str) -> SpecifierSet:
    """Return the range that this package's extras declare for an optional package."""
    declared = [Requirement(line) for line in metadata.requires("thinktuning") or []]
    (tested,) = (requirement.specifier for requirement in declared if requirement.name == name)
    return tested


def vllm(study: Study | None) -> Iterator[Finding]:
    """Check that vLLM is the tested release and, where the study uses it, that it can be loaded."""
    tested, version, used = _tested("vllm"), installed_version("vllm"), bool(vllm_stages(study))
    if version is None:
        found = f"not installed, and {'the study uses it' if used else 'not needed'}"
        yield Finding("vLLM", "problem" if used else "ok", found, INSTALL_VLLM if used else "")
    elif version.split("+")[0] not in tested:  # +cpu and the like are builds of a release
        found = f"{version}; tested: {tested}"
        yield Finding("vLLM", "problem" if used else "warning", found, INSTALL_VLLM)
    elif used:
        yield _load_vllm(version)
    else:
        yield Finding("vLLM", "ok", version)


def _load_vllm(version: str) -> Finding:
    """Import vLLM in a process of its own: a torchvision for another torch breaks it, say."""
    command = [sys.executable, "-c", "from vllm import LLM"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode == 0:
        return Finding("vLLM", "ok", f"{version}, can be imported")
    reason = (done.stderr.strip().splitlines() or ["no message"])[-1]
    mend = f"torch, torchvision and vLLM must be builds for one CUDA; {INSTALL_VLLM}"
    return Finding("vLLM", "problem", f"{version} cannot be imported: {reason}", mend)


def deepspeed(study: Study | None) -> Iterator[Finding]:
    """Look for DeepSpeed, in the tested range, if the study trains with ZeRO-3."""
    train = study.resources.train if study else None
    if train and train.is_sharded and train.distributed == "zero3":
        tested, version = _tested("deepspeed"), installed_version("deepspeed")
        mend = f"pip install 'deepspeed{tested}', or distributed: fsdp2"
        if version is None:
            found = "not installed, and resources.train.distributed is zero3"
            yield Finding("DeepSpeed", "problem", found, mend)
        elif version not in tested:
            yield Finding("DeepSpeed", "warning", f"{version}; tested: {tested}", mend)
        else:
            yield Finding("DeepSpeed", "ok", version)


def on_cpu(study: Study, asked: int) -> Iterator[Finding]:
    """Name the stages that run on the CPU, beside GPUs that they do not ask for."""
    for stage in ("base", "train", "evaluate") if study.warmup else ("train", "evaluate"):
        if getattr(study.resources, stage).gpu == 0:
            vllm = stage in vllm_stages(study)
            found = f"resources.{stage}.gpu is 0: its jobs run on the CPU"
            mend = "set it" + (", vLLM needs one" if vllm else "") if vllm or asked else ""
            status: Status = "problem" if vllm else "warning" if asked else "ok"
            yield Finding("CPU", status, found, mend)


def gpus(study: Study | None) -> Iterator[Finding]:
    """Check CUDA, and that there are as many GPUs as a job of the study asks for."""
    import torch

    stages = study.resources if study else None
    asked = max(stages.base.gpu, stages.train.gpu, stages.evaluate.gpu) if stages else 0
    there, cuda = torch.cuda.device_count(), torch.version.cuda
    if there:
        mend = f"a job asks for {asked}: lower resources.*.gpu" if there < asked else ""
        found = f"{cuda}, GPUs: {there}"
        yield Finding("CUDA", "problem" if mend else "ok", found, mend)
        yield from on_cpu(study, asked) if study else ()
        yield from (_gpu(index, study) for index in range(there))
        return
    if cuda:
        found = f"torch is for CUDA {cuda} and finds no GPU"
        mend = "run this on a node with GPUs, e.g. through srun --gpus=1; does nvidia-smi work?"
    elif shutil.which("nvidia-smi"):
        found, mend = "there is an NVIDIA driver, but torch is for CPUs", INSTALL_TORCH
    else:
        found, mend = "none, and torch is for CPUs", f"on a machine with GPUs, {INSTALL_TORCH}"
    if asked or vllm_stages(study):
        yield Finding("CUDA", "problem", f"{found}; the study asks for a GPU", mend)
    elif cuda or shutil.which("nvidia-smi"):
        yield Finding("CUDA", "warning", found, mend)
    else:
        yield Finding("CUDA", "ok", f"{found}: everything runs on the CPU")


def _gpu(index: int, study: Study | None) -> Finding:
    """Compare a GPU's free memory with the share that an engine of vLLM claims when it starts."""
    import torch

    free, total = torch.cuda.mem_get_info(index)
    found = f"{torch.cuda.get_device_name(index)}, {free / GIB:.0f} of {total / GIB:.0f} GiB free"
    share, key = max(engines(study), default=(0.0, ""))
    if free < share * total:
        mend = f"end what uses the rest (see nvidia-smi), or lower {key} = {share}"
        return Finding(f"GPU {index}", "problem", found, mend)
    if free < 0.9 * total:
        return Finding(f"GPU {index}", "warning", found, "nvidia-smi shows what uses the rest")
    return Finding(f"GPU {index}", "ok", found)


def engines(study: Study | None) -> Iterator[tuple[float, str]]:
    """Yield the share of each GPU that an engine in one of the study's jobs takes, and its key."""
    if study and study.evaluation.backend == "vllm":
        share = study.evaluation.model_args.get("gpu_memory_utilization", VLLM_SHARE)
        yield share, "evaluation.model_args.gpu_memory_utilization"
    for run in runs(study):
        if run.training.vllm and run.training.vllm.mode == "colocate":
            yield run.training.vllm.gpu_memory_utilization, "training.vllm.gpu_memory_utilization"
