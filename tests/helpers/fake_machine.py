"""Machines that this one is not: other GPUs, another torch, other packages."""

from collections.abc import Iterable
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from thinktuning.planning import doctor
from thinktuning.planning.costs import GIB


def fake_gpus(
    monkeypatch: pytest.MonkeyPatch,
    gpus: Iterable[tuple[float, float]] = (),
    cuda: str | None = "13.0",
    driver: bool = True,
) -> None:
    """Pretend to have these GPUs, as (free, total) GiB, and this build of torch."""
    memory = [(free * GIB, total * GIB) for free, total in gpus]
    monkeypatch.setattr(torch.version, "cuda", cuda)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: len(memory))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: bool(memory))
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: memory[index])
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda index: "GPU")
    properties = [SimpleNamespace(total_memory=total) for _, total in memory]
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda index: properties[index])
    monkeypatch.setattr(doctor.shutil, "which", lambda name: name if driver else None)


def fake_packages(monkeypatch: pytest.MonkeyPatch, **versions: str | None) -> None:
    """Pretend that these packages are installed in these versions, or, for None, not at all."""
    real = doctor.installed_version

    def pretended(name: str) -> str | None:
        return versions[name] if name in versions else real(name)

    monkeypatch.setattr(doctor, "installed_version", pretended)


def by_check(findings: Iterable[doctor.Finding]) -> dict[str, Any]:
    """Return check -> its finding."""
    return {finding.check: finding for finding in findings}
