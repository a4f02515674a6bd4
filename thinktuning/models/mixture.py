"""Problems of several task families, in their shares: the first lessons first, then all bands."""

import random
from collections.abc import Iterator, Mapping
from typing import Any

from thinktuning.models import families
from thinktuning.models.config import AnyDocumentsConfig
from thinktuning.models.families import Problem

START = ""  # the first lessons' band: `Family.start`


def lessons(spec: AnyDocumentsConfig) -> list[dict[str, list[str]]]:
    """Return the bands of each family in three parts of the documents: one, two, then all."""
    bands = spec.bands()
    return [
        {name: [START, *own][:count] for name, own in bands.items()}
        for count in (1, 2, 1 + max(map(len, bands.values())))
    ]


def mixture(
    spec: AnyDocumentsConfig,
    bands: Mapping[str, list[str]],
    seed: int,
    size: int,
    excluded: frozenset[str],
) -> Iterator[Problem]:
    """Draw `size` problems, less those that are `excluded`.

    A problem's family is drawn by the shares, and its band uniformly from `bands` of the family.
    """
    rng = random.Random(seed)
    names = list(bands)
    shares = [family.share for family in (spec.families or {}).values()]
    sources = {
        (name, band): generated(name, band, seed, size) for name in names for band in bands[name]
    }
    for i in range(size):
        (name,) = rng.choices(names, shares)
        band = rng.choice(bands[name])
        problem = families.problem(name, band, sources[name, band][i])
        if problem.question not in excluded:
            yield problem


def generated(name: str, band: str, seed: int, size: int) -> Any:
    """Return the items of a family's band, each made when it is read, from `seed` + its number."""
    import reasoning_gym

    family = families.load(name)
    params = family.start if band == START else family.bands[band]
    return reasoning_gym.create_dataset(family.generator, size=size, seed=seed, **params)


def measured(spec: AnyDocumentsConfig, seed: int, size: int) -> list[Problem]:
    """Return problems to measure the skills with: `size` of each family, spread over its bands."""
    return [
        families.problem(name, band, item)
        for name, bands in spec.bands().items()
        for band in bands
        for item in generated(name, band, seed, max(1, size // len(bands)))
    ]
