"""Study files: what is accepted, what is refused and in which words, and what each job receives."""

import copy
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pydantic import BaseModel

from thinktuning.config import (
    CompareRun,
    DataRun,
    EvalRun,
    ModelRun,
    Run,
    Study,
    load_study,
    parse_study,
    read_config,
    to_json,
)
from thinktuning.errors import StudyError
from thinktuning.files import read_yaml

ROOT = Path(__file__).parents[1]
STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]
STUDY_OF = {path.stem: path for path in STUDIES}

# The default study, with what the tests below count on.
DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
DEFAULT["seeds"] = [0, 1, 2]
DEFAULT["training"] |= {"max_steps": 80, "save_steps": 20, "num_generations": 8}
DEFAULT["training"] |= {"per_device_train_batch_size": 96, "steps_per_generation": 2}
DEFAULT["training"] |= {"gradient_accumulation_steps": 1, "num_iterations": 1}
DEFAULT["guidance"]["schedule"] |= {"kind": "linear", "init": 0.4, "min": 0.05}
DEFAULT["model"] |= {"hidden_size": 128, "num_attention_heads": 4, "min_terms": 3}
TASK = DEFAULT["tasks"]["chain_sum"]
DEFAULT["tasks"] = {"sums": TASK, "long_sums": copy.deepcopy(TASK)}
DEFAULT["methods"] = {
    "zero_shot": {"train": False},
    "zero_shot_reflect": {"train": False, "prompt": {"suffix": " Check your answer."}},
    "grpo": {"label": "GRPO", "guidance": {"enabled": False}},
    "thinktuning": {},
}


def edited(path: str, value: Any) -> dict[str, Any]:
    """The default study with one key changed."""
    study = copy.deepcopy(DEFAULT)
    *parents, key = path.split(".")
    section = study
    for parent in parents:
        section = section[parent]
    section[key] = value
    return study


def message(study: Any) -> str:
    with pytest.raises(StudyError) as refused:
        parse_study(study, "study.yaml")
    return str(refused.value)


def refusal(path: str, value: Any) -> str:
    """The one line that says what is wrong with the default study, once edited."""
    heading, *lines = message(edited(path, value)).split("\n  ")
    assert heading == "study.yaml is not a valid study:"
    assert len(lines) == 1, lines
    return lines[0]


# --- what is accepted -----------------------------------------------------------------------------


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.name)
def test_every_study_of_the_repository_resolves(path):
    study = load_study(path)
    jobs = [
        study.data_config(),
        study.compare_config(),
        ModelRun(model=study.model),
        *(study.run_config(method, seed) for method in study.methods for seed in study.seeds),
        *(
            study.eval_config(method, seed, task)
            for method in study.methods
            for seed in (study.seeds if method in study.trained() else [None])
            for task in study.tasks
        ),
    ]
    for job in jobs:
        assert type(job).model_validate_json(to_json(job)) == job


def test_a_study_in_numbers():
    study = parse_study(DEFAULT, "study.yaml")
    assert study.trained() == ["grpo", "thinktuning"]
    training = study.training
    # 96 * 2 completions of 8 for each prompt; two optimiser steps use them; 80 / 2 batches
    assert training.generation_batch_size == 192
    assert training.optimizer_steps_per_rollout_batch == 2
    assert training.num_rollout_batches == 40
    seeds = {"zero_shot": [], "zero_shot_reflect": [], "grpo": [0, 1, 2], "thinktuning": [0, 1, 2]}
    assert study.compare_config().seeds == seeds
    assert study.compare_config().evaluated_seeds == {
        name: each or [0] for name, each in seeds.items()
    }
    labels = {"zero_shot": "zero_shot", "grpo": "GRPO", "thinktuning": "thinktuning"}
    assert labels.items() <= study.compare_config().methods.items()


@pytest.mark.parametrize("name", ["controls", "ablations"])
def test_studies_run_beside_the_default_one_share_its_runs(name):
    """In one directory, a job of both has one configuration: its results are taken as they are."""
    default, other = (load_study(path) for path in (ROOT / "config.yaml", STUDY_OF[name]))
    assert default.models() == other.models()
    assert default.data_config().data == other.data_config().data
    for method in ("grpo", "thinktuning"):
        assert default.run_config(method, 2) == other.run_config(method, 2)
    for method in ("zero_shot", "thinktuning"):
        for task in default.tasks:
            assert default.eval_config(method, 0, task) == other.eval_config(method, 0, task)
    assert default.data_config() == other.data_config()


