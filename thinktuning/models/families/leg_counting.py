"""Legs of animals: `3 bees: 3 * 6 = 18; 2 crabs: 2 * 10 = 20; 18 + 20 = 38.`."""

from collections.abc import Mapping
from typing import Any

from thinktuning.models.families import Derivation, Family, Note


def expression(metadata: Mapping[str, Any]) -> str:
    """Return the animals as in the question: `3 bees, 1 crab`."""
    counts = metadata["animals"].items()
    return ", ".join(f"{count} {name}{'s' if count > 1 else ''}" for name, count in counts)


def derive(expression: str, note: Note) -> Derivation:
    """Count the legs of one kind of animal after another, and add them up."""
    from reasoning_gym.arithmetic.leg_counting import ANIMALS

    total, equations = None, []
    for animals in expression.split(", "):
        count, name = animals.split(" ", 1)
        each = ANIMALS[name if count == "1" else name.removesuffix("s")]
        legs = note(int(count) * each)
        equations.append(f"{animals}: {count} * {each} = {legs}")
        if total is None:
            total = legs
            continue
        before, total = total, note(total + legs)
        equations.append(f"{before} + {legs} = {total}")
    assert total is not None
    return Derivation("; ".join(equations) + ".", total)


def _of(min_animals: int, max_animals: int) -> dict[str, int]:
    counts = {"min_instances": 1, "max_instances": 15}
    return {"min_animals": min_animals, "max_animals": max_animals, **counts}


FAMILY = Family(
    generator="leg_counting",
    start=_of(1, 1),
    bands={"easy": _of(2, 2), "hard": _of(3, 3), "longer": _of(4, 4)},
    expression=expression,
    derive=derive,
    slips=(-10, -8, -6, -4, -4, -2, -2, -1, 1, 2, 2, 4, 4, 6, 8, 10),
)
