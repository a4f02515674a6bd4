"""Results that were made from different models, data or prompts are not compared."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from answered_study import BASE, METHOD, study, write_results

from thinktuning.analysis.inputs import check_inputs, check_records
from thinktuning.io.errors import StudyError
from thinktuning.io.files import sha256

RUN = "runs/method/seed1/provenance.json"
ZERO_SHOT = "eval/base/seed0/sums/results.json"
EVALUATED = "eval/method/seed1/sums/results.json"


@pytest.fixture
def job(tmp_path):
    job = study([0, 1], ["sums", "longer"])
    correct = {("base", 0, task): BASE for task in job.tasks}
    correct |= {("method", seed, task): METHOD for task in job.tasks for seed in (0, 1)}
    write_results(tmp_path, job, correct)
    return job


def test_results_that_belong_together_are_compared(job, tmp_path):
    check_inputs(job, tmp_path)


@pytest.mark.parametrize(
    ("path", "key", "message"),
    [
        (RUN, "model", "base models"),
        (ZERO_SHOT, "model", "base models"),
        (RUN, "data", "training questions"),
        (RUN, "prompt", "prompts"),
        (RUN, "teacher_prompt", "prompts of the teacher"),
        (RUN, "teacher_model", "models of the teacher"),
        (EVALUATED, "model", "models"),
        (EVALUATED, "data", "questions of sums"),
        (ZERO_SHOT, "data", "questions of sums"),
        (EVALUATED, "prompt", "prompts"),
        (ZERO_SHOT, "prompt", "prompts"),
    ],
)
def test_a_result_of_other_inputs_is_refused_by_name(job, tmp_path, path, key, message):
    file = Path(tmp_path / path)
    made = json.loads(file.read_text())
    made["inputs"][key] = "another"
    file.write_text(json.dumps(made))
    with pytest.raises(
        StudyError, match=rf"{path}.* come from different {message}, .*snakemake -R"
    ):
        check_inputs(job, tmp_path)


def test_a_model_that_was_replaced_is_refused(job, tmp_path):
    """A run that was trained again, and evaluations of the model before."""
    file = tmp_path / RUN
    made = json.loads(file.read_text())
    file.write_text(json.dumps(made | {"model_sha256": "another"}))
    with pytest.raises(StudyError, match=r"come from different models, .*`snakemake -R evaluate`"):
        check_inputs(job, tmp_path)


def test_answers_that_are_not_those_of_their_summary_are_refused(job, tmp_path):
    summary, other = tmp_path / EVALUATED, tmp_path / ZERO_SHOT
    samples = summary.with_name("samples.jsonl")
    made = json.loads(summary.read_text()) | {"samples_sha256": sha256(samples)}
    summary.write_text(json.dumps(made))
    check_inputs(job, tmp_path)
    lines = samples.read_text().splitlines(keepends=True)
    for text in ("".join(lines[:-2]), other.with_name("samples.jsonl").read_text()):
        samples.write_text(text)
        with pytest.raises(StudyError, match=r"samples\.jsonl: is not the file that results\.json"):
            check_inputs(job, tmp_path)


@pytest.mark.parametrize("check", [check_inputs, check_records])
def test_metrics_that_are_not_those_of_their_run_are_refused(job, tmp_path, check):
    metrics = (tmp_path / RUN).with_name("metrics.jsonl")
    made = json.loads((tmp_path / RUN).read_text())
    hashes = {"records_sha256": {metrics.name: sha256(metrics), "rollouts.jsonl": "no file here"}}
    (tmp_path / RUN).write_text(json.dumps(made | hashes))
    check(job, tmp_path)
    metrics.write_text("".join(metrics.read_text().splitlines(keepends=True)[:-1]))
    with pytest.raises(StudyError, match=r"metrics\.jsonl: is not the file that provenance\.json"):
        check(job, tmp_path)


def record(path: Path, **changes: Any) -> dict[str, Any]:
    """Add entries to a JSON file, and return it."""
    made: dict[str, Any] = json.loads(path.read_text()) | changes
    path.write_text(json.dumps(made))
    return made


@pytest.mark.parametrize(
    ("path", "own", "other"),
    [
        (RUN, {"method": "method", "seed": 1}, {"method": "base"}),
        (RUN, {"method": "method", "seed": 1}, {"seed": 0}),
        (ZERO_SHOT, {"method": "base", "seed": None, "task": "sums"}, {"method": "method"}),
        (ZERO_SHOT, {"method": "base", "seed": None, "task": "sums"}, {"task": "longer"}),
        (EVALUATED, {"method": "method", "seed": 1, "task": "sums"}, {"seed": 0}),
    ],
)
def test_a_copy_of_another_result_is_refused(job, tmp_path, path, own, other):
    """As of one untrained method's answers for those of another, which asks another prompt."""
    record(tmp_path / path, **own)
    check_inputs(job, tmp_path)
    record(tmp_path / path, **other)
    ((key, value),) = other.items()
    with pytest.raises(StudyError, match=rf"{path}: is of {key} {value}, and not of {own[key]}: "):
        check_inputs(job, tmp_path)


def test_answers_of_other_settings_are_refused(job, tmp_path):
    """Of the same model and questions, but sampled otherwise, as in another study."""
    summary = tmp_path / EVALUATED
    config = summary.with_name("config.json")
    config.write_text('{"temperature": 1.0}\n')
    inputs = {key: json.loads(summary.read_text())["inputs"][key] for key in ("data", "model")}
    text = config.read_text() + json.dumps(inputs)
    record(summary, fingerprint=hashlib.sha256(text.encode()).hexdigest())
    check_inputs(job, tmp_path)
    config.write_text('{"temperature": 0.5}\n')
    with pytest.raises(StudyError, match=r"results\.json: was not made with the config\.json"):
        check_inputs(job, tmp_path)


def test_a_run_of_other_settings_is_refused(job, tmp_path):
    config = (tmp_path / RUN).with_name("config.json")
    config.write_text('{"learning_rate": 1.0}')
    record(tmp_path / RUN, records_sha256={config.name: sha256(config)})
    check_inputs(job, tmp_path)
    config.write_text('{"learning_rate": 2.0}')
    with pytest.raises(StudyError, match=r"config\.json: is not the file .*snakemake -R .*config"):
        check_inputs(job, tmp_path)


def test_runs_in_different_numbers_of_processes_are_refused(job, tmp_path):
    """After `resources.train.gpu` was raised, when some seeds were trained."""
    first = tmp_path / RUN.replace("seed1", "seed0")
    record(first, num_processes=4)
    check_inputs(job, tmp_path)  # the other is of an earlier version, which did not say
    record(tmp_path / RUN, num_processes=1)
    with pytest.raises(StudyError, match=r"come from different numbers of training processes, "):
        check_inputs(job, tmp_path)
    record(tmp_path / RUN, num_processes=4)
    check_inputs(job, tmp_path)
