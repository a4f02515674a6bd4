# The paths of a study's files, and what its jobs need.
import os
import re
import shlex
from collections import defaultdict
from importlib.resources import files
from pathlib import Path

from snakemake.exceptions import WorkflowError


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
        script = own_file("../launch_on_nodes.sh")
        bash = "" if os.access(script, os.X_OK) else "bash "  # fetched from a repository
        launch = f"{bash}{shlex.quote(script)} {stage.nodes} {stage.threads}"
    return (
        f"{launch} --config_file {settings} --num_processes {stage.num_processes}"
        " -m thinktuning.commands.cli"
    )


def at(path):
    """Return the path of one of the study's results; in a sweep that of each point, `{point}`."""
    return f"results/{{point}}/{path}" if STUDY.sweep else f"results/{path}"


def study_of(wildcards):
    """Return the study of a job: that of its point, or the only one."""
    return POINTS[wildcards.get("point", "")]


def maker(wildcards, directory):
    """Return the study of a job, of which this point has the results.

    A point that shares the job may ask for them only where they are.
    """
    point = wildcards.get("point", "")
    if (home := HOMES[point].get(directory, point)) != point:
        raise WorkflowError(
            f"results/{point}/{directory}: several points share this job; its results are at the"
            f" first of them: ask for results/{home}/{directory}"
        )
    return POINTS[point]


def made(wildcards, directory):
    """Return a directory of results, at the point that has it.

    Results of a seed that the study does not name are at the point itself.
    """
    point = wildcards.get("point", "")
    return place(HOMES[point].get(directory, point), directory)


def of_data(wildcards, *files):
    """Return files of the prepared questions, at the point that has them, unless they changed."""
    found = [f"{made(wildcards, 'data')}/{file}" for file in files]
    for path in found:
        refuse_changed(path)
    return found


def prepared(wildcards):
    """Return all prepared questions."""
    return of_data(wildcards, "train.jsonl", *EVALUATION_DATA)


def questions(wildcards, input):
    """Return the directory of the prepared questions, for a parameter `data`.

    Snakemake does not compare parameters that depend on `input`, so moving a job's questions to
    another point reruns nothing by itself.
    """
    return made(wildcards, "data")


def warmup_data(wildcards):
    """Return the questions that a warm-up reads.

    Worked answers are those to the training questions; the toy model's documents need only the
    evaluation questions, which they exclude.
    """
    documents = study_of(wildcards).warmup.documents
    return of_data(wildcards, *(EVALUATION_DATA if documents else ["train.jsonl"]))


def evaluated_model(wildcards):
    """Return the model to sample from: the run's own, or the base for an untrained method."""
    if STUDY.methods[wildcards.method].train:
        return f"{made(wildcards, f'runs/{wildcards.method}/seed{wildcards.seed}')}/model"
    return made(wildcards, "models/base")


def teacher_model(wildcards):
    """Return the teacher's model, if the method has a separate one."""
    name = f"teacher_{wildcards.method}"
    models = study_of(wildcards).models()
    return [made(wildcards, f"models/{name}")] if name in models else []


def judge_model(wildcards):
    """Return the judge's model, if it has one."""
    return [made(wildcards, "models/judge")] if "judge" in study_of(wildcards).models() else []


def budget_runs(wildcards):
    """Return what the runs took, of the same seed, whose tokens are this run's budget."""
    budget = BUDGETS[wildcards.get("point", "")].get(wildcards.method)
    methods = sorted(set(budget.references().values())) if budget else []
    runs = [made(wildcards, f"runs/{method}/seed{wildcards.seed}") for method in methods]
    return [f"{run}/provenance.json" for run in runs]


def checked_exemplars(wildcards):
    """Return the check that a guided method waits for."""
    study = study_of(wildcards)
    job = study.train_job(wildcards.method, study.seeds[0])
    home = made(wildcards, "data/exemplars")
    return [f"{home}.json"] if job.algorithm.uses_teacher else []


def of_runs(wildcards, *files):
    """Return files of all training runs."""
    runs = expand("runs/{method}/seed{seed}", method=STUDY.trained(), seed=STUDY.seeds)
    return [f"{made(wildcards, run)}/{file}" for run in runs for file in files]


def of_evaluations(wildcards, *files):
    """Return files of all evaluations: of each method, seed and task."""
    return [
        f"{made(wildcards, f'eval/{method}/seed{seed}')}/{task}/{file}"
        for method in STUDY.methods
        for seed in STUDY.evaluated_seeds(method)
        for task in STUDY.tasks
        for file in files
    ]


def compare_job(wildcards):
    """Return the comparison of a study, or of a point, which reads what others have for it."""
    point = wildcards.get("point", "")
    return study_of(wildcards).compare_job(point, elsewhere(HOMES[point], point))


def at_models(chosen):
    """Return wildcard constraints to the models that `chosen(study, name)` chooses.

    A model of the same name may have another rule at another point, where its source differs.
    """
    names = {
        point: one_of(name for name in study.models() if chosen(study, name))
        for point, study in POINTS.items()
    }
    if not STUDY.sweep:
        return {"model": names[""]}
    of_points = [f"{re.escape(point)}(?=/models/({found})$)" for point, found in names.items()]
    return {"point": "|".join(of_points)}


def is_organism(study, model):
    """Tell whether a model is a toy model, which the workflow trains."""
    return study.models()[model].source == "organism"


def caption(figure):
    """The caption of a figure in Snakemake's report, if it has one."""
    path = f"../report/{figure}.rst"
    return path if workflow.sourcecache.exists(RULES.join(path)) else None


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


# In commands, which Snakemake compares by their text: the directory of a job's results, and that of
# the questions that it reads, which another point may have.
HERE = "results/{wildcards.point}" if STUDY.sweep else "results"
QUESTIONS = "{params.data}" if STUDY.sweep else "results/data"
OF_POINT = {"point": "{point}"} if STUDY.sweep else {}  # a label in Snakemake's report


# Where environment.post-deploy.sh finds this package (`--software-deployment-method conda`), and the
# version that it takes from the registry where this is no repository.
os.environ.update(
    THINKTUNING_REPOSITORY=os.path.normpath(RULES.join("../..").get_path_or_uri(secret_free=True)),
    THINKTUNING_VERSION=(HAS_PACKAGE and installed_version("thinktuning")) or "",
)

# The image for all jobs, with `--software-deployment-method apptainer` (docs/container.md).
if image := os.environ.get("THINKTUNING_CONTAINER"):

    container: image


wildcard_constraints:
    method="|".join(STUDY.methods),
    seed=r"-?\d+",
    task="|".join(STUDY.tasks),
    model=one_of(MODELS),
    point=one_of(map(re.escape, filter(None, POINTS))),


onstart:
    keep_results()
