"""Time to make all tables and figures: `thinktuning compare` on generated answers.

    python perf/tables.py              # 5 methods x 3 seeds x 3 tasks x 300 questions x 4

About twice as many answers as the default study has, of the same length; half of them reflect. They
are prose, on which the detector of behaviors is slower than on sums.
"""

import argparse
import json
import random
import tempfile
import time
from itertools import cycle, islice
from pathlib import Path

from thinktuning.analysis.training import NEEDED
from thinktuning.commands.compare import compare
from thinktuning.io.files import write_jsonl
from thinktuning.study.config import ComparisonConfig
from thinktuning.study.jobs import CompareJob

PROSE = "so the sum of 3 and 8 is 11 and with 4 more that makes 15 in all"

INPUTS = ("model", "data", "prompt", "teacher_prompt", "teacher_model")  # of provenance.json


def samples(rng, questions, num_samples, words):
    """Yield synthetic rows of samples.jsonl, with answers of about `words` words."""
    for i in range(questions):
        for k in range(num_samples):
            right, reflects = rng.random() < 0.5, rng.random() < 0.5
            text = "Wait, let me check. " * reflects
            text += " ".join(islice(cycle(PROSE.split()), max(0, words - 4 * reflects)))
            yield {
                "id": f"q{i:05}",
                "sample": k,
                "text": text,
                "answer": str(right),
                "correct": right,
                "first_correct": right,
                "verdict": "correct" if right else "incorrect",
                "finish_reason": "stop",
                "num_tokens": 2 * words,
                "reflects": reflects,
                "behaviors": ["self_conflict"] * reflects,
            }


def main():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    for name, default in (("methods", 5), ("seeds", 3), ("tasks", 3), ("questions", 300)):
        parser.add_argument(f"--{name}", type=int, default=default, help=f"[{default}]")
    parser.add_argument("--samples", type=int, default=4, help="answers per question [4]")
    parser.add_argument("--words", type=int, default=20, help="words per answer [20]")
    args = parser.parse_args()

    rng = random.Random(0)
    methods = [f"method{i}" for i in range(args.methods)]
    seeds = {name: list(range(args.seeds)) for name in methods}
    job = CompareJob(
        study="made_up",
        methods={name: name for name in methods},
        seeds=seeds,
        evaluated_seeds=seeds,
        tasks=[f"task{i}" for i in range(args.tasks)],
        comparison=ComparisonConfig(baselines=methods[:2]),
    )
    cost = {"wall_seconds": 1.0, "num_generated_tokens": 1, "num_teacher_tokens": 1}
    with tempfile.TemporaryDirectory() as directory:
        results = Path(directory)
        for method in methods:
            for seed in range(args.seeds):
                made = results / f"runs/{method}/seed{seed}"
                metrics = [dict.fromkeys(NEEDED, 0) | {"rollout_batch": b} for b in range(50)]
                write_jsonl(made / "metrics.jsonl", metrics)
                inputs = dict.fromkeys(INPUTS, "same")
                run = cost | {"peak_memory_mb": 1.0, "inputs": inputs, "model_sha256": "same"}
                (made / "provenance.json").write_text(json.dumps(run))
                for task in job.tasks:
                    made = results / f"eval/{method}/seed{seed}/{task}"
                    rows = samples(rng, args.questions, args.samples, args.words)
                    write_jsonl(made / "samples.jsonl", rows)
                    evaluated = {"commit": "none", "wall_seconds": 1.0, "peak_memory_mb": 1.0}
                    evaluated |= {"n": args.questions, "k": args.samples, "mean_tokens": 1.0}
                    evaluated |= {"inputs": inputs}
                    (made / "results.json").write_text(json.dumps(evaluated))
        start = time.perf_counter()
        compare(job, results, results / "tables", results / "plots")
        seconds = time.perf_counter() - start
    answers = args.methods * args.seeds * args.tasks * args.questions * args.samples
    print(f"{answers:,} answers: {seconds:.1f} s for all tables and plots")


if __name__ == "__main__":
    main()