def test_methods_bring_teachers_of_their_own():
    another = {"backend": "model", "model": {"source": "path", "path": "x"}}
    values = edited("methods.other_teacher", {"teacher": another})
    values["methods"]["off"] = {"teacher": another, "guidance": {"enabled": False}}
    models = parse_study(values, "study.yaml").models()
    assert list(models) == ["base", "teacher_other_teacher"]
    assert models["teacher_other_teacher"].path == "x"


def test_num_rollout_batches_rounds_up():
    study = edited("training.max_steps", 81)
    assert parse_study(study, "study.yaml").training.num_rollout_batches == 41


def test_the_data_job_knows_the_prompts_of_the_teachers_that_teach():
    values = edited("methods.paper", {"teacher": {"prompt": "paper"}})
    values["methods"]["untaught"] = {"teacher": {"prompt": "a"}, "guidance": {"enabled": False}}
    values["methods"]["untrained"] = {"teacher": {"prompt": "b"}, "train": False}
    job = parse_study(values, "study.yaml").data_config()
    assert job.teacher_prompts == ["organism", "paper"]


def test_scientific_notation_without_a_point_is_a_number():
    value = yaml.safe_load("1e-5")
    assert value == "1e-5"  # to YAML 1.1 it is text
    study = parse_study(edited("training.learning_rate", value), "study.yaml")
    assert study.training.learning_rate == 0.00001


def test_it_imports_neither_torch_nor_transformers_nor_trl():
    code = "import sys, thinktuning.config; print(*{n.split('.')[0] for n in sys.modules})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    imported = set(done.stdout.split())
    assert "thinktuning" in imported
    assert not imported & {"torch", "transformers", "trl", "datasets", "lm_eval", "numpy"}


# --- unknown keys ---------------------------------------------------------------------------------

HUB_DATA = {"source": "hub", "repo": "a/b", "revision": "0" * 40, "split": "test"}


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("prompts", {}, "prompts: unknown key; did you mean `prompt`?"),
        ("training.max_stepz", 1, "training.max_stepz: unknown key; did you mean `max_steps`?"),
        (
            "guidance.schedule.innit",
            0.1,
            "guidance.schedule.innit: unknown key; did you mean `init`?",
        ),
        ("data.train.sise", 1, "data.train.sise: unknown key; did you mean `size`?"),
        ("model.hiden_size", 1, "model.hiden_size: unknown key; did you mean `hidden_size`?"),
        (
            "tasks.sums.data.sead",
            1,
            "tasks.sums.data.sead: unknown key; did you mean `seed`?",
        ),
        (
            "tasks.sums.num_sample",
            1,
            "tasks.sums.num_sample: unknown key; did you mean `num_samples`?",
        ),
        (
            "methods.grpo.trainin",
            {},
            "methods.grpo.trainin: unknown key; did you mean `training`?",
        ),
        (
            "methods.grpo.training",
            {"learning_rat": 1e-5},
            "methods.grpo.training.learning_rat: unknown key; did you mean `learning_rate`?",
        ),
        (
            "methods.grpo.guidance",
            {"enabled": False, "schedule": {"kinds": "linear"}},
            "methods.grpo.guidance.schedule.kinds: unknown key; did you mean `kind`?",
        ),
        (
            "resources.train.thread",
            1,
            "resources.train.thread: unknown key; did you mean `threads`?",
        ),
        (
            "comparison.qqq",
            1,
            "comparison.qqq: unknown key; known keys: baselines, confidence, published, expected",
        ),
        # names that are also keys or sources of the schema
        (
            "methods.label",
            {"training": {"max_step": 1}},
            "methods.label.training.max_step: unknown key; did you mean `max_steps`?",
        ),
        (
            "methods.train",
            {"lable": "x"},
            "methods.train.lable: unknown key; did you mean `label`?",
        ),
        (
            "tasks.hub",
            {"lm_eval": "thinktuning_gsm8k", "num_samples": 1, "data": HUB_DATA | {"splits": "x"}},
            "tasks.hub.data.splits: unknown key; did you mean `split`?",
        ),
    ],
)
def test_an_unknown_key_is_refused_with_its_path_and_the_nearest_one(path, value, expected):
    assert refusal(path, value) == expected


def test_an_adapter_is_not_sharded():
    study = edited("training.lora", {"r": 8})
    study["resources"]["train"] |= {"gpu": 2, "distributed": "zero3"}
    with pytest.raises(StudyError, match=r"method grpo trains a LoRA adapter, .* take ddp"):
        parse_study(study, "test")
    study["resources"]["train"]["gpu"] = 1
    assert parse_study(study, "test")
    study["resources"]["train"]["nodes"] = 2
    with pytest.raises(StudyError, match=r"take ddp"):
        parse_study(study, "test")


