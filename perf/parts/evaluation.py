"""The workflow's evaluation of one model on a study's tasks, and plain lm-eval's."""

import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path

import yaml

from thinktuning.evaluation.config import TASKS
from thinktuning.io.files import read_jsonl
from thinktuning.study.reading import load_study

ROOT = Path(__file__).parents[2]


def timed(command, directory):
    """Run a command; return its wall seconds and the CPU seconds of all its processes."""
    environment = os.environ | {
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "OMP_NUM_THREADS": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "HF_HUB_OFFLINE": "1",
        "HF_DATASETS_OFFLINE": "1",
    }
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    done = subprocess.run(command, cwd=directory, env=environment, capture_output=True, text=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    if done.returncode:
        raise RuntimeError(f"{command} failed:\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"wall_seconds": time.perf_counter() - started, "cpu_seconds": cpu}


def measure(results, directory, num_questions=None):
    """Return what evaluating the toy model takes, by the workflow and by lm-eval alone.

    Args:
        results: of a finished default study.
        directory: an empty one to work in.
        num_questions: of each task; None: all.
    """
    study = load_study(ROOT / "config.yaml")
    for name in ("data", "models"):
        shutil.copytree(results / name, directory / "results" / name)
    for task in study.tasks:
        path = directory / f"results/data/eval/{task}.jsonl"
        lines = path.read_text().splitlines(keepends=True)
        path.write_text("".join(lines[:num_questions]))
    (directory / "results/data/decontamination.json").write_text("{}")  # the questions may be fewer
    command = [sys.executable, "-m", "snakemake", "--cores", "1", "--directory", str(directory)]
    command += ["--snakefile", str(ROOT / "Snakefile"), "--quiet", "all"]
    configs = ["results/data/config.json", "results/models/base.json"]
    timed([*command, "-R", *configs, "--", *configs], ROOT)  # of the study that is measured
    age = time.time() - 60
    for path in directory.rglob("*"):  # of one age, so that nothing is made again
        os.utime(path, (age, age))
    targets = [f"results/eval/zero_shot/seed0/{task}/samples.jsonl" for task in study.tasks]
    workflow = timed([*command, "--rerun-triggers", "mtime", "--", *targets], ROOT)
    workflow["answers"] = sum(1 for path in targets for _ in read_jsonl(directory / path))
    return {"thinktuning": workflow, "lm_eval": plain(study, directory)}


def plain(study, directory):
    """Run lm-eval's own command on the packaged tasks, with the study's sampling."""
    for name, task in study.tasks.items():
        packaged = {
            "include": str(TASKS / f"{task.lm_eval}.yaml"),
            "task": f"plain_{name}",
            "dataset_kwargs": {
                "data_files": {"test": str(directory / f"results/data/eval/{name}.jsonl")},
                "cache_dir": str(directory / "cache"),
            },
            "repeats": task.num_samples,
            "filter_list": [
                {
                    "name": "samples",
                    "filter": [{"function": "take_first_k", "k": task.num_samples}],
                }
            ],
            "generation_kwargs": {
                "do_sample": True,
                "temperature": study.evaluation.temperature,
                "top_k": 0,
                "until": [],
                "max_gen_toks": study.evaluation.max_gen_toks,
            },
        }
        (directory / "tasks").mkdir(exist_ok=True)
        (directory / "tasks" / f"plain_{name}.yaml").write_text(yaml.safe_dump(packaged))
    names = ",".join(f"plain_{name}" for name in study.tasks)
    command = [sys.executable, "-m", "lm_eval", "run", "--model", "hf", "--device", "cpu"]
    command += ["--model_args", "pretrained=results/models/base,dtype=float32", "--tasks", names]
    command += ["--include_path", "tasks", "--apply_chat_template", "--log_samples"]
    command += ["--batch_size", str(study.evaluation.batch_size), "--output_path", "lm_eval"]
    found = timed(command, directory)
    logged = [path for path in (directory / "lm_eval").rglob("samples_*.jsonl")]
    found["answers"] = sum(len(row["resps"][0]) for path in logged for row in read_jsonl(path))
    return found
