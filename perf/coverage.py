"""Coverage of the 95% intervals, power of the detectable effect, false alarms of split seeds.

    python perf/coverage.py                  # the tables of docs/evaluation.md: some four minutes
    python perf/coverage.py --studies 10000  # with half the Monte-Carlo error

Simulates studies whose truth is known, from each question's chance of a right answer: Beta(a, b)
chances, one sample or many, few questions or many, seeds crossed with questions, several tasks.
Beside each interval stands the plain t interval over questions (and, for several seeds, over their
pooled answers), which earlier versions and most evaluation code report.
"""

import argparse
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from zlib import crc32

import numpy as np
from scipy import stats

from thinktuning.analysis.intervals import difference, minimum_detectable_effect, share
from thinktuning.analysis.seeds import threshold
from thinktuning.analysis.variance import mean_of_tasks, t_quantile


@dataclass(frozen=True)
class Case:
    """A kind of study.

    Attributes:
        name: its questions, samples and chances.
        truth: the share or difference to cover.
        draw: draws one study: for each task the (S, N) scores, or a pair of these.
    """

    name: str
    truth: float
    draw: Callable[[np.random.Generator], list]


def logistic(x):
    return 1 / (1 + np.exp(-x))


def beta_share(a, b, n, k):
    return Case(
        f"Beta({a}, {b}), {n} questions x {k}",
        a / (a + b),
        lambda rng: [rng.binomial(k, rng.beta(a, b, (1, n))) / k],
    )


def binomial_share(p, n):
    name = f"p = {p}, {n} questions x 1"
    return Case(name, p, lambda rng: [rng.binomial(1, p, (1, n)).astype(float)])


def agreeing_seeds(p, n):
    """Three seeds that answer every question alike."""
    name = f"3 seeds that never disagree, p = {p}, {n} questions x 1"
    return Case(name, p, lambda rng: [np.tile(rng.binomial(1, p, n), (3, 1)).astype(float)])


