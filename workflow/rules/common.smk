# The study, validated once, and the names of its files.
#
# Each `resolve_*` writes what one job depends on, and nothing else, as that job's config.json; its
# `params` make Snakemake write it again when the study changes it. The job reads that file and no
# source code. So editing one method reruns this method's jobs alone, and editing code reruns
# nothing by itself; `-R evaluate` does.
import os
import shlex
from importlib.resources import files
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import update_config

from thinktuning.config import ModelRun, parse_study, to_json
from thinktuning.errors import StudyError
from thinktuning.files import read_yaml


def with_types(override):
    """Give a `--config` override its YAML types: Snakemake reads the 0 of `seeds=[0]` as text."""
    if isinstance(override, dict):
        return {key: with_types(value) for key, value in override.items()}
    if isinstance(override, list):
        return [with_types(value) for value in override]
    if not isinstance(override, str) or not override:
        return override
    loader = yaml.SafeLoader("")
    tag = loader.resolve(yaml.ScalarNode, override, (True, False))
    return loader.construct_object(yaml.ScalarNode(tag, override))


def resources(stage):
    """Return a stage's resources as Snakemake and its SLURM plugin spell them.

    SLURM has to be told that a job's GPUs are those of one node. On several nodes the job starts
    its tasks itself (`mpi`), one on each, and `gres` counts the GPUs of one node, where `gpu` would
    count all of them, wherever they are.
    """
    needed = {"mem_mb": stage.mem_mb, "runtime": stage.runtime}
    if (nodes := getattr(stage, "nodes", 1)) > 1:
        needed |= {"nodes": nodes, "tasks": nodes, "tasks_per_gpu": 0, "mpi": "srun"}
        return needed | ({"gres": f"gpu:{stage.gpu}"} if stage.gpu else {})
    return needed | {"gpu": stage.gpu} | ({"nodes": 1} if stage.gpu else {})


# Runs a job on GPUs of its own, or hidden from all. With their number written out, another number
# would be another command, and make Snakemake run everything again.
ON_GPUS = "python -m thinktuning.gpus {resources.gpu}"


def train_command(stage):
    """Return the command of a training job: through accelerate if it has several processes."""
    if stage.num_processes == 1:
        return f"{ON_GPUS} thinktuning"
    settings = shlex.quote(str(files("thinktuning") / f"accelerate/{stage.distributed}.yaml"))
    launch = f"{ON_GPUS} accelerate launch --main_process_port 0"
    if stage.nodes > 1:
        script = shlex.quote(f"{workflow.basedir}/workflow/launch_on_nodes.sh")
        launch = f"{script} {stage.nodes} {stage.threads}"
    return (
        f"{launch} --config_file {settings} --num_processes {stage.num_processes}"
        " -m thinktuning.cli"
    )


def evaluated_model(wildcards):
    """The model to sample from: the run's own, or the base if the method trains none."""
    if STUDY.methods[wildcards.method].train:
        return "results/runs/{method}/seed{seed}/model"
    return "results/models/base"


def teacher_model(wildcards):
    """The teacher's model, if the method has one of its own."""
    name = f"teacher_{wildcards.method}"
    return [f"results/models/{name}"] if name in MODELS else []


def one_of(names):
    """The constraint of a wildcard to these names; without any it matches nothing."""
    return "|".join(sorted(names)) or "(?!)"


OVERRIDES = workflow.config_settings.config
update_config(config, with_types(dict(OVERRIDES)))
try:
    for path in workflow.configfiles:  # Snakemake, which has read them, lets a key be there twice
        if Path(path).suffix != ".json":
            read_yaml(path)
    STUDY = parse_study(
        config, " + ".join([*map(str, workflow.configfiles), *["--config"] * bool(OVERRIDES)])
    )
except StudyError as error:
    raise WorkflowError(str(error)) from None

MODELS = STUDY.models()
ORGANISMS = {name for name, model in MODELS.items() if model.source == "organism"}
DATA = ["results/data/train.jsonl", *expand("results/data/eval/{task}.jsonl", task=STUDY.tasks)]
RUNS = expand("results/runs/{method}/seed{seed}", method=STUDY.trained(), seed=STUDY.seeds)
EVALUATIONS = [
    f"results/eval/{method}/seed{seed}/{task}"
    for method in STUDY.methods
    for seed in STUDY.evaluated_seeds(method)
    for task in STUDY.tasks
]


# Where environment.post-deploy.sh, of `--software-deployment-method conda`, finds this package.
os.environ.update(THINKTUNING_REPOSITORY=str(workflow.basedir))

# An image to run every job in, with `--software-deployment-method apptainer` (docs/container.md).
if image := os.environ.get("THINKTUNING_CONTAINER"):

    container: image


wildcard_constraints:
    method="|".join(STUDY.methods),
    seed=r"-?\d+",
    task="|".join(STUDY.tasks),
    model="|".join(MODELS),
