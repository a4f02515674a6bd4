"""A method's look: its color and line in every figure and page, of every study.

The color depends on the method's name only, so a method keeps it in all studies: it is the one in
`COLORS`, or that of the longest name there that the method's name continues (`grpo_lr_1e4` has that
of `grpo`), or else one of `OTHERS`, which the methods that most studies have do not use. The
palette is Okabe and Ito's, which color-blind readers can tell apart. Methods of one study with the
same color have different lines.
"""

import zlib
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

PALETTE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
BLUE, VERMILION, GREEN, PURPLE, ORANGE, SKY, BLACK = PALETTE
OTHERS = (ORANGE, SKY, BLACK)
# Matplotlib's line styles: the next one for each further method of a color.
LINES: tuple[Any, ...] = ("-", "--", ":", "-.", (0, (8, 3)), (0, (3, 1, 1, 1, 1, 1)), (0, (1, 4)))
COLORS = {
    "zero_shot": BLUE,
    "zero_shot_reflect": VERMILION,
    "grpo": GREEN,
    "thinktuning": PURPLE,
    "grpo_tokens": SKY,
    "grpo_scored": BLACK,
    "sft": ORANGE,
    # rivals
    "rft": SKY,
    "luffy": BLACK,
    "critique_grpo": BLUE,
    "dpo": ORANGE,
    "sdpo": SKY,
    "sdpo_feedback": BLACK,
    "self_distillation": SKY,
    # ablations
    "aas_paper": SKY,
    "aas_constant": BLACK,
    "aas_off": BLUE,
    "mask_teacher": VERMILION,
    "gamma_005": GREEN,
    "gamma_01": PURPLE,
    "gamma_03": ORANGE,
    "wrong_first": SKY,
    "all_wrong": BLACK,
    "teacher_right": BLUE,
    "teacher_wrong": VERMILION,
}


@dataclass(frozen=True)
class Look:
    """How a method is drawn; `line` and `marker` are matplotlib's styles."""

    color: str
    line: Any
    marker: str = ""


def color(method: str | int) -> str:
    """Return a method's color by its name; an index gives the palette's color of that index."""
    if isinstance(method, int):
        return PALETTE[method % len(PALETTE)]
    parts = method.split("_")
    for end in range(len(parts), 0, -1):
        if found := COLORS.get("_".join(parts[:end])):
            return found
    return OTHERS[zlib.crc32(method.encode()) % len(OTHERS)]


def looks(methods: Iterable[str]) -> dict[str, Look]:
    """Return the look of each of a study's methods.

    Among methods of one color those in `COLORS` choose their lines first, in its order, then the
    others in order of their names: a method that is added leaves the first ones as they are.
    """
    methods = list(methods)
    order = {name: place for place, name in enumerate(COLORS)}
    used: Counter[str] = Counter()
    found = {}
    for method in sorted(methods, key=lambda name: (order.get(name, len(order)), name)):
        shade = color(method)
        found[method] = Look(shade, LINES[used[shade] % len(LINES)])
        used[shade] += 1
    return {method: found[method] for method in methods}