def test_every_mistake_is_listed():
    study = edited("training.max_stepz", 1)
    del study["prompt"]
    study["seeds"] = "0"
    lines = message(study).split("\n  ")[1:]
    assert sorted(lines) == [
        "prompt: is required and missing",
        "seeds: Input should be a valid list (found '0')",
        "training.max_stepz: unknown key; did you mean `max_steps`?",
    ]


# --- wrong values ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("training.max_steps", "80", "training.max_steps: Input should be a valid integer"),
        ("training.max_steps", 80.5, "training.max_steps: Input should be a valid integer"),
        ("training.max_steps", True, "training.max_steps: Input should be a valid integer"),
        ("training.max_steps", 0, "training.max_steps: Input should be greater than 0"),
        ("training.bf16", "yes", "training.bf16: Input should be a valid boolean"),
        ("training.learning_rate", "fast", "training.learning_rate: Input should be a valid numb"),
        ("training.learning_rate", float("inf"), "training.learning_rate: Input should be a finit"),
        ("training.learning_rate", "nan", "training.learning_rate: Input should be a finite numb"),
        ("training.loss_type", "grop", "training.loss_type: Input should be 'grpo', 'bnpo'"),
        ("training.lr_scheduler_type", "cosin", "training.lr_scheduler_type: Input should be 'c"),
        ("guidance.schedule.init", 1.5, "guidance.schedule.init: Input should be less than or eq"),
        ("prompt", "Think.", "prompt: Input should be a valid dictionary"),
        ("methods.grpo.training", None, "methods.grpo.training: Input should be a valid dictionar"),
        ("methods.grpo.guidance", {"select": 1}, "methods.grpo.guidance.select: Input should be"),
        ("methods.Bad-Name", {}, "methods.Bad-Name: String should match pattern"),
        ("model.source", "zip", "model.source: should be one of 'organism', 'path', 'hub', 'packa"),
        ("model", {"path": "x"}, "model.source: is required and missing"),
        ("model", {"source": "path"}, "model.path: is required and missing"),
        ("model", {"source": "path", "path": 3}, "model.path: Input should be a valid string"),
        ("data.train", {"source": "jsonl"}, "data.train.path: is required and missing"),
        ("data.train", HUB_DATA | {"revision": "main"}, "data.train.revision: String should matc"),
        ("tasks.sums.lm_eval", "gsm8k", "tasks.sums.lm_eval: there is no such task"),
        ("seeds", [], "seeds: List should have at least 1 item"),
        ("seeds", [0, 1, 0], "seeds [0, 1, 0] repeat"),
        ("seeds", [0, -1], "seeds.1: Input should be greater than or equal to 0 (found -1)"),
        ("methods", {}, "methods: Dictionary should have at least 1 item"),
        ("comparison.baselines", ["base"], "comparison.baselines names ['base'], not among"),
        (
            "comparison.published",
            {"thinktuning": {"grpo": {"gsm8k": 2.0}}},
            "comparison.published names the task 'gsm8k', which is not among the study's",
        ),
        (
            "comparison.expected",
            {"zeroshot": {"chain_sum": [1, 2]}},
            "comparison.expected names the method 'zeroshot'",
        ),
        ("tasks.mean", TASK, "tasks.mean: rename it; in `comparison`, mean is that of the tasks"),
        ("judge", {"backend": "openai"}, "judge: backend: openai needs the section judge.openai"),
        ("judge", {"backend": "self"}, "judge.backend: Input should be 'model' or 'openai'"),
        ("evaluation.temperature", 0, "evaluation.temperature = 0 gives the same answer"),
        # contradictions between keys
        ("training.num_generations", 1, "training.num_generations: Input should be greater than"),
        (
            "training.num_generations",
            7,  # 96 * 2 = 192 = 27 * 7 + 3
            "training: per_device_train_batch_size * steps_per_generation = 192 is not a multiple"
            " of num_generations = 7: a group would be split; change one of the three",
        ),
        (
            "training.gradient_accumulation_steps",
            3,
            "training: steps_per_generation * num_iterations = 2 is not a multiple of"
            " gradient_accumulation_steps = 3",
        ),
        (
            "training.save_steps",
            5,
            "training: save_steps = 5 is not a multiple of the 2 optimiser steps",
        ),
        ("methods.grpo.training", {"num_generations": 1}, "methods.grpo.training.num_generations:"),
        ("methods.grpo.training", {"num_generations": 5}, "methods.grpo.training: per_device_trai"),
        ("methods.grpo.training", {"num_iterations": 3}, "methods.grpo.training: save_steps = 20"),
        ("guidance.schedule.min", 0.5, "guidance.schedule: min = 0.5 is above init = 0.4"),
        (
            "methods.thinktuning.guidance",
            {"schedule": {"init": 0.01}},
            "methods.thinktuning.guidance.schedule: min = 0.05 is above init = 0.01",
        ),
        ("teacher.backend", "model", "teacher: backend: model needs the section teacher.model"),
        ("teacher.backend", "openai", "teacher: backend: openai needs the section teacher.openai"),
        (
            "teacher.openai",
            {"base_url": "http://localhost:8000/v1", "model": "tutor"},
            "teacher: the section teacher.openai is for backend: openai, and the backend is self",
        ),
        ("teacher.openai", {"base_url": "localhost", "model": "m"}, "teacher.openai.base_url: St"),
        ("teacher.behaviours", {"doubt": 1}, "teacher.behaviours.doubt: "),
        ("training.vllm", {"mode": "server"}, "training.vllm: mode: server needs server_base_url"),
        ("training.vllm", {"server_base_url": "http://x"}, "training.vllm: mode: server needs"),
        ("training.lora", {"r": 0}, "training.lora.r: Input should be greater than 0"),
        ("training.lora", {"rank": 8}, "training.lora.rank: unknown key"),
        ("model.max_terms", 2, "model: max_terms is smaller than min_terms"),
        ("model.student_share", 0.9, "model: student_share + check_share leave nothing"),
        ("model.num_attention_heads", 3, "model: hidden_size = 128 is not a multiple of 2 * num"),
    ],
)
def test_a_wrong_value_is_refused_with_its_path(path, value, expected):
    assert refusal(path, value).startswith(expected)


