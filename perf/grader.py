"""Answers per second that the grader verifies, with one process and with several, in turns.

    python perf/grader.py              # about a minute, on two idle cores

The answers are LaTeX that only math-verify can decide: fractions, roots, powers, pairs, intervals,
half of them right. All differ, since the grader verifies equal answers only once.
"""

import argparse
import statistics
import time

from thinktuning.grading.grader import Grader

FORMS = [  # (answer, equivalent gold answer)
    (r"\frac{{{a}}}{{{b}}}", r"\frac{{{aa}}}{{{bb}}}"),
    (r"{a}\sqrt{{{b}}}", r"\sqrt{{{a}}}\sqrt{{{ab}}}"),
    (r"\left({a}, \frac{{{b}}}{{2}}\right)", r"\left({a}, \frac{{{bb}}}{{4}}\right)"),
    (r"x^2 + {a}x + {b}", r"{b} + x({a} + x)"),
    (r"[{a}, {ab})", r"[\frac{{{aa}}}{{2}}, {ab})"),
]


def cases(count):
    """Return `count` answers and gold answers; every other gold is off by one."""
    answers, golds = [], []
    for i in range(count):
        answer, gold = FORMS[i % len(FORMS)]
        a, b = i + 2, i + 5
        values = {"a": a, "b": b, "ab": a * b, "aa": 2 * a, "bb": 2 * b}
        answers.append(answer.format(**values))
        golds.append(gold.format(**values | ({} if i % 2 else {"aa": 2 * a + 1, "bb": 2 * b + 1})))
    return answers, golds


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--answers", type=int, default=2000, help="answers per round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    args = parser.parse_args()

    answers, golds = cases(args.answers)
    rates = {1: [], args.workers: []}
    with Grader() as one, Grader(num_workers=args.workers) as many:
        for round in range(-1, args.rounds):
            for workers, grader in ((1, one), (args.workers, many)):
                start = time.perf_counter()
                verdicts = grader.grade(answers, golds, "latex")
                if round >= 0:  # round -1 starts the processes
                    rates[workers].append(len(answers) / (time.perf_counter() - start))
    for workers, found in rates.items():
        print(f"{workers} process(es): {statistics.median(found):.0f} answers per second")
    ratios = [many / one for one, many in zip(*rates.values(), strict=True)]
    print(f"ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print("verdicts of the last round:", {v: verdicts.count(v) for v in sorted(set(verdicts))})


if __name__ == "__main__":
    main()
