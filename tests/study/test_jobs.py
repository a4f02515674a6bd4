"""What each job receives, and resolved jobs on disk."""

import hashlib
import json
from typing import Any

import pytest
from edited_study import DEFAULT, edited, message

from thinktuning.algorithms.grpo import GRPOAlgorithmConfig
from thinktuning.algorithms.sft import SFTAlgorithmConfig
from thinktuning.io.errors import StudyError
from thinktuning.models.config import PathModelConfig
from thinktuning.study.jobs import (
    CompareJob,
    DataJob,
    EvaluateJob,
    ModelJob,
    TrainJob,
    read_config,
    sealed,
    to_json,
)
from thinktuning.study.reading import parse_study


def resolved(values: dict[str, Any]) -> dict[tuple, str]:
    """Return every job as JSON."""
    study = parse_study(values, "study.yaml")
    train = {("train", m, s): study.train_job(m, s) for m in study.methods for s in study.seeds}
    evaluate = {
        ("evaluate", m, s, t): study.evaluate_job(m, s, t)
        for m in study.methods
        for s in study.seeds
        for t in study.tasks
    }
    other = {("data",): study.data_job(), ("compare",): study.compare_job()}
    return {name: to_json(job) for name, job in (train | evaluate | other).items()}


def changed(path: str, value: Any) -> set[tuple]:
    """Return the jobs that change with one key of the study."""
    before, after = resolved(DEFAULT), resolved(edited(path, value))
    assert before.keys() == after.keys()
    return {name for name in before if before[name] != after[name]}


def test_an_override_only_changes_its_method():
    jobs = {("train", "thinktuning", seed) for seed in (0, 1, 2)}
    assert changed("methods.thinktuning.training", {"learning_rate": 3e-5}) == jobs
    jobs = changed("methods.thinktuning.prompt", {"suffix": " Think."})
    assert {name[1] for name in jobs} == {"thinktuning"}
    assert {name[0] for name in jobs} == {"train", "evaluate"}


def test_editing_the_evaluation_does_not_change_the_training():
    assert {name[0] for name in changed("evaluation.temperature", 0.5)} == {"evaluate"}
    assert {name[0] for name in changed("tasks.sums.num_samples", 8)} == {"evaluate"}
    assert {name[3] for name in changed("tasks.sums.num_samples", 8)} == {"sums"}
    assert changed("comparison.confidence", 0.9) == {("compare",)}
    assert changed("methods.grpo.label", "baseline") == {("compare",)}
    assert changed("resources.train.threads", 2) == set()


def sampling(values: dict[str, Any], task: str) -> tuple[float, int]:
    """Return the temperature and token budget that a task is asked with."""
    evaluation = parse_study(values, "study.yaml").evaluate_job("grpo", 0, task).evaluation
    return evaluation.temperature, evaluation.max_gen_toks


def test_a_tasks_sampling_stands_before_the_studys_and_that_before_the_files():
    section = DEFAULT["evaluation"]
    of_study = (section["temperature"], section["max_gen_toks"])
    own = edited("tasks.sums.max_gen_toks", 17)
    assert sampling(own, "sums") == (of_study[0], 17)
    assert {name[3] for name in changed("tasks.sums.temperature", 0.5)} == {"sums"}
    values = edited("evaluation.max_gen_toks", None)
    values["evaluation"]["temperature"] = None
    values["tasks"]["sums"] |= {"lm_eval": "thinktuning_aime", "temperature": 0.7}
    assert sampling(values, "sums") == (0.7, 8192)  # _boxed.yaml's is overridden by aime's
    values["tasks"]["sums"] |= {"lm_eval": "thinktuning_chain_sum", "temperature": None}
    assert sampling(values, "sums") == (1.0, 64)  # of _boxed.yaml, which the file includes


def test_an_override_is_merged_at_every_depth():
    study = parse_study(
        edited("methods.thinktuning.algorithm", {"schedule": {"init": 0.3}}), "study.yaml"
    )
    schedule = study.train_job("thinktuning", 0).algorithm.schedule
    assert (schedule.init, schedule.min, schedule.kind) == (0.3, 0.05, "linear")
    assert study.train_job("thinktuning", 0).algorithm.aas.variant == "released"
    assert study.train_job("grpo", 0).algorithm == GRPOAlgorithmConfig()
    assert study.algorithm.schedule.init == 0.4


def test_another_algorithm_keeps_the_keys_that_both_have():
    values = edited("algorithm.mask", "teacher")
    values["methods"]["sft"] = {"algorithm": {"type": "sft", "schedule": {"init": 0.3}}}
    study = parse_study(values, "study.yaml")
    sft = study.train_job("sft", 0).algorithm
    assert isinstance(sft, SFTAlgorithmConfig)
    assert (sft.schedule.init, sft.schedule.min, sft.mask) == (0.3, 0.05, "teacher")
    # ... and the same type keeps all of them
    values["methods"]["off"] = {"algorithm": {"type": "thinktuning", "aas": {"variant": "off"}}}
    off = parse_study(values, "study.yaml").train_job("off", 0).algorithm
    assert off == study.algorithm.model_copy(update={"aas": off.aas})
    assert off.aas == study.algorithm.aas.model_copy(update={"variant": "off"})