def test_a_study_that_is_no_mapping():
    assert message(["seeds"]) == "study.yaml: expected a mapping of keys, found list"
    assert message(None).startswith("study.yaml: is empty")


def test_a_missing_file():
    with pytest.raises(StudyError, match=r"^no/study\.yaml: cannot be read \(No such file"):
        load_study("no/study.yaml")


def test_invalid_yaml_names_the_line(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("name: x\nseeds: [0\ndata: 1\n")
    with pytest.raises(StudyError, match=r"study\.yaml: is not valid YAML: (?s:.*)line 3"):
        load_study(path)
    path.write_bytes(b"name: \xff\n")
    with pytest.raises(StudyError, match="is not valid YAML"):
        load_study(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("methods:\n  a: {}\n  b: {}\n  a: {}\n", "the key 'a' a second time; (?s:.*)line 4"),
        ("a: 1\n'a': 2\n", "found the key 'a' a second time"),
        ("name: 2024-99-99\n", "month must be in 1..12"),
        ("[" * 5000, "recursion"),
    ],
)
def test_yaml_that_python_cannot_hold(tmp_path, text, message):
    path = tmp_path / "study.yaml"
    path.write_text(text)
    with pytest.raises(StudyError, match=rf"study\.yaml: is not valid YAML: (?s:.*){message}"):
        read_yaml(path)


def test_an_anchor_may_be_merged_and_its_keys_replaced(tmp_path):
    path = tmp_path / "study.yaml"
    path.write_text("a: &a {x: 1, y: 2}\nb: &b {<<: *a, x: 3}\nc: {<<: *b, y: 4}\n")
    assert read_yaml(path)["c"] == {"x": 3, "y": 4}


# --- what each job receives -----------------------------------------------------------------------


def resolved(values: dict[str, Any]) -> dict[tuple, str]:
    """Every job's configuration, as text."""
    study = parse_study(values, "study.yaml")
    runs = {("run", m, s): study.run_config(m, s) for m in study.methods for s in study.seeds}
    evals = {
        ("eval", m, s, t): study.eval_config(m, s, t)
        for m in study.methods
        for s in study.seeds
        for t in study.tasks
    }
    other = {("data",): study.data_config(), ("compare",): study.compare_config()}
    return {name: to_json(job) for name, job in (runs | evals | other).items()}


def changed(path: str, value: Any) -> set[tuple]:
    before, after = resolved(DEFAULT), resolved(edited(path, value))
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_an_override_changes_its_method_alone():
    runs = {("run", "thinktuning", seed) for seed in (0, 1, 2)}
    assert changed("methods.thinktuning.training", {"learning_rate": 3e-5}) == runs
    asked = changed("methods.thinktuning.prompt", {"suffix": " Think."})
    assert {name[1] for name in asked} == {"thinktuning"}
    assert {name[0] for name in asked} == {"run", "eval"}


