"""Provenance of a result: commit, package versions, platform, peak memory, and its inputs."""

import hashlib
import json
import platform
import resource
import subprocess
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

PACKAGES = (
    "thinktuning",
    "torch",
    "transformers",
    "trl",
    "vllm",
    "peft",
    "lm_eval",
    "datasets",
    "math-verify",
)


def collect() -> dict[str, Any]:
    """Return the commit (None outside a checkout), the platform and the package versions."""
    return {
        "commit": commit(),
        "python": platform.python_version(),
        "platform": platform.platform(),
        "versions": {
            name: installed for name in PACKAGES if (installed := installed_version(name))
        },
    }


def fingerprint(config: str, inputs: Mapping[str, str | None], num_processes: int = 1) -> str:
    """Return a hash of what a result was made from.

    Args:
        config: the text of the job's config.json.
        inputs: what the job reads -> its hash.
        num_processes: those of a training, which its job does not say, and which multiply a batch.
    """
    text = config + json.dumps(inputs, sort_keys=True)
    text += f" in {num_processes} processes" if num_processes > 1 else ""
    return hashlib.sha256(text.encode()).hexdigest()


def commit() -> str | None:
    """Return the checkout's commit, with `-dirty` if tracked files of the package have changed.

    Other files, such as documentation, do not affect results. A package that is installed inside
    another project's checkout has no commit.
    """
    path = Path(__file__).parents[1] / "__init__.py"
    git = ["git", "-C", str(path.parent)]
    tracked = [*git, "ls-files", "--error-unmatch", path.name]
    changed = [*git, "diff", "--quiet", "HEAD", "--", "."]
    try:
        subprocess.run(tracked, capture_output=True, check=True)
        head = subprocess.run(
            [*git, "rev-parse", "HEAD"], capture_output=True, text=True, check=True
        )
        is_dirty = subprocess.run(changed, capture_output=True).returncode != 0
    except (OSError, subprocess.CalledProcessError):
        return None
    return head.stdout.strip() + "-dirty" * is_dirty


def installed_version(package: str) -> str | None:
    """Return the installed version of a package, None if there is none."""
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def peak_memory_mb() -> float:
    """Return this process's peak resident memory in MiB."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if platform.system() == "Darwin" else 2**10)
