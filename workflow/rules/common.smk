# The study, validated once, and the paths of its files.
#
# Each `resolve_*` rule writes all that one job depends on, and nothing else, as that job's
# config.json, with the hashes of the files that it names; its `params` make Snakemake rewrite the
# file when the study or one of these files changes. Jobs depend on that file and on no source code,
# so editing a method, or a teacher's prompt, reruns only the jobs that use it, and editing code
# reruns nothing; `-R evaluate` does.
import os
import shlex
from collections import defaultdict
from importlib.resources import files
from pathlib import Path

import yaml
from snakemake.exceptions import WorkflowError

from thinktuning.analysis.gallery import GALLERY
from thinktuning.io.errors import StudyError
from thinktuning.io.files import StrictLoader
from thinktuning.io.kept import forget, set_aside
from thinktuning.study.jobs import ModelJob, sealed, to_json
from thinktuning.study.reading import lay_over, parse_study, read_values


def with_types(override):
    """Convert a `--config` override to YAML types: Snakemake reads the 0 of `seeds=[0]` as text."""
    if isinstance(override, dict):
        return {key: with_types(value) for key, value in override.items()}
    if isinstance(override, list):
        return [with_types(value) for value in override]
    if not isinstance(override, str) or not override:
        return override
    loader = StrictLoader("")
    tag = loader.resolve(yaml.ScalarNode, override, (True, False))
    try:
        return loader.construct_object(yaml.ScalarNode(tag, override))
    except yaml.YAMLError as error:
        raise WorkflowError(f"--config: {error}") from None


def resolved(job):
    """Return what a job depends on, as its config.json; hashes of large files are remembered."""
    return to_json(sealed(job, Path(".snakemake/thinktuning_sha256.json")))


def resources(stage):
    """Return a stage's resources under the names of Snakemake and its SLURM plugin.

    `nodes: 1` keeps a job's GPUs on one node. On several nodes the job starts its tasks itself
    (`mpi`), one per node, and `gres` counts the GPUs per node; `gpu` would count them in total.
    """
    needed = {"mem_mb": stage.mem_mb, "runtime": stage.runtime}
    if (nodes := getattr(stage, "nodes", 1)) > 1:
        needed |= {"nodes": nodes, "tasks": nodes, "tasks_per_gpu": 0, "mpi": "srun"}
        return needed | ({"gres": f"gpu:{stage.gpu}"} if stage.gpu else {})
    return needed | {"gpu": stage.gpu} | ({"nodes": 1} if stage.gpu else {})


# Runs a job on GPUs of its own, or hides all GPUs from it. The number stays a placeholder: written
# out, a new number would change the command, and Snakemake would rerun everything.
ON_GPUS = "python -m thinktuning.commands.gpus {resources.gpu}"


def train_command(stage):
    """Return the command of a training job: with several processes, through `accelerate launch`."""
    if stage.num_processes == 1:
        return f"{ON_GPUS} thinktuning"
    settings = shlex.quote(
        str(files("thinktuning.commands") / f"accelerate/{stage.distributed}.yaml")
    )
    launch = f"{ON_GPUS} accelerate launch --main_process_port 0"
    if stage.nodes > 1:
        script = shlex.quote(f"{workflow.basedir}/workflow/launch_on_nodes.sh")
        launch = f"{script} {stage.nodes} {stage.threads}"
    return (
        f"{launch} --config_file {settings} --num_processes {stage.num_processes}"
        " -m thinktuning.commands.cli"
    )


def evaluated_model(wildcards):
    """Return the model to sample from: the run's own, or the base for an untrained method."""
    if STUDY.methods[wildcards.method].train:
        return "results/runs/{method}/seed{seed}/model"
    return "results/models/base"


def teacher_model(wildcards):
    """Return the teacher's model, if the method has a separate one."""
    name = f"teacher_{wildcards.method}"
    return [f"results/models/{name}"] if name in MODELS else []


def checked_exemplars(wildcards):
    """Return the check that a guided method waits for."""
    job = STUDY.train_job(wildcards.method, STUDY.seeds[0])
    return ["results/data/exemplars.json"] if job.algorithm.uses_teacher else []


def caption(figure):
    """The caption of a figure in Snakemake's report, if it has one."""
    path = Path(workflow.basedir) / f"workflow/report/{figure}.rst"
    return f"../report/{figure}.rst" if path.exists() else None


def keep_results():
    """Set results aside that jobs may find valid, unless `-R`, `-f` or `-F` asks for them again.

    The options tell, and not `workflow.dag`, where a job that was interrupted is forced as well.
    """
    options = workflow.dag_settings
    named = [*options.forcerun, *(options.targets if options.forcetargets else [])]
    forced = set(map(os.path.normpath, named))
    for job in workflow.dag.needrun_jobs():
        if job.rule.name not in ("evaluate", "judge") or workflow.touch:
            continue
        results = defaultdict(list)
        for path in job.output:
            results[Path(path).parent].append(path)
        for directory, paths in results.items():
            names = [Path(path).name for path in paths]
            if options.forceall or forced & {job.rule.name, *paths}:
                forget(directory, names)
            else:
                set_aside(directory, names)


def one_of(names):
    """Return a wildcard constraint to these names; without names it matches nothing."""
    return "|".join(sorted(names)) or "(?!)"


OVERRIDES = workflow.config_settings.config
try:
    values = {}
    for path in workflow.configfiles:  # Snakemake's own merge knows no `extends`
        values = lay_over(values, read_values(path) or {}, str(path))
    values = lay_over(values, with_types(dict(OVERRIDES)), "--config")
    STUDY = parse_study(
        values, " + ".join([*map(str, workflow.configfiles), *["--config"] * bool(OVERRIDES)])
    )
except StudyError as error:
    raise WorkflowError(str(error)) from None

MODELS = STUDY.models()
ORGANISMS = {name for name, model in MODELS.items() if model.source == "organism"}
EVALUATION_DATA = expand("results/data/eval/{task}.jsonl", task=STUDY.tasks)
DATA = ["results/data/train.jsonl", *EVALUATION_DATA]
RUNS = expand("results/runs/{method}/seed{seed}", method=STUDY.trained(), seed=STUDY.seeds)
EVALUATIONS = [
    f"results/eval/{method}/seed{seed}/{task}"
    for method in STUDY.methods
    for seed in STUDY.evaluated_seeds(method)
    for task in STUDY.tasks
]


# Where environment.post-deploy.sh finds this package (`--software-deployment-method conda`).
os.environ.update(THINKTUNING_REPOSITORY=str(workflow.basedir))

# The image for all jobs, with `--software-deployment-method apptainer` (docs/container.md).
if image := os.environ.get("THINKTUNING_CONTAINER"):

    container: image


wildcard_constraints:
    method="|".join(STUDY.methods),
    seed=r"-?\d+",
    task="|".join(STUDY.tasks),
    model="|".join(MODELS),


onstart:
    keep_results()