def test_an_edit_of_the_evaluation_leaves_the_training_untouched():
    assert {name[0] for name in changed("evaluation.temperature", 0.5)} == {"eval"}
    assert {name[0] for name in changed("tasks.sums.num_samples", 8)} == {"eval"}
    assert {name[3] for name in changed("tasks.sums.num_samples", 8)} == {"sums"}
    assert changed("comparison.confidence", 0.9) == {("compare",)}
    assert changed("methods.grpo.label", "baseline") == {("compare",)}
    assert changed("resources.train.threads", 2) == set()


def test_an_override_is_merged_at_every_depth():
    study = parse_study(
        edited("methods.thinktuning.guidance", {"schedule": {"init": 0.3}}), "study.yaml"
    )
    schedule = study.run_config("thinktuning", 0).guidance.schedule
    assert (schedule.init, schedule.min, schedule.kind) == (0.3, 0.05, "linear")
    assert study.run_config("thinktuning", 0).guidance.aas.variant == "released"
    assert not study.run_config("grpo", 0).guidance.enabled
    assert study.guidance.schedule.init == 0.4


def test_another_source_replaces_the_teachers_model():
    values = edited("teacher.backend", "model")
    values["teacher"]["model"] = {"source": "path", "path": "tutor"}
    hub = {"source": "hub", "repo": "a/b", "revision": "0" * 40}
    values["methods"]["thinktuning"] = {"teacher": {"model": hub}}
    values["methods"]["grpo"] = {"teacher": {"model": {"path": "other"}}}
    study = parse_study(values, "study.yaml")
    assert study.run_config("thinktuning", 0).teacher.model.model_dump() == hub
    assert study.run_config("grpo", 0).teacher.model.path == "other"

    values["methods"]["grpo"] = {"teacher": {"backend": "self"}}
    assert "remove one; in a method, model: null removes the study's" in message(values)
    values["methods"]["grpo"]["teacher"]["model"] = None
    assert parse_study(values, "study.yaml").run_config("grpo", 0).teacher.model is None


def test_eval_config_has_the_methods_prompt_and_the_tasks_samples():
    study = parse_study(edited("tasks.long_sums.num_samples", 3), "study.yaml")
    run = study.eval_config("zero_shot_reflect", None, "long_sums")
    assert (run.seed, run.num_samples, run.lm_eval) == (None, 3, "thinktuning_chain_sum")
    assert run.prompt.suffix == " Check your answer."


# --- resolved configurations on disk --------------------------------------------------------------


def test_a_resolved_configuration_survives_its_file(tmp_path):
    study = parse_study(edited("prompt.system", "Réfléchis: \\boxed{} 'x' \"y\" π"), "study.yaml")
    jobs = {
        Run: study.run_config("thinktuning", 2),
        EvalRun: study.eval_config("zero_shot", None, "sums"),
        DataRun: study.data_config(),
        ModelRun: ModelRun(model=study.model),
        CompareRun: study.compare_config(),
    }
    for kind, job in jobs.items():
        path = tmp_path / f"{kind.__name__}.json"
        path.write_text(to_json(job), encoding="utf-8")
        assert read_config(path, kind) == job


def test_a_resolved_configuration_that_is_missing_or_damaged(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(StudyError, match=r"cannot be read .*`snakemake .*config\.json` writes it"):
        read_config(path, Run)
    path.write_text('{"method": "grpo",')
    with pytest.raises(StudyError, match="Invalid JSON") as refused:
        read_config(path, Run)
    assert '"method"' not in str(refused.value)  # not the whole file
    path.write_bytes(b"\xff")
    with pytest.raises(StudyError, match="is not UTF-8"):
        read_config(path, Run)
    job = parse_study(DEFAULT, "study.yaml").run_config("grpo", 0)
    path.write_text(json.dumps(job.model_dump() | {"sead": 0}))
    with pytest.raises(StudyError, match="sead: unknown key; did you mean `seed`"):
        read_config(path, Run)


def test_the_default_study_shows_every_key():
    """Sections that are null there are shown in the documentation instead."""

    def missing(kind, values, path=""):
        for name, field in kind.model_fields.items():
            if name not in values:
                yield f"{path}{name}"
            elif isinstance(values[name], dict):
                section = field.annotation
                if isinstance(section, type) and issubclass(section, BaseModel):
                    yield from missing(section, values[name], f"{path}{name}.")

    # its own backend needs neither; a stage without a section has modest defaults
    optional = {"teacher.model", "teacher.openai", "resources.data", "resources.compare"}
    optional |= {f"resources.{stage}.gpu" for stage in ("base", "train", "evaluate")}
    optional |= {"resources.train.distributed", "resources.train.nodes"}
    assert set(missing(Study, DEFAULT)) - optional == set()
