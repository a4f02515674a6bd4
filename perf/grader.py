"""Answers per second that the grader verifies, and what a batch of hostile answers costs.

    python perf/grader.py              # about a minute, on two idle cores
    python perf/grader.py --against ../other_tree      # in turns with the code of another checkout

The answers are LaTeX that only sympy can decide: fractions, roots, powers, pairs, intervals, half
of them right. All differ, since the grader verifies equal answers only once and remembers. The
hostile ones are towers of powers and factorials, endless sums and integrals, deep nesting and
megabytes of digits.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from thinktuning.grading.grader import Grader

FORMS = [  # (answer, equivalent gold answer)
    (r"\frac{{{a}}}{{{b}}}", r"\frac{{{aa}}}{{{bb}}}"),
    (r"{a}\sqrt{{{b}}}", r"\sqrt{{{a}}}\sqrt{{{ab}}}"),
    (r"\left({a}, \frac{{{b}}}{{2}}\right)", r"\left({a}, \frac{{{bb}}}{{4}}\right)"),
    (r"x^2 + {a}x + {b}", r"{b} + x({a} + x)"),
    (r"[{a}, {ab})", r"[\frac{{{aa}}}{{2}}, {ab})"),
]
HOSTILE = [
    "9^{{{n}^{{9^{{9}}}}}}", "{n}^{{9^{{9^{{9^{{9}}}}}}}}", "{n}!!!!!", "((({n}!)!)!)!",
    r"\binom{{{n}000000}}{{500000}}", r"\sum_{{k=1}}^{{{n}000000000}} \sin(k^2)",
    r"\int_0^{{{n}}} x^{{x^x}} \sin(x) dx", "{braces}", "{parentheses}",
    "x^{{{n}00000}}-(x+1)^{{100000}}",
    "{digits}", r"\prod_{{k=1}}^{{{n}00000}} (k+x)", "{fractions}", "{roots}", "{variables}",
    "10^{{10^{{{n}}}}}-10^{{10^{{{n}}}}}+7", r"\sqrt[{n}]{{7^{{{n}}}+10^{{-300}}}}",
    r"\lim_{{x \to 0}} \frac{{\sin(x^{{{n}}})}}{{x^{{{n}}}}}", "x={n}=4=5=7", "{matrix}",
]  # fmt: skip


def cases(count, first=0):
    """Return `count` answers and gold answers, from number `first`; some golds are off by one."""
    answers, golds = [], []
    for i in range(first, first + count):
        answer, gold = FORMS[i % len(FORMS)]
        a, b = i + 2, i + 5
        values = {"a": a, "b": b, "ab": a * b, "aa": 2 * a, "bb": 2 * b}
        answers.append(answer.format(**values))
        golds.append(gold.format(**values | ({} if i % 2 else {"aa": 2 * a + 1, "bb": 2 * b + 1})))
    return answers, golds


def hostile(count):
    """Return `count` different answers that are made to take long."""
    answers = []
    for i in range(count):
        n = i + 3
        rows = [" & ".join(str(n + k) for k in range(20))] * 20
        answers.append(
            HOSTILE[i % len(HOSTILE)].format(
                n=n,
                braces="{" * 20_000 + str(n) + "}" * 20_000,
                parentheses="(1+" * 200 + str(n) + ")" * 200,
                digits="9" * (10**6 + n),
                fractions=r"\frac{1}{" * 25 + str(n) + "}" * 25,
                roots="+".join(rf"\sqrt{{{n + k}}}" for k in range(40)),
                variables="(" + "+".join(f"x_{{{k}}}" for k in range(30)) + f")^{{{n}}}",
                matrix=r"\begin{pmatrix}" + r" \\ ".join(rows) + r"\end{pmatrix}",
            )
        )
    return answers


def rates(count, rounds, workers):
    """Return the answers per second of each round with one process and with several, in turns."""
    found = {1: [], workers: []}
    with Grader() as one, Grader(num_workers=workers) as many:
        for round in range(-1, rounds):
            answers, golds = cases(count, (round + 1) * count)
            for number, grader in ((1, one), (workers, many)):
                start = time.perf_counter()
                verdicts = grader.grade(answers, golds, "latex")
                if round >= 0:  # round -1 starts the processes
                    found[number].append(len(answers) / (time.perf_counter() - start))
    return found, {str(v): verdicts.count(v) for v in sorted(set(verdicts))}


def compare(other, count, rounds):
    """Print the rates of this code and of another checkout's, measured in turns."""
    code = (
        f"import json, sys; sys.path.insert(0, {str(Path(__file__).parent)!r})\n"
        "from grader import rates\n"
        f"if __name__ == '__main__': print(json.dumps(rates({count}, 1, 2)[0]))"
    )
    trees = {"this": Path(__file__).resolve().parents[1], "other": Path(other).resolve()}
    found = {name: {"1": [], "2": []} for name in trees}
    turns = [turn for _ in range(rounds) for turn in trees.items()]
    with tempfile.TemporaryDirectory() as directory:
        script = Path(directory) / "rates.py"  # a file, since the workers import it
        for name, tree in turns:
            env = os.environ | {"PYTHONPATH": str(tree)}
            script.write_text(code)
            done = subprocess.run(
                [sys.executable, script], env=env, capture_output=True, check=True
            )
            for number, measured in json.loads(done.stdout).items():
                found[name][number] += measured
    for number in ("1", "2"):
        ratios = [a / b for a, b in zip(found["this"][number], found["other"][number], strict=True)]
        print(
            f"{number} process(es), against {other}: {statistics.median(ratios):.2f} times"
            f" ({min(ratios):.2f} to {max(ratios):.2f})"
        )


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--answers", type=int, default=2000, help="answers per round (%(default)s)")
    parser.add_argument("--rounds", type=int, default=3, help="rounds (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="processes (%(default)s)")
    parser.add_argument("--hostile", type=int, default=200, help="hostile answers (%(default)s)")
    parser.add_argument("--against", help="another checkout to compare with")
    args = parser.parse_args()

    if args.against:
        compare(args.against, args.answers, args.rounds)
        return
    found, verdicts = rates(args.answers, args.rounds, args.workers)
    for workers, measured in found.items():
        print(f"{workers} process(es): {statistics.median(measured):.0f} answers per second")
    ratios = [many / one for one, many in zip(*found.values(), strict=True)]
    print(f"ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print("verdicts of the last round:", verdicts)
    with Grader(num_workers=args.workers) as grader:
        grader.grade([r"\sqrt{2}"], ["7"], "latex")  # starts the processes
        start = time.perf_counter()
        verdicts = grader.grade(hostile(args.hostile), ["7"] * args.hostile, "latex")
        seconds = time.perf_counter() - start
    counts = {str(v): verdicts.count(v) for v in sorted(set(verdicts))}
    print(f"{args.hostile} hostile answers: {seconds:.1f} s, {counts}")


if __name__ == "__main__":
    main()
