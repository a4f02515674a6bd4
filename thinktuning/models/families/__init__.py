"""Task families: what the toy model's documents ask, and how their answers are worked out.

A family is a file of this folder that defines `FAMILY`: reasoning_gym's generator, which words the
questions; bands of difficulty, each the generator's parameters; and the worked derivation, which
the tutor and an answer that checks itself write out. Answers are integers, with one right answer to
a question: the grader's kind `number` decides about them.

A file's name is its family's name, so that a study finds it there. None may import reasoning_gym or
torch when it is imported.
"""

import itertools
import pkgutil
import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from typing import Any, NamedTuple

SLIPS = (-3, -2, -2, -1, -1, -1, 1, 1, 1, 2, 2, 3)

Params = Mapping[str, int]  # of a reasoning_gym generator
Note = Callable[[int], int]  # the result of a step -> what is written down, and goes on from there


class Problem(NamedTuple):
    """A question, what its derivation starts from, e.g. `4 - 1 - 7`, and its value.

    `band` is empty where the bands of a family are not measured apart.
    """

    question: str
    expression: str
    value: int
    family: str = "chain_sum"
    band: str = ""


class Derivation(NamedTuple):
    """A worked derivation, e.g. `4 - 1 = 3 - 7 = -4.`, and the value at which it arrives."""

    text: str
    value: int


@dataclass(frozen=True)
class Family:
    """A task family.

    Attributes:
        generator: reasoning_gym's.
        start: its parameters for the first lessons, which are in no band and never measured: there
            may be few such questions.
        bands: its parameters for each band, from easy to longer; no question is in two of them.
        expression: the metadata of an item -> what the derivation starts from.
        derive: an expression and a `Note` -> the derivation. Each result of a step is noted once,
            and what was noted is written and used.
        slips: what a wrong answer adds to the right one, and a wrong step to its result; not 0.
    """

    generator: str
    start: Params
    bands: Mapping[str, Params]
    expression: Callable[[Mapping[str, Any]], str]
    derive: Callable[[str, Note], Derivation]
    slips: tuple[int, ...] = SLIPS


def names() -> list[str]:
    """Return the names of all families, sorted."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def load(name: str) -> Family:
    """Return a family by its name, one of `names()`."""
    family: Family = import_module(f"{__name__}.{name}").FAMILY
    return family


def of_generator(generator: str) -> Family | None:
    """Return the family whose questions a reasoning_gym generator makes, if there is one."""
    return next((f for f in map(load, names()) if f.generator == generator), None)


def problem(name: str, band: str, item: Mapping[str, Any]) -> Problem:
    """Return the problem of an item that a family's generator made."""
    expression = load(name).expression(item["metadata"])
    return Problem(item["question"], expression, int(item["answer"]), name, band)


def derivation(problem: Problem) -> Derivation:
    """Return a problem's worked derivation, in which each step is right."""
    return load(problem.family).derive(problem.expression, lambda result: result)


def wrong_derivation(problem: Problem, rng: random.Random) -> Derivation:
    """Return a derivation with one wrong step, drawn by `rng`; the rest follows from its result."""
    family = load(problem.family)
    results: list[int] = []

    def counted(result: int) -> int:
        results.append(result)
        return result

    family.derive(problem.expression, counted)
    step, wrong, slip = itertools.count(), rng.randrange(len(results)), rng.choice(family.slips)
    return family.derive(
        problem.expression, lambda result: result + slip if next(step) == wrong else result
    )
