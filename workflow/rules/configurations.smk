# What each job depends on: the `resolve_*` rules' parameters.
#
# Each of these rules writes all that one job depends on, and nothing else, as that job's
# config.json, with the hashes of the files that it names; its `params` make Snakemake rewrite the
# file when the study or one of these files changes. Jobs depend on that file and on no source code,
# so editing a method, or a teacher's prompt, reruns only the jobs that use it, and editing code
# reruns nothing; `-R evaluate` does.
import os
from functools import cache
from pathlib import Path

from snakemake.io import IOFile
from snakemake.settings.enums import RerunTrigger


def resolved(job):
    """Return what a job depends on, as its config.json; hashes of large files are remembered."""
    return to_json(sealed(job, Path(".snakemake/thinktuning_sha256.json")))


def is_forced(*names):
    """Return whether `-F`, or `-R` with one of these rules or files, asks to make it again."""
    options = workflow.dag_settings
    return options.forceall or not set(map(os.path.normpath, options.forcerun)).isdisjoint(names)


def unless_foreign(path, configuration, results):
    """Return the input function of a `resolve_*` rule: no input, but a check of what is there.

    Snakemake compares its record of how a file was made with the study, and never the file: without
    a record, as in results that were copied, or after an edit, or with `rerun-triggers` that have no
    `params`, it would take results for another study's.

    Args:
        path: of the config.json, with wildcards.
        configuration: the rule's parameter: returns the file's text, of the wildcards.
        results: a path that is there if something was made from it.

    Raises:
        SystemExit: the file is not what the study says, and Snakemake does not know it. It would
            drop any other exception, and take the file as one that no rule makes.
    """

    def check(wildcards):
        file, made = (each.format(**dict(wildcards.items())) for each in (path, results))
        if is_forced(file):
            return []
        record = workflow.persistence.metadata(IOFile(file))
        why = "Snakemake has no record of its making"
        if os.path.exists(file):
            wanted = configuration(wildcards)
            compared = RerunTrigger.PARAMS in workflow.rerun_triggers
            changed = compared and record and repr(wanted) not in (record.params or ())
            noticed = changed or (record and record.incomplete)
            foreign = Path(file).read_text(errors="replace") != wanted and not noticed
            if not compared:
                why = "rerun-triggers without params would keep it"
            told = f"is not what this study says, and {why}"
        else:
            foreign = os.path.exists(made) and not record
            told = f"is missing beside {made}, and {why}"
        if foreign:
            raise SystemExit(
                f"{file} {told}: these results are another study's, or the file was changed. Use"
                f" another --directory, or make it and its results again: snakemake -R {file}"
            )
        return []

    return check


@cache
def refuse_changed(path):
    """Refuse prepared questions that are not those that the data stage wrote.

    The jobs that read them do so too, but only after Snakemake has removed their results.

    Raises:
        SystemExit: names the file; for the reason see `unless_foreign`.
    """
    if is_forced("data", path):
        return
    try:
        check_unchanged(Path(path))
    except StudyError as error:
        raise SystemExit(str(error)) from None


def configuration_of_data(wildcards):
    """Return what the prepared questions depend on."""
    return resolved(maker(wildcards, "data").data_job())


def configuration_of_exemplars(wildcards):
    """Return what the check of the teachers' exemplars depends on."""
    return resolved(maker(wildcards, "data/exemplars").exemplars_job())


def configuration_of_model(wildcards):
    """Return what a model depends on."""
    study = maker(wildcards, f"models/{wildcards.model}")
    return resolved(ModelJob(model=study.models()[wildcards.model]))


def configuration_of_warmup(wildcards):
    """Return what a warm-up depends on."""
    return resolved(maker(wildcards, "models/base").warmup_job())


def configuration_of_training(wildcards):
    """Return what a training depends on."""
    study = maker(wildcards, f"runs/{wildcards.method}/seed{wildcards.seed}")
    return resolved(study.train_job(wildcards.method, int(wildcards.seed)))


def configuration_of_evaluation(wildcards):
    """Return what an evaluation depends on."""
    study = maker(wildcards, f"eval/{wildcards.method}/seed{wildcards.seed}")
    seed = int(wildcards.seed) if STUDY.methods[wildcards.method].train else None
    return resolved(study.evaluate_job(wildcards.method, seed, wildcards.task))


def configuration_of_judge(wildcards):
    """Return what the judgments of a task depend on."""
    return resolved(study_of(wildcards).judge_job(wildcards.task))


def configuration_of_comparison(wildcards):
    """Return what a comparison depends on."""
    return resolved(compare_job(wildcards))


def configuration_of_sweep(wildcards):
    """Return what the sweep's tables depend on."""
    job = sweep_job(STUDY, {point: elsewhere(HOMES[point], point) for point in POINTS})
    return resolved(job)
