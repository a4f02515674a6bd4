"""Checks of correctness and speed for a machine with one GPU, each part in a process of its own.

    python perf/gpu.py --output DIR                       # ten minutes on an H200, it is expected
    python perf/gpu.py --output DIR --parts correctness doctor
    python perf/gpu.py --imports                          # only say what cannot be imported

Writes DIR/PART.json, after each check of a part, so that a part that is killed keeps what it has
found, and DIR/summary.md at the end. A check that fails is recorded, and the rest goes on. Parts:

- correctness: losses, gradients, log-probabilities, sampling, against stock TRL and float64;
- toy: the default study's trainings and evaluations on the GPU, against the CPU's snapshot in
  docs/default; a killed training that resumes, bit for bit or not. Needs its questions and base
  model: --results, of `make all`, or of `snakemake results/models/base`;
- doctor: `thinktuning doctor`, and whether each device is given to one process at a time;
- large: a random Llama of 3B parameters: memory beside `plan`, steps, updates, teacher, checkpoint;
- generation: transformers' loop, ours, static shapes, continuous batching on that model.

Without a GPU the same checks run on the CPU, with tiny models. The package need not be installed:
this checkout is used.
"""

import argparse
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
LIMITS = {"correctness": 200, "doctor": 80, "toy": 210, "large": 300, "generation": 200}  # seconds
MODULES = {"doctor": "locks", "toy": "toy_study"}  # where a part's file is named otherwise
NEEDED = [
    "torch", "transformers", "trl", "accelerate", "datasets", "peft", "tokenizers", "safetensors",
    "huggingface_hub", "numpy", "pandas", "scipy", "statsmodels", "sympy", "pyarrow", "pydantic",
    "yaml", "jinja2", "rich", "tqdm", "psutil", "pebble", "math_verify", "latex2sympy2_extended",
    "antlr4", "openai", "lm_eval", "lm_eval.models.huggingface", "evaluate", "pytest", "hypothesis",
    "thinktuning", "thinktuning.commands.train", "thinktuning.commands.evaluate",
]  # fmt: skip


def options():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--output", type=Path, metavar="DIR", help="for PART.json and summary.md")
    parser.add_argument("--parts", nargs="+", choices=LIMITS, default=LIMITS, metavar="PART")
    parser.add_argument(
        "--results", type=Path, default=ROOT / "results", help="of the default study [%(default)s]"
    )
    parser.add_argument("--limit", type=float, help="seconds of each part [80 to 300]")
    parser.add_argument("--imports", action="store_true", help="list what cannot be imported")
    parser.add_argument("--run", choices=LIMITS, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if not arguments.imports and arguments.output is None:
        parser.error("--output is required")
    return arguments


def missing():
    """Return what cannot be imported, with the reason."""
    found = {}
    for name in NEEDED:
        try:
            importlib.import_module(name)
        except Exception as error:  # a broken package may raise anything
            found[name] = f"{type(error).__name__}: {error}"
    return found


def environment(directory):
    """Return the parts' environment: this checkout first, with the metadata of an installation."""
    about = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    metadata = directory / f"thinktuning-{about['version']}.dist-info" / "METADATA"
    if not metadata.exists():
        metadata.parent.mkdir(parents=True)
        lines = ["Metadata-Version: 2.1", "Name: thinktuning", f"Version: {about['version']}"]
        lines.append(f"Requires-Python: {about['requires-python']}")
        lines += [f"Requires-Dist: {requirement}" for requirement in about["dependencies"]]
        for extra, requirements in about["optional-dependencies"].items():
            lines.append(f"Provides-Extra: {extra}")
            lines += [f'Requires-Dist: {each}; extra == "{extra}"' for each in requirements]
        metadata.write_text("\n".join(lines) + "\n")
    paths = [str(ROOT), str(directory), os.environ.get("PYTHONPATH", "")]
    return os.environ | {
        "PYTHONPATH": os.pathsep.join(filter(None, paths)),
        "PYTHONUNBUFFERED": "1",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "TOKENIZERS_PARALLELISM": "false",
    }


def run_part(part, arguments, directory):
    """Run a part in its own process group, and kill it at its limit; return its summary line."""
    limit = arguments.limit or LIMITS[part]
    command = [sys.executable, __file__, "--run", part, "--output", str(arguments.output)]
    command += ["--results", str(arguments.results.resolve())]
    started = time.perf_counter()
    with (arguments.output / f"{part}.log").open("w") as log:
        process = subprocess.Popen(
            command,
            env=environment(directory),
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            process.wait(timeout=limit)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    seconds = time.perf_counter() - started
    log = arguments.output / f"{part}.log"
    path = arguments.output / f"{part}.json"
    found = json.loads(path.read_text()) if path.exists() else {"part": part, "checks": {}}
    found |= {"exit": process.returncode, "seconds": seconds}
    found["log"] = log.read_text(errors="replace")[-6000:]
    log.unlink()  # its end is in the JSON
    path.write_text(json.dumps(found, indent=1))
    failed = [name for name, check in found["checks"].items() if not check["ok"]]
    ended = process.returncode if seconds < limit else "at its limit"
    return (
        f"{part}: {len(found['checks']) - len(failed)} of {len(found['checks'])} checks ok,"
        f" {seconds:.0f} s, exit {ended}" + (f"; failed: {'; '.join(failed)}" if failed else "")
    )


def main():
    arguments = options()
    if arguments.imports:
        sys.path.insert(0, str(ROOT))
        absent = missing()
        print("\n".join(f"{name}: {why}" for name, why in absent.items()) or "nothing is missing")
        sys.exit(bool(absent))
    arguments.output.mkdir(parents=True, exist_ok=True)
    if arguments.run:
        from parts.checks import Checks

        part = importlib.import_module(f"parts.{MODULES.get(arguments.run, arguments.run)}")
        path = arguments.output / f"{arguments.run}.json"
        with tempfile.TemporaryDirectory() as directory:
            part.run(Checks(arguments.run, path, arguments.results, directory))
        return
    lines = []
    with tempfile.TemporaryDirectory() as directory:
        for part in arguments.parts:
            lines.append(run_part(part, arguments, Path(directory)))
            print(lines[-1], flush=True)
    name = "-".join(arguments.parts) if len(arguments.parts) < len(LIMITS) else "summary"
    (arguments.output / f"{name}.md").write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
