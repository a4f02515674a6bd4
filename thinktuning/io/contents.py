"""Hashes of the files that a job names: what it reads is part of its configuration."""

import hashlib
import json
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from thinktuning.io.files import sha256, write_text_atomic

LARGE = 2**24  # bytes; the hashes of larger files are remembered
SETTLED = 2.0  # seconds without a change, after which the file system's clock tells changes apart

Stamp = list[int]


def hashes(files: Mapping[str, Path], memory: Path | None = None) -> dict[str, str | None]:
    """Return the SHA-256 of each file, by its name; None for one that cannot be read.

    Args:
        files: name -> path.
        memory: a file that remembers the hashes of large files. One is hashed again if its size,
            inode, modification or change time differs; the last cannot be set back.
    """
    known = _read(memory)
    found: dict[str, tuple[Stamp, str]] = {}
    result: dict[str, str | None] = {}
    for name, path in files.items():
        try:
            stamp = _stamp(path)
            key = str(path.resolve())
            kept = known.get(key)
            same = kept is not None and kept[0] == stamp
            result[name] = kept[1] if kept and same else sha256(path)
            settled = time.time_ns() - stamp[-1] > SETTLED * 1e9
            if stamp[0] >= LARGE and settled:
                found[key] = (stamp, result[name] or "")
        except OSError:
            result[name] = None
    if memory and not found.items() <= known.items():
        write_text_atomic(memory, json.dumps(known | found, indent=1) + "\n")
    return result


def combined(paths: Iterable[Path]) -> str:
    """Return one SHA-256 of several files' names and contents."""
    lines = [f"{sha256(path)}  {path.name}\n" for path in paths]
    return hashlib.sha256("".join(lines).encode()).hexdigest()


def _stamp(path: Path) -> Stamp:
    status = path.stat()
    return [status.st_size, status.st_ino, status.st_mtime_ns, status.st_ctime_ns]


def _read(memory: Path | None) -> dict[str, tuple[Stamp, str]]:
    """Read what is remembered; nothing if the file is missing or damaged."""
    try:
        kept = json.loads(memory.read_text(encoding="utf-8")) if memory else {}
        return {path: (list(stamp), str(digest)) for path, (stamp, digest) in kept.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}
