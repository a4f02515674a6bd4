"""What a step costs with stock TRL, with our trainer, and with ThinkTuning, in turns.

    python perf/speed.py                                  # all parts: half an hour on one core
    python perf/speed.py --parts toy gsm8k --json out.json
    python perf/speed.py --quick                          # a smoke run of all parts, on tiny models

Prints Markdown tables, with --json also what they are made of. All three trainers train from the
same weights and seed, one after the other and several times; ratios are between neighbors, so that
a machine's other work cancels out, and in CPU time, from which it takes less. Parts:

- toy: the default study at its settings, on its model (`make all`; without it, --results or 90 s);
- smollm2: SmolLM2-135M-Instruct at the settings of studies/smollm2.yaml, half its batch, and in
  float32 on a CPU without instructions for bfloat16, where TRL would take over ten times as long;
- gsm8k: a random Llama of 20M parameters with the lengths of GSM8K: prompts of 60 to 200 tokens,
  answers lognormal with mean 220 and at most 512;
- growth: a random Llama of 3M parameters, with more rollouts, larger groups, longer answers;
- evaluation: the default study's tasks, by the workflow and by lm-eval's own command.

The teacher is always on, with the default study's share of each group. Peak memory is that of a
process of its own. `forwarded / real` is positions computed for log-probabilities over tokens that
they were asked for, `forwarded / computed rows` over those of rows that were not left out: padding,
less the prompts that rows share; `sampled / real` positions computed in sampling over tokens.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
PARTS = ("toy", "smollm2", "gsm8k", "growth", "evaluation")
TURNS = {"toy": 5, "smollm2": 3, "gsm8k": 3}
BATCHES = {"toy": 5, "smollm2": 1, "gsm8k": 1}
GROWTH = [  # (rollouts, group, mean length)
    *((rollouts, 8, 110) for rollouts in (16, 32, 64)),
    *((32, group, 110) for group in (4, 16)),
    *((32, 8, mean) for mean in (55, 220)),
]


def options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", nargs="+", choices=PARTS, default=PARTS, metavar="PART")
    parser.add_argument("--turns", type=int, help="of each trainer [5; smollm2 and gsm8k: 3]")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "results", help="of `make all` [%(default)s]"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the measurements")
    parser.add_argument("--threads", type=int, default=1, help="torch's [%(default)s]")
    parser.add_argument(
        "--memory",
        action=argparse.BooleanOptionalAction,
        default=True,
        help="peak memory, which takes another rollout batch of each trainer [--memory]",
    )
    parser.add_argument("--quick", action="store_true", help="a smoke run, on tiny models")
    parser.add_argument("--peak", nargs=2, metavar=("PART", "KIND"), help=argparse.SUPPRESS)
    return parser.parse_args()


def base_model(results, directory):
    """Return results with the toy model: the given ones, or new ones in `directory`."""
    if (results / "models" / "base").is_dir() and (results / "data" / "train.jsonl").exists():
        return results
    from parts.evaluation import timed

    print("no finished study: training the toy model", file=sys.stderr)
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--quiet", "all"]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--directory", str(directory)]
    timed([*command, "results/models/base"], ROOT)
    return directory / "results"


def setting_of(part, results, directory, grader, quick):
    """Return the setting of a part."""
    from parts import settings

    if part == "smollm2" and not quick:
        return settings.smollm2(directory / "smollm2", grader)
    if part == "toy" and not quick:
        return settings.toy(results, grader)
    if quick:
        tiny = dict.fromkeys(("hidden_size", "intermediate_size"), 96)
        tiny |= dict.fromkeys(("num_hidden_layers", "num_attention_heads"), 1)
        tiny |= {"num_key_value_heads": 1, "vocabulary": 1024}
        return settings.forced(
            directory / part, mean=6, longest=16, size=tiny, name=part, rollouts=8, group=4
        )
    size = settings.LLAMA_20M
    return settings.forced(directory / part, mean=220, longest=512, size=size, rollouts=16)


def train_part(part, arguments, directory, grader):
    """Measure one setting."""
    from parts.turns import alternate, peak_memory, summarize

    if part == "toy" and not arguments.quick:  # made once, if it is missing
        arguments.results = base_model(arguments.results, directory)
    setting = setting_of(part, arguments.results, directory, grader, arguments.quick)
    turns = 1 if arguments.quick else arguments.turns or TURNS[part]
    batches = 1 if arguments.quick else BATCHES[part]
    found = alternate(setting, batches, turns, directory / "trainer", progress)
    given = ["--results", str(arguments.results)] + ["--quick"] * arguments.quick
    return {
        "turns": turns,
        "batches": batches,
        "summary": summarize(found),
        "peak_mb": peak_memory(__file__, part, given) if arguments.memory else {},
        "measured": found,
    }


def growth_part(arguments, directory):
    """Measure the random Llama of 3M parameters with growing rollouts, groups and lengths."""
    from parts import settings
    from parts.turns import alternate, summarize

    rows = []
    for rollouts, group, mean in [(8, 4, 6)] if arguments.quick else GROWTH:
        shape = {"rollouts": rollouts, "group": group, "mean": mean}
        setting = settings.forced(
            directory / f"growth-{mean}",
            longest=5 * mean // 2,
            size=settings.LLAMA_3M,
            name=f"growth {shape}",
            **shape,
        )
        turns = 1 if arguments.quick else arguments.turns or 2
        found = alternate(setting, 1, turns, directory / "trainer", progress)
        rows.append(shape | {"summary": summarize(found)})
    return rows


def evaluation_part(arguments, directory):
    from parts.evaluation import measure

    results = base_model(arguments.results, directory)
    return measure(results, directory / "evaluation", 2 if arguments.quick else None)


def progress(text):
    print(text, file=sys.stderr, flush=True)


def peak(arguments, directory, grader):
    """Train one rollout batch; print this process's peak memory."""
    from parts.turns import own_peak

    part, kind = arguments.peak
    setting = setting_of(part, arguments.results, directory, grader, arguments.quick)
    trainer = setting.trainer(kind, 1, directory / "trainer")
    before = own_peak()
    trainer.train()
    print(json.dumps({"peak_mb": own_peak(), "before_mb": before}))


def machine():
    """Return what the measurements ran on, and the rates of the floors."""
    import torch
    from parts.floor import rates

    from thinktuning.io import provenance

    flops, bandwidth = rates()
    found = provenance.collect() | {"threads": torch.get_num_threads()}
    return found | {"gflops": flops / 1e9, "gb_per_second": bandwidth / 1e9}


def main():
    arguments = options()
    os.environ |= {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1"}
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": str(arguments.threads)}
    import torch
    from parts import markdown
    from parts.settings import workspace

    torch.set_num_threads(arguments.threads)
    with workspace() as (directory, grader):
        if arguments.peak:
            peak(arguments, directory, grader)
            return
        found = {"machine": machine(), "parts": {}}
        for part in arguments.parts:
            if part == "growth":
                result = growth_part(arguments, directory)
                text = f"### growth\n\n{markdown.growth(result)}"
            elif part == "evaluation":
                result = evaluation_part(arguments, directory)
                text = f"### evaluation\n\n{markdown.evaluation(result)}"
            else:
                result = train_part(part, arguments, directory, grader)
                text = markdown.training(part, result)
            found["parts"][part] = result
            print(f"{text}\n", flush=True)
            if arguments.json:
                write(arguments.json, found)


def write(path, found):
    """Write the measurements so far, in one piece."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, delete=False) as file:
        json.dump(found, file, indent=1)
    Path(file.name).replace(path)


if __name__ == "__main__":
    main()
