"""Valid studies, and the keys that the default study shows."""

import subprocess
import sys
from typing import get_args, get_origin

import pytest
import yaml
from edited_study import DEFAULT, ROOT, STUDIES, STUDY_OF, edited
from pydantic import BaseModel

from thinktuning.io.errors import DISCRIMINATORS
from thinktuning.study.jobs import ModelJob, to_json
from thinktuning.study.reading import load_study, parse_study
from thinktuning.study.study import Study


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_every_study_in_the_repository_resolves(path):
    study = load_study(path)
    jobs = [
        study.data_job(),
        study.compare_job(),
        ModelJob(model=study.model),
        *(study.train_job(method, seed) for method in study.methods for seed in study.seeds),
        *(
            study.evaluate_job(method, seed, task)
            for method in study.methods
            for seed in (study.seeds if method in study.trained() else [None])
            for task in study.tasks
        ),
    ]
    for job in jobs:
        assert type(job).model_validate_json(to_json(job)) == job


def test_the_numbers_of_batches_steps_and_seeds():
    study = parse_study(DEFAULT, "study.yaml")
    assert study.trained() == ["grpo", "thinktuning"]
    training = study.training
    # 96 * 2 completions, 8 per prompt; two optimizer steps use them; 80 / 2 batches
    assert training.generation_batch_size == 192
    assert training.optimizer_steps_per_rollout_batch == 2
    assert training.num_rollout_batches == 40
    seeds = {"zero_shot": [], "zero_shot_reflect": [], "grpo": [0, 1, 2], "thinktuning": [0, 1, 2]}
    assert study.compare_job().seeds == seeds
    assert study.compare_job().evaluated_seeds == {
        name: each or [0] for name, each in seeds.items()
    }
    labels = {"zero_shot": "zero_shot", "grpo": "GRPO", "thinktuning": "thinktuning"}
    assert labels.items() <= study.compare_job().methods.items()


@pytest.mark.parametrize("name", ["controls", "ablations", "distillation"])
def test_studies_in_the_default_studys_directory_reuse_its_runs(name):
    """A job that both studies have resolves to the same config, so its results are reused."""
    default, other = (load_study(path) for path in (ROOT / "config.yaml", STUDY_OF[name]))
    assert default.models() == other.models()
    assert default.data_job().data == other.data_job().data
    for method in ("grpo", "thinktuning"):
        assert default.train_job(method, 2) == other.train_job(method, 2)
    for method in ("zero_shot", "thinktuning"):
        for task in default.tasks:
            assert default.evaluate_job(method, 0, task) == other.evaluate_job(method, 0, task)
    assert default.data_job() == other.data_job()


def test_methods_may_have_their_own_teachers():
    another = {"backend": "model", "model": {"source": "path", "path": "x"}}
    own = {"teacher": {"backend": "self", "model": None}}
    values = edited("teacher", DEFAULT["teacher"] | another)
    values["methods"] |= {"thinktuning": own, "other_teacher": {}}
    models = parse_study(values, "study.yaml").models()
    assert list(models) == ["base", "teacher_other_teacher"]
    assert models["teacher_other_teacher"].path == "x"


def test_the_exemplars_of_teachers_in_use_are_checked():
    values = edited("teacher.prompt", "a")  # that of methods without a teacher
    for prompt in ("paper", "organism"):
        values["methods"][prompt] = {"teacher": {"prompt": prompt}}
    del values["methods"]["thinktuning"]
    job = parse_study(values, "study.yaml").exemplars_job()
    assert job.teacher_prompts == ["organism", "paper"]


def test_scientific_notation_without_a_point_is_a_number():
    value = yaml.safe_load("1e-5")
    assert value == "1e-5"  # a string in YAML 1.1
    study = parse_study(edited("training.learning_rate", value), "study.yaml")
    assert study.training.learning_rate == 0.00001


def test_importing_a_study_imports_neither_torch_nor_transformers_nor_trl():
    code = "import sys, thinktuning.study.study; print(*{n.split('.')[0] for n in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "thinktuning" in imported
    assert not imported & {"torch", "transformers", "trl", "datasets", "lm_eval", "numpy"}


def test_the_default_study_shows_every_key():
    """Except the keys of sections that are null there, which the documentation shows."""

    def missing(kind, values, path=""):
        for name, field in kind.model_fields.items():
            if name not in values:
                yield f"{path}{name}"
            elif isinstance(values[name], dict) and get_origin(field.annotation) is not dict:
                for section in get_args(field.annotation) or [field.annotation]:
                    if isinstance(section, type) and is_of(section, values[name]):
                        yield from missing(section, values[name], f"{path}{name}.")

    def is_of(section, values):
        """Return whether the values' `type` or `source` selects a section class."""
        if not issubclass(section, BaseModel):
            return False
        tags = {name: section.model_fields.get(name) for name in DISCRIMINATORS}
        return all(values[n] in get_args(f.annotation) for n, f in tags.items() if f)

    # the `self` backend needs neither; a stage without a section has modest defaults
    optional = {"teacher.model", "teacher.openai", "resources.data", "resources.compare"}
    optional |= {f"resources.{stage}.gpu" for stage in ("model", "train", "evaluate")}
    optional |= {"resources.train.distributed", "resources.train.nodes"}
    assert set(missing(Study, DEFAULT)) - optional == set()
