"""CPU time in a unit for which a slow machine takes longer too: for bounds, not for speed."""

import functools
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Effort:
    """What a block took.

    Attributes:
        units: its CPU time, as a multiple of what a million turns of a loop take: 0.03 to 0.1 s.
    """

    units: float = float("inf")


@contextmanager
def measured() -> Iterator[Effort]:
    """Measure the block's CPU time in this process."""
    unit = _unit()
    effort = Effort()
    start = time.process_time()
    yield effort
    effort.units = (time.process_time() - start) / unit


@functools.cache
def _unit() -> float:
    """Return the seconds of CPU time that a million turns of a loop take here."""
    seconds = []
    for _ in range(3):
        start = time.process_time()
        total = 0
        for i in range(1_000_000):
            total += i
        seconds.append(time.process_time() - start)
    return min(seconds)