def normal_mean(shift, deviation):
    """The mean of a logistic-normal chance, by quadrature."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    return float(logistic(shift + deviation * nodes) @ weights / weights.sum())


def seeds_share(num_seeds, n, k, shift, deviation, tasks=1):
    """Seeds that differ by `deviation` in logits, questions by 1.5, their interaction by 0.3."""

    def draw(rng):
        seeds = deviation * rng.standard_normal((num_seeds, 1))
        found = []
        for _ in range(tasks):
            logits = shift + 1.5 * rng.standard_normal((1, n)) + seeds
            logits = logits + 0.3 * rng.standard_normal((num_seeds, n))
            found.append(rng.binomial(k, logistic(logits)) / k)
        return found

    truth = normal_mean(shift, np.sqrt(1.5**2 + 0.3**2 + deviation**2))
    name = f"{num_seeds} seeds (sd {deviation}), {n} questions x {k}, mean {truth:.2f}"
    return Case(name + (f", mean of {tasks} tasks" if tasks > 1 else ""), truth, draw)


def tasks_share(sizes):
    """The mean of tasks of different size and difficulty, one seed."""
    chances = [(8, 2), (0.1, 2), (1, 1)][: len(sizes)]

    def draw(rng):
        return [
            rng.binomial(k, rng.beta(*ab, (1, n))) / k
            for (n, k), ab in zip(sizes, chances, strict=True)
        ]

    name = "mean of tasks of " + ", ".join(f"{n} x {k}" for n, k in sizes)
    return Case(name, float(np.mean([a / (a + b) for a, b in chances])), draw)


def binary_difference(more, less, n):
    """One answer each: a alone is right with chance `more`, b alone with chance `less`."""

    def draw(rng):
        u = rng.random((1, n))
        return [(u < more) * 1.0], [((u >= more) & (u < more + less)) * 1.0]

    name = f"a alone right {more}, b alone {less}, {n} questions x 1"
    return Case(name, more - less, draw)


def beta_difference(ab, cd, n, k):
    """The two chances on a question have the same rank: a hard one is hard for both."""

    def draw(rng):
        u = rng.random((1, n))
        return tuple([rng.binomial(k, stats.beta.ppf(u, *chance)) / k] for chance in (ab, cd))

    name = f"Beta{ab} - Beta{cd}, {n} questions x {k}"
    return Case(name, ab[0] / sum(ab) - cd[0] / sum(cd), draw)


def flips_difference(flipped, before, after, n, k):
    """Both agree, but on a share of the questions one solves nearly always, the other never."""

    def draw(rng):
        chance = np.where(rng.random((1, n)) < flipped, after, before)
        return tuple([rng.binomial(k, x) / k] for x in (np.full((1, n), before), chance))

    name = f"{100 * flipped:g}% of the questions from {before:g} to {after:g}, {n} x {k}"
    return Case(name, flipped * (before - after), draw)


def seeds_difference(num_seeds, n, k, shift, deviation, base=0):
    """A method with several seeds minus an untrained one."""

    def draw(rng):
        questions = base + 1.5 * rng.standard_normal((1, n))
        trained = questions + shift + deviation * rng.standard_normal((num_seeds, 1))
        trained = trained + 0.5 * rng.standard_normal((num_seeds, n))
        return tuple([rng.binomial(k, logistic(x)) / k] for x in (trained, questions))

    truth = normal_mean(base + shift, np.sqrt(1.5**2 + 0.5**2 + deviation**2))
    truth -= normal_mean(base, 1.5)
    name = f"{num_seeds} seeds (sd {deviation}) - untrained, {n} questions x {k}"
    return Case(f"{name}, mean {abs(round(truth, 2))}", truth, draw)


SHARES = [
    *(binomial_share(p, n) for p, n in [(0.5, 60), (0.3, 300), (0.99, 300), (0.98, 30)]),
    binomial_share(0.9, 1319),
    *(beta_share(0.1, 2, n, k) for n, k in [(10, 4), (30, 32), (60, 8), (300, 4)]),
    *(beta_share(2, 0.1, n, k) for n, k in [(30, 32), (198, 10)]),
    *(beta_share(0.02, 0.5, n, k) for n, k in [(30, 32), (100, 4)]),
    *(beta_share(1, 1, n, k) for n, k in [(10, 4), (30, 32), (300, 4)]),
    *(tasks_share(sizes) for sizes in [[(300, 4), (30, 32), (198, 10)], [(30, 1)] * 3]),
    *(tasks_share(sizes) for sizes in [[(1319, 4), (30, 32)], [(1319, 4), (10, 32)]]),
    *(seeds_share(3, n, k, 0, s) for n, k, s in [(300, 4, 0.0), (300, 4, 0.3), (30, 32, 0.3)]),
    *(seeds_share(3, n, k, 3, s) for n, k, s in [(300, 4, 0.3), (300, 4, 0.8), (30, 4, 0.3)]),
    *(seeds_share(5, 300, 4, shift, s) for shift, s in [(0, 0.3), (3, 0.8)]),
    seeds_share(3, 100, 4, 0, 0.3, tasks=3),
    *(agreeing_seeds(p, n) for p, n in [(0.98, 30), (0.95, 60)]),
]
NEAR_AN_END = [  # a t interval over a few seeds misses on the side of the tail
    *(seeds_share(3, n, k, 5, s) for n, k, s in [(300, 1, 0.5), (300, 1, 1.5), (1319, 4, 0.8)]),
    *(seeds_share(5, n, k, 5, s) for n, k, s in [(300, 1, 1.0), (1319, 4, 1.0)]),
    *(seeds_difference(n, 300, 4, 0, 1.0, base=-4) for n in (3, 5)),
]
DIFFERENCES = [
    *(flips_difference(q, 0.99, 0, n, k) for q, n, k in [(0.03, 30, 32), (0.05, 30, 32)]),
    *(flips_difference(q, 0.99, 0, n, k) for q, n, k in [(0.02, 60, 32), (0.01, 100, 10)]),
    *(flips_difference(q, 0.99, 0, n, k) for q, n, k in [(0.005, 198, 10), (0.005, 300, 4)]),
    *(flips_difference(0.05, 0.01, 0.9, n, k) for n, k in [(30, 32), (30, 4)]),
    *(binary_difference(*case) for case in [(0.1, 0.1, 30), (0.3, 0.1, 30), (0.05, 0.01, 100)]),
    *(binary_difference(*case) for case in [(0.01, 0.0, 300), (0.05, 0.01, 300), (0.3, 0.1, 300)]),
    *(beta_difference((1, 1), (2, 1), n, k) for n, k in [(10, 4), (30, 32), (300, 4)]),
    *(beta_difference((0.2, 0.2), (0.3, 0.1), n, k) for n, k in [(30, 4), (30, 32)]),
    *(beta_difference((0.05, 1), (0.1, 1), n, k) for n, k in [(30, 4), (60, 32), (300, 4)]),
    beta_difference((5, 0.05), (1, 0.05), 30, 32),
    beta_difference((0.02, 2), (0.05, 2), 30, 10),
    *(seeds_difference(3, n, k, 0, s) for n, k, s in [(300, 4, 0.0), (300, 4, 0.3), (30, 32, 0.3)]),
    *(seeds_difference(3, 300, 4, 2, s) for s in (0.3, 0.8)),
    *(seeds_difference(5, 300, 4, 0, s) for s in (0.3, 0.8)),
]


def plain_t(tasks):
    """The t interval over questions, of answers pooled over seeds."""
    mean = mean_of_tasks([task.mean(axis=0)[None] for task in tasks])
    half_width = t_quantile(0.95, mean.num_questions - 1) * mean.se
    return mean.value - half_width, mean.value + half_width


def coverage(case, num_studies, rng):
    """Return coverage and mean width of our interval, and coverage of the t interval."""
    covered, width = np.zeros(2), 0.0
    for _ in range(num_studies):
        drawn = case.draw(rng)
        paired = isinstance(drawn, tuple)
        ours = difference(*drawn) if paired else share(drawn)
        tasks = [a - b for a, b in zip(*drawn, strict=True)] if paired else drawn
        for i, (low, high) in enumerate([(ours.ci_low, ours.ci_high), plain_t(tasks)]):
            covered[i] += low - 1e-12 <= case.truth <= high + 1e-12
        width += ours.ci_high - ours.ci_low
    return *(covered / num_studies), width / num_studies


def power(num_seeds, n, num_studies, rng, seed_sd, question_sd=0.3, error_sd=0.3):
    """Return how often a second study finds the effect that a first one calls detectable."""

    def study():
        seeds = seed_sd * rng.standard_normal((num_seeds, 1))
        questions = question_sd * rng.standard_normal((1, n))
        return mean_of_tasks([seeds + questions + error_sd * rng.standard_normal((num_seeds, n))])

    found = counted = 0
    for _ in range(num_studies):
        first, second = study(), study()
        df = first.degrees_of_freedom(0.95)
        effect = minimum_detectable_effect(first.se / 1000, df)  # no limit of 100 points
        found += second.half_width(0.95) < abs(second.value + 1000 * effect)
        normal = first.half_width(0.95) + stats.norm.ppf(0.8) * first.se
        counted += second.half_width(0.95) < abs(second.value + normal)
    return found / num_studies, counted / num_studies


def power_of_verdicts(n, discordant, num_studies, rng):
    """Return how often a second study finds what a first one in which little differs promises.

    One answer to each question. In the first study each method alone is right on a share
    `discordant` of the questions; in the second one method also wins the detectable effect.
    """
    found = counted = 0
    while counted < num_studies:
        first = difference(*binary_difference(discordant, discordant, n).draw(rng))
        if first.p < 0.05 or first.detectable is None:
            continue
        counted += 1
        more = min(discordant + first.detectable, 1 - discordant)
        second = difference(*binary_difference(more, discordant, n).draw(rng))
        found += second.p < 0.05
    return found / num_studies


def false_alarms(num_seeds, deviation, num_studies, rng):
    """Return how often normally distributed seeds are taken for split ones."""
    split = 0
    for _ in range(num_studies):
        means = np.clip(0.5 + deviation * rng.standard_normal((num_seeds, 1)), 0, 1)
        split += threshold(np.tile(means, (1, 300))) is not None
    return split / num_studies


def lines(num_studies) -> Iterator[str]:
    rng = np.random.default_rng(0)
    error = 100 * np.sqrt(0.95 * 0.05 / num_studies)
    yield f"{num_studies} studies each: a coverage of 95% has a Monte-Carlo error of {error:.1f}.\n"
    groups = {"accuracies": SHARES, "paired differences": DIFFERENCES}
    groups["near 0 or 1, seeds that differ"] = NEAR_AN_END
    for name, cases in groups.items():
        yield f"| {name} | coverage, % | width, points | t interval over questions, % |"
        yield "|---|---|---|---|"
        for case in cases:
            of_case = np.random.default_rng(crc32(case.name.encode()))  # none depends on others
            ours, plain, width = coverage(case, num_studies, of_case)
            yield f"| {case.name} | {100 * ours:.1f} | {100 * width:.1f} | {100 * plain:.1f} |"
        yield ""
    yield "| detectable at 80% power | found, % | with (t + z) se, % |\n|---|---|---|"
    for num_seeds, n, sd in [
        *((1, n, 0.0) for n in (5, 10, 30, 300)),
        *((3, n, sd) for n, sd in ((100, 0.05), (300, 0.01), (300, 0.1))),
        *((5, n, sd) for n, sd in ((100, 0.05), (300, 0.1))),
    ]:
        ours, normal = power(num_seeds, n, num_studies, rng, sd)
        seeds = f"{num_seeds} seeds (sd {100 * sd:g} points)" if num_seeds > 1 else "1 seed"
        yield f"| {seeds}, {n} questions | {100 * ours:.0f} | {100 * normal:.0f} |"
    yield "\n| detectable where little differs, alone right | found, % |\n|---|---|"
    for n, q in [(30, 0), (300, 0), (1319, 0), (30, 0.1), (100, 0.02), (300, 0.01), (1319, 0.02)]:
        of_case = np.random.default_rng(crc32(f"{n} {q}".encode()))
        share_found = power_of_verdicts(n, q, num_studies, of_case)
        yield f"| {100 * q:g}% each, {n} questions x 1 | {100 * share_found:.0f} |"
    yield "\n| normal seeds taken for split, % | sd 5 points | sd 10 | sd 20 |\n|---|---|---|---|"
    for num_seeds in (3, 5):
        shares = [false_alarms(num_seeds, sd, num_studies, rng) for sd in (0.05, 0.1, 0.2)]
        yield f"| {num_seeds} seeds | " + " | ".join(f"{100 * x:.1f}" for x in shares) + " |"


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--studies", type=int, default=2500, help="per row (%(default)s)")
    for line in lines(parser.parse_args().studies):
        print(line, flush=True)


if __name__ == "__main__":
    main()
