"""Answers per second that the grader verifies, and what hard and hostile batches cost.

    python perf/grader.py              # about a minute, on two idle cores
    python perf/grader.py --busy 4     # beside four busy loops: the verdicts must be the same
    python perf/grader.py --against ../other_tree      # in turns with the code of another checkout

The answers are LaTeX that only sympy can decide: fractions, roots, powers, pairs, intervals, half
of them right. All differ, since the grader verifies equal answers only once and remembers. The
hostile ones are towers of powers and factorials, endless sums and integrals, deep nesting and
megabytes of digits. The hard ones are right, and none may be a timeout: nested roots, trigonometric
identities, sums, integrals. Of both the CPU time is given, too, since other work delays only the
wall clock.
"""

import argparse
import json
import os
import resource
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

HARD = [
    (r"\sqrt{2+\sqrt{2+\sqrt{2}}}", r"2\cos\frac{\pi}{16}"),
    (r"\sqrt{5+2\sqrt{6}}", r"\sqrt2+\sqrt3"), (r"\sin 3x", r"3\sin x-4\sin^3 x"),
    (r"\frac{1}{\sqrt2+\sqrt3+\sqrt5}", r"\frac{2\sqrt3+3\sqrt2-\sqrt{30}}{12}"),
    (r"\cos 4x", r"8\cos^4 x-8\cos^2 x+1"), (r"\frac{\sin 2x}{1+\cos 2x}", r"\tan x"),
    (r"\sin^4 x+\cos^4 x", r"1-\frac12\sin^2 2x"), (r"\frac{e^x-e^{-x}}{2}", r"\sinh x"),
    (r"\sum_{k=1}^{n} k^3", r"\frac{n^2(n+1)^2}{4}"), (r"\int_0^1 x^2 dx", r"\frac13"),
    (r"\sum_{k=1}^{100} k^2", "338350"), (r"\frac{(n+2)!}{n!}", "(n+1)(n+2)"),
    (r"\lim_{n\to\infty}(1+\frac1n)^n", "e"), (r"\ln(x^2)-2\ln x", "0"),
    ("(x+y)^5", "x^5+5x^4y+10x^3y^2+10x^2y^3+5xy^4+y^5"), (r"\cos 36^\circ", r"\frac{1+\sqrt5}{4}"),
    (r"\frac{a^3+b^3+c^3-3abc}{a+b+c}", "a^2+b^2+c^2-ab-bc-ca"),
    (r"4\arctan\frac15-\arctan\frac1{239}", r"\frac{\pi}{4}"),
    (r"\cos\frac{2\pi}{7}+\cos\frac{4\pi}{7}+\cos\frac{6\pi}{7}", r"-\frac12"),
    (r"(\sqrt3+i)^{10}", r"512-512\sqrt3 i"),
]  # fmt: skip


def hard(count):
    """Return `count` different right answers that take sympy long, and their gold answers."""
    answers, golds = [], []
    for i in range(count):
        (answer, gold), n = HARD[i % len(HARD)], 2 + i // len(HARD)
        answers.append(rf"{answer}+\sqrt{{{n}}}")
        golds.append(rf"\sqrt{{{n}}}+{gold}")
    return answers, golds


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


def cost(answers, golds, workers):
    """Return the seconds of a batch on the wall clock and of CPU time, and its verdicts."""
    seconds = []
    for batch in ([], answers):  # the first one is what it costs to start
        before = resource.getrusage(resource.RUSAGE_CHILDREN)
        with Grader(num_workers=workers) as grader:
            grader.grade([r"\sqrt{2}"] * workers, ["7"] * workers, "latex")
            start = time.perf_counter()
            verdicts = grader.grade(batch, golds[: len(batch)], "latex")
            wall = time.perf_counter() - start
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)
    counts = {str(v): verdicts.count(v) for v in sorted(set(verdicts))}
    return wall, seconds[1] - seconds[0], counts


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
    parser.add_argument("--busy", type=int, default=0, help="busy loops beside it (%(default)s)")
    parser.add_argument("--against", help="another checkout to compare with")
    args = parser.parse_args()

    if args.against:
        compare(args.against, args.answers, args.rounds)
        return
    loops = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(args.busy)]
    try:
        measure(args)
    finally:
        for loop in loops:
            loop.kill()


def measure(args):
    """Print rates, and the costs of a hard and a hostile batch."""
    found, verdicts = rates(args.answers, args.rounds, args.workers)
    for workers, measured in found.items():
        print(f"{workers} process(es): {statistics.median(measured):.0f} answers per second")
    ratios = [many / one for one, many in zip(*found.values(), strict=True)]
    print(f"ratio: {statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})")
    print("verdicts of the last round:", verdicts)
    batches = {
        "hard": hard(args.hostile),
        "hostile": (hostile(args.hostile), ["7"] * args.hostile),
    }
    for name, batch in batches.items():
        wall, cpu, counts = cost(*batch, args.workers)
        print(f"{args.hostile} {name} answers: {wall:.1f} s, {cpu:.1f} s of CPU time, {counts}")


if __name__ == "__main__":
    main()
