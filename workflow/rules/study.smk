# The study, validated once.
import os
from types import SimpleNamespace

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.sourcecache import LocalSourceFile

try:
    from thinktuning.analysis.gallery import GALLERY
    from thinktuning.data.questions import check_unchanged
    from thinktuning.io.errors import StudyError
    from thinktuning.io.files import StrictLoader
    from thinktuning.io.kept import forget, set_aside
    from thinktuning.io.provenance import installed_version
    from thinktuning.study.jobs import ModelJob, sealed, to_json
    from thinktuning.study.points import sweep_job
    from thinktuning.study.reading import extended, laid_over, parse_study, read_values
    from thinktuning.study.sharing import elsewhere, homes, place

    HAS_PACKAGE = True
except ModuleNotFoundError as error:
    if workflow.check_envvars:  # false in `snakemake --lint`, which needs no study
        raise WorkflowError(
            f"There is no module {error.name} where snakemake runs: install the package thinktuning"
            " there, e.g. pip install PATH_OF_A_CLONE (docs/install.md)"
        ) from None
    HAS_PACKAGE, GALLERY = False, {}


RULES = workflow.current_basedir  # in a module of another workflow it may be in a repository


def own_file(path):
    """Return the local path of one of the workflow's files, given relative to its rules."""
    source = RULES.join(path)
    if isinstance(source, LocalSourceFile):
        return os.path.normpath(source.get_path_or_uri(secret_free=True))
    return workflow.sourcecache.get_path(source)


# A study given with --configfile, complete or with `extends`, replaces the default one and is never
# merged with it. A second file is merged over the first, e.g. what `thinktuning plan --write` wrote.
# In a module of another workflow the study is that module's `config`.
if workflow.modifier.is_main_snakefile() and not workflow.overwrite_configfiles:
    beside = f"{workflow.basedir}/config.yaml"  # the Snakefile that was called

    configfile: beside if os.path.exists(beside) else own_file("../../config.yaml")


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


def retyped(values, overrides):
    """Return a module's configuration with YAML types where `--config` has set it."""
    found = dict(values)
    for key, override in overrides.items():
        if isinstance(override, dict) and isinstance(values.get(key), dict):
            found[key] = retyped(values[key], override)
        elif key in values and values[key] == override:
            found[key] = with_types(override)
    return found


def given_study():
    """Return the study: of the files and overrides that Snakemake was given, or a module's."""
    overrides = workflow.config_settings.config
    if not workflow.modifier.is_main_snakefile():
        if not config:
            raise WorkflowError(
                "The module of thinktuning has no study: give it one with `config: config`"
            )
        values = retyped(config, overrides)
        return parse_study(extended(values, Path(), "config"), "The module's config")
    # Snakemake's own merge knows no `extends`
    layers = [(str(path), read_values(path)) for path in workflow.configfiles]
    layers += [("--config", with_types(dict(overrides)))] * bool(overrides)
    return parse_study(laid_over(layers), " + ".join(name for name, _ in layers))


def unread():
    """Return what stands in for a study where the package is missing: rules without jobs."""
    stage = SimpleNamespace(threads=1, mem_mb=1, runtime=1, gpu=0)
    stage.num_processes = stage.threads_of_process = 1
    names = ("data", "model", "train", "evaluate", "compare")
    study = SimpleNamespace(
        methods={},
        tasks={},
        seeds=[],
        sweep=None,
        judge=None,
        warmup=None,
        comparison=SimpleNamespace(baselines=[], confidence=0.95),
        resources=SimpleNamespace(**dict.fromkeys(names, stage)),
    )
    study.models = study.budgets = dict
    study.trained = list
    study.points = lambda: {"": study}
    return study


if not HAS_PACKAGE:
    STUDY = unread()
else:
    try:
        STUDY = given_study()
    except StudyError as error:
        raise WorkflowError(str(error)) from None

POINTS = STUDY.points()
HOMES = homes(POINTS) if HAS_PACKAGE else {}
BUDGETS = {point: study.budgets() for point, study in POINTS.items()}
MODELS = {name for study in POINTS.values() for name in study.models()}
EVALUATION_DATA = expand("eval/{task}.jsonl", task=STUDY.tasks)