def test_another_source_replaces_the_teachers_model():
    values = edited("teacher.backend", "model")
    values["teacher"]["model"] = {"source": "path", "path": "tutor"}
    hub = {"source": "hub", "repo": "a/b", "revision": "0" * 40}
    values["methods"]["thinktuning"] = {"teacher": {"model": hub}}
    values["methods"]["grpo"] = {"teacher": {"model": {"path": "other"}}}
    study = parse_study(values, "study.yaml")
    assert study.train_job("thinktuning", 0).teacher.model.model_dump() == hub
    assert study.train_job("grpo", 0).teacher.model.path == "other"

    values["methods"]["grpo"] = {"teacher": {"backend": "self"}}
    assert "remove the section (in a method: model: null)" in message(values)
    values["methods"]["grpo"]["teacher"]["model"] = None
    assert parse_study(values, "study.yaml").train_job("grpo", 0).teacher.model is None


def test_an_evaluation_job_has_the_methods_prompt_and_the_tasks_samples():
    study = parse_study(edited("tasks.long_sums.num_samples", 3), "study.yaml")
    job = study.evaluate_job("zero_shot_reflect", None, "long_sums")
    assert (job.seed, job.num_samples, job.lm_eval) == (None, 3, "thinktuning_chain_sum")
    assert job.prompt.suffix == " Check your answer."


def test_a_job_survives_its_file(tmp_path):
    study = parse_study(edited("prompt.system", "Réfléchis: \\boxed{} 'x' \"y\" π"), "study.yaml")
    jobs = {
        TrainJob: study.train_job("thinktuning", 2),
        EvaluateJob: study.evaluate_job("zero_shot", None, "sums"),
        DataJob: study.data_job(),
        ModelJob: ModelJob(model=study.model),
        CompareJob: study.compare_job(),
    }
    for kind, job in jobs.items():
        path = tmp_path / f"{kind.__name__}.json"
        path.write_text(to_json(job), encoding="utf-8")
        assert read_config(path, kind) == job


def test_a_job_whose_file_is_missing_or_damaged(tmp_path):
    path = tmp_path / "config.json"
    with pytest.raises(StudyError, match=r"cannot be read .*`snakemake .*config\.json` writes it"):
        read_config(path, TrainJob)
    path.write_text('{"method": "grpo",')
    with pytest.raises(StudyError, match="Invalid JSON") as refused:
        read_config(path, TrainJob)
    assert '"method"' not in str(refused.value)  # not the whole file
    path.write_bytes(b"\xff")
    with pytest.raises(StudyError, match="is not UTF-8"):
        read_config(path, TrainJob)
    job = parse_study(DEFAULT, "study.yaml").train_job("grpo", 0)
    path.write_text(json.dumps(job.model_dump() | {"sead": 0}))
    with pytest.raises(StudyError, match="sead: unknown key; did you mean `seed`"):
        read_config(path, TrainJob)


def test_a_sealed_job_has_the_content_of_the_files_that_it_names(tmp_path):
    questions = tmp_path / "train.jsonl"
    questions.write_text("one")
    values = edited("data.train", {"source": "jsonl", "path": str(questions)})
    job = sealed(parse_study(values, "study.yaml").data_job())
    assert job.sha256 == {str(questions): hashlib.sha256(b"one").hexdigest()}
    config = tmp_path / "config.json"
    config.write_text(to_json(job))
    assert read_config(config, DataJob) == job
    questions.write_text("two")
    with pytest.raises(StudyError, match=r"train\.jsonl: has changed since .*config\.json was"):
        read_config(config, DataJob)


def test_a_training_names_the_prompt_of_its_teacher_only():
    study = parse_study(DEFAULT, "study.yaml")
    assert sealed(study.train_job("grpo", 0)).sha256 == {}
    assert sealed(study.train_job("thinktuning", 0)).sha256.keys() == {"organism"}
    assert sealed(ModelJob(model=study.model)).sha256.keys() == {"organism"}
    evaluation = sealed(study.evaluate_job("grpo", 0, next(iter(study.tasks))))
    assert evaluation.sha256.keys() == {f"{evaluation.lm_eval}.yaml", "_boxed.yaml"}


def test_a_model_directory_is_hashed_file_by_file(tmp_path):
    for name in ("model.safetensors", "config.json", "provenance.json", "notes.md"):
        (tmp_path / name).write_text(name)
    job = ModelJob(model=PathModelConfig(source="path", path=str(tmp_path)))
    assert sealed(job).sha256.keys() == {
        str(tmp_path / name) for name in ("model.safetensors", "config.json")
    }
    absent = ModelJob(model=PathModelConfig(source="path", path="no/such"))
    assert sealed(absent).sha256 == {"no/such": None}
