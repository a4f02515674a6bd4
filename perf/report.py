"""Size of the report with many rollouts, and the time that Chromium takes to open it.

    python perf/report.py              # after `make all`, whose tables and figures it shows

The rollouts are random words, which compress worse than a study's own texts. Times are medians;
opening ends with the page's load event, when its list and filters are ready.
"""

import argparse
import json
import random
import shutil
import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
WORDS = ["so", "then", "we", "add", "two", "numbers", "wait", "let", "me", "check", "that", "sum"]
SEARCH = """
    const started = performance.now();
    document.getElementById("search").value = "check that sum";
    document.getElementById("filters").dispatchEvent(new Event("input"));
    document.getElementById("list").getBoundingClientRect();
    return performance.now() - started;
"""
OPENED = "return performance.timing.loadEventEnd - performance.timing.navigationStart"


def rollout(rng, step, num_words, taught):
    """Return a synthetic row of rollouts.jsonl."""

    def text(length):
        return " ".join(rng.choices(WORDS, k=length)) + f" {rng.random()}"

    student, feedback = text(num_words), text(num_words // 2)
    return {
        "step": step,
        "question": text(20),
        "student_text": student,
        "text": f"{student}\n\n{feedback}" if taught else student,
        "student_reward": float(rng.random() < 0.4),
        "reward": float(rng.random() < 0.7),
        "advantage": rng.gauss(0, 1),
        "student_length": num_words,
        "completion_length": num_words * 3 // 2 if taught else num_words,
        "asked": taught,
        "parsed": taught,
        "taught": taught,
        "teacher_reply": f"<reason>{feedback}</reason>" if taught else None,
    }


def write_rollouts(results, job, num_rollouts, num_words):
    """Distribute synthetic rollouts over all runs, a third of them taught."""
    rng = random.Random(0)
    runs = [(method, seed) for method, seeds in job.seeds.items() for seed in seeds]
    for number, (method, seed) in enumerate(runs):
        rows = [
            rollout(rng, i // 16, num_words, taught=i % 3 == 0)
            for i in range(number, num_rollouts, len(runs))
        ]
        path = results / f"runs/{method}/seed{seed}/rollouts.jsonl"
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def main():
    from browser import CHROMEDRIVER, CHROMIUM, MISSING, browser

    from thinktuning.commands.report import report
    from thinktuning.study.jobs import CompareJob, read_config

    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument(
        "--results", type=Path, default=ROOT / "results", help="results of `make all`"
    )
    parser.add_argument(
        "--rollouts", type=int, default=10_000, help="rollouts of all runs together"
    )
    parser.add_argument("--words", type=int, default=30, help="words of a student's text")
    parser.add_argument("--repeats", type=int, default=5, help="how often to open the page")
    parser.add_argument("--keep", type=Path, help="where to save the page")
    arguments = parser.parse_args()
    config = arguments.results / "tables" / "config.json"
    if not config.is_file():
        sys.exit(f"{config}: is missing; run a study first, or pass its results with --results")
    if not (CHROMIUM and CHROMEDRIVER):
        sys.exit(MISSING)
    job = read_config(config, CompareJob)
    with tempfile.TemporaryDirectory() as directory:
        results, page = Path(directory) / "results", Path(directory) / "index.html"
        heavy = shutil.ignore_patterns("model*", "checkpoints", "data", "logs", "samples.jsonl")
        shutil.copytree(arguments.results, results, ignore=heavy)
        write_rollouts(results, job, arguments.rollouts, arguments.words)
        started = time.perf_counter()
        report(job, results, page)
        print(f"writing    {time.perf_counter() - started:.2f} s")
        print(f"size       {page.stat().st_size / 1e6:.2f} MB")
        opened, searched = [], []
        with browser() as session:
            for _ in range(arguments.repeats):
                session.open(page)
                opened.append(session.run(OPENED) / 1000)
                status = session.run("return document.getElementById('status').textContent")
                searched.append(session.run(SEARCH) / 1000)
        print(f"opening    {statistics.median(opened):.2f} s, at most {max(opened):.2f} s")
        print(f"searching  {statistics.median(searched):.3f} s")
        print(f"shown      {status}")
        if arguments.keep:
            shutil.copy(page, arguments.keep)


if __name__ == "__main__":
    main()
