"""CPU seconds until a command's own work begins: arguments, configuration and libraries.

    python perf/starts.py                      # a table; --json FILE writes all repeats
    python perf/starts.py --only train compare

A stage is stopped when its function is called. The tools for users, whose start is most of what
they do, run to the end, and so does Snakemake on a finished study. Seconds are user + system, which
a busy machine changes less than wall time, and medians of the repeats.
"""

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parents[1]
sys.path.insert(0, str(ROOT / "tests" / "helpers"))
# stage -> the function that does its work
WORK = {
    "data": "data.prepare",
    "exemplars": "data.exemplars",
    "model": "model.materialize",
    "warmup": "warmup.warm_up",
    "train": "train.train",
    "evaluate": "evaluate.evaluate_tasks",
    "judge": "judge.judge",
    "compare": "compare.compare",
    "report": "report.report",
}
STOP = """
import builtins, os, sys
sys.argv = ["thinktuning", *sys.argv[2:]]
home, function = os.environ["STARTS"].rsplit(".", 1)
real = builtins.__import__
def watching(name, globals=None, locals=None, fromlist=(), level=0):
    module = real(name, globals, locals, fromlist, level)
    if name == home and function in (fromlist or ()):
        setattr(module, function, lambda *_: stop(module))
    return module
def stop(module):
    getattr(module, "load_libraries", int)()  # if the function itself imports what it may need
    os._exit(0)
builtins.__import__ = watching
from thinktuning.commands.cli import main
main()
sys.exit("the stage's function was not called")
"""


def stage_commands(directory):
    """Write the jobs of a study with every stage; return each stage's command."""
    from thinktuning.study.jobs import ModelJob, to_json
    from thinktuning.study.reading import load_study, parse_study

    values = load_study(ROOT / "config.yaml").model_dump()
    values["warmup"] = {"max_steps": 1, "learning_rate": 1e-3, "batch_size": 1, "max_length": 64}
    served = {"base_url": "http://localhost:8000/v1", "model": "judge"}
    values["judge"] = {"backend": "openai", "openai": served, "num_samples": 1}
    study = parse_study(values, "perf/starts.py")
    jobs = {
        "data": study.data_job(),
        "exemplars": study.exemplars_job(),
        "model": ModelJob(model=study.model),
        "warmup": study.warmup_job(),
        "train": study.train_job("thinktuning", 0),
        "evaluate": study.evaluate_job("thinktuning", 0, next(iter(study.tasks))),
        "judge": study.judge_job(next(iter(study.tasks))),
        "compare": study.compare_job(),
        "report": study.compare_job(),
    }
    paths = {"data": (), "exemplars": ("data",), "model": ("data",), "judge": ("samples", "data")}
    paths |= {"compare": ("results", "tables", "plots"), "report": ("results",)}
    commands = {}
    for name, job in jobs.items():
        config = directory / f"{name}.json"
        config.write_text(to_json(job), encoding="utf-8")
        words = ["--config", str(config)]
        options = paths.get(name, ("model", "data"))
        for option in [*options, *(["output"] if name != "compare" else [])]:
            words += [f"--{option}", "none"]
        commands[name] = [sys.executable, "-c", STOP, "--", name, *words]
    return commands


def tool_commands(directory):
    """Return the commands that run to their end."""
    from finished_study import HARMLESS, write_results

    write_results(directory / "results", HARMLESS)
    study = str(ROOT / "config.yaml")
    words = {
        "--help": ["--help"],
        "validate": ["validate", study],
        "show": ["show", str(directory / "results/runs/taught/seed0")],
        "plan": ["plan", study],
        "doctor": ["doctor"],
    }
    start = [sys.executable, "-m", "thinktuning.commands.cli"]
    return {name: start + arguments for name, arguments in words.items()}


def no_op(directory):
    """Return the command that finds a study finished; its outputs are stand-ins."""
    from snakemake_run import BIN, stand_in

    (directory / "study").mkdir()
    study = str(ROOT / "config.yaml")
    stand_in(directory / "study", study)
    command = [str(BIN / "snakemake"), "--snakefile", str(ROOT / "Snakefile"), "--cores", "all"]
    return [*command, "--configfile", study]


def cpu_seconds(name, command, directory):
    """Run a command; return its CPU seconds and those of its children."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(
        command,
        cwd=directory,
        capture_output=True,
        text=True,
        env=os.environ | {"STARTS": f"thinktuning.commands.{WORK.get(name, '.')}"},
    )
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode and name != "doctor":  # whose exit code is what it found
        sys.exit(f"{name}: {done.stderr}")
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    names = [*WORK, "--help", "validate", "show", "plan", "doctor", "snakemake"]
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--only", nargs="+", choices=names, default=names, help="some of them")
    parser.add_argument("--repeats", type=int, default=5, help="of each command")
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write all repeats")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        directory = Path(name)
        commands = stage_commands(directory) | tool_commands(directory)
        places = dict.fromkeys(commands, directory)
        if "snakemake" in arguments.only:
            commands["snakemake"] = no_op(directory)
            places["snakemake"] = directory / "study"
        seconds = {one: [] for one in arguments.only}
        for _ in range(arguments.repeats):  # in turn, so that a busy minute meets all of them
            for one, found in seconds.items():
                found.append(cpu_seconds(one, commands[one], places[one]))
    for one, found in seconds.items():
        print(f"{one:<10} {statistics.median(found):5.2f} s, at least {min(found):5.2f} s")
    if arguments.json:
        arguments.json.write_text(json.dumps({"cpu_seconds": seconds}, indent=2) + "\n")


if __name__ == "__main__":
    main()
