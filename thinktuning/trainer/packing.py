"""Rows of a batch in bins of equal width, in which rows with the same prompt share it.

A bin is a list of groups, and a group the rows that share a prompt there.
"""

from collections.abc import Sequence
from typing import NamedTuple

WIDTHS = (1, 1.25, 1.5, 2, 3, 4, 6, 8)  # of bins, relative to the longest row; the cheapest is used


class Row(NamedTuple):
    """A row with completion tokens: its number, its prompt, and how many there are."""

    number: int
    prompt: tuple[int, ...]
    length: int


class Piece(NamedTuple):
    """Consecutive tokens of a bin: a prompt, or one completion.

    `source` is the flat index of the first in the (B, T) batch, `start` that in the (bins, width)
    packed one; `parent` is the number of its prompt's piece.
    """

    source: int
    length: int
    start: int
    parent: int


Bin = list[list[Row]]


def width_of(rows: Sequence[Row]) -> int:
    """Return the number of columns of a trimmed chunk."""
    return max(len(row.prompt) for row in rows) + max(row.length for row in rows)


def cheapest_bins(rows: list[Row], attention_width: float) -> tuple[list[Bin], int]:
    """Return the bins that cost least, each a list of groups that share a prompt, and their width.

    A position costs 1 + width / attention_width.
    """
    groups: dict[tuple[int, ...], list[Row]] = {}
    for row in sorted(rows, key=lambda row: -row.length):
        groups.setdefault(row.prompt, []).append(row)
    longest_first = sorted(groups.values(), key=lambda g: -sum(row.length for row in g))
    longest = max(width_of([row]) for row in rows)
    best, least = None, float("inf")
    for factor in WIDTHS:
        bins, width = fill_bins(longest_first, int(longest * factor))
        cost = len(bins) * width * (1 + width / attention_width)
        if cost < least:
            best, least = (bins, width), cost
    assert best
    return best


def fill_bins(groups: list[list[Row]], capacity: int) -> tuple[list[Bin], int]:
    """Put each row into the first bin with room, of those with its prompt if possible.

    Returns:
        the bins, and the number of tokens in the fullest.
    """
    bins: list[Bin] = []
    used: list[int] = []
    for rows in groups:
        mine: dict[int, list[Row]] = {}  # bin -> the rows with this prompt in it
        for row in rows:
            fits = (b for b in mine if used[b] + row.length <= capacity)
            b = next(fits, None)
            if b is None:
                size = width_of([row])
                b = next((b for b, n in enumerate(used) if n + size <= capacity), len(bins))
                if b == len(bins):
                    bins.append([])
                    used.append(0)
                mine[b] = []
                bins[b].append(mine[b])
                used[b] += len(row.prompt)
            mine[b].append(row)
            used[b] += row.length
    return bins, max(used)


def pieces_of(bins: list[Bin], width: int, T: int, P: int) -> list[Piece]:
    """Return the pieces that bins consist of; P columns of T are for prompts."""
    pieces: list[Piece] = []
    for number, groups in enumerate(bins):
        start = number * width
        for rows in groups:
            parent, first = len(pieces), rows[0]
            size = len(first.prompt)
            pieces.append(Piece(first.number * T + P - size, size, start, parent))
            start += size
            for row in rows:
                pieces.append(Piece(row.number * T + P, row.length, start, parent))
                start += row.length
    return pieces
