"""Several tasks in one command: what is made, what stays; tasks do not affect each other."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from evaluate_job import evaluate_job

import thinktuning.commands.evaluate as stage
from thinktuning.commands import cli
from thinktuning.commands.evaluate import Evaluation, evaluate, evaluate_tasks
from thinktuning.evaluation.lm import recording_model
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl, write_jsonl
from thinktuning.study.jobs import to_json

NAMES = ("short", "long", "third")


@pytest.fixture
def tasks(tmp_path):
    """Three tasks with different questions and sampling."""
    found = []
    for i, name in enumerate(NAMES):
        data = tmp_path / f"{name}.jsonl"
        rows = [{"id": f"q{n}", "question": f"{n} + {i} =", "answer": str(n + i)} for n in range(5)]
        write_jsonl(data, rows)
        job = evaluate_job(max_gen_toks=8 + i, batch_size=3).model_copy(update={"task": name})
        found.append(Evaluation(job, data, tmp_path / "results" / name))
    return found


@pytest.fixture
def made(monkeypatch):
    """The tasks that are asked, in order; "load" for each loading of the model."""
    asked = []
    ask = stage.ask

    def recorded(job, *arguments):
        asked.append(job.task)
        return ask(job, *arguments)

    def loaded(*arguments):
        asked.append("load")
        return recording_model(*arguments)

    monkeypatch.setattr(stage, "ask", recorded)
    monkeypatch.setattr(stage, "recording_model", loaded)
    return asked


def samples(task):
    return (task.output / "samples.jsonl").read_bytes()


def results(task):
    return json.loads((task.output / "results.json").read_text())


def with_job(task, **changes):
    return replace(task, job=task.job.model_copy(update=changes))


def test_a_task_alone_has_the_answers_that_it_has_among_others(tasks, lively, tmp_path, made):
    evaluate_tasks(tasks, lively)
    assert made == ["load", *NAMES]
    for task in reversed(tasks):
        alone = replace(task, output=tmp_path / "alone" / task.job.task)
        evaluate(alone.job, lively, alone.data, alone.output)
        assert samples(alone) == samples(task)
    texts = [[row["text"] for row in read_jsonl(t.output / "samples.jsonl")] for t in tasks]
    assert len(set(map(tuple, texts))) == 3
    assert [results(task)["mean_tokens"] <= 8 + i for i, task in enumerate(tasks)] == [True] * 3


def test_only_what_is_not_valid_is_made(tasks, lively, tmp_path, made, capsys):
    evaluate_tasks(tasks, lively)
    before = [results(task) for task in tasks]
    made.clear()
    evaluate_tasks(tasks, lively)
    assert made == [] and [results(task) for task in tasks] == before
    assert capsys.readouterr().out.count("has these results already") == 3

    short, long, third = tasks
    long = with_job(long, num_samples=1)
    evaluate_tasks([short, long, third], lively)
    assert made == ["load", "long"] and results(long)["k"] == 1

    made.clear()
    write_jsonl(third.data, list(read_jsonl(third.data))[:2])
    (short.output / "samples.jsonl").unlink()
    evaluate_tasks([short, long, third], lively)
    assert made == ["load", "short", "third"] and results(third)["n"] == 2

    made.clear()
    (long.output / "results.json").write_text('{"cut": ')
    evaluate_tasks([short, long, third], lively)
    assert made == ["load", "long"]

    made.clear()
    other = Path(shutil.copytree(lively, tmp_path / "other"))
    weights = other / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + bytes(4))  # another last weight
    evaluate_tasks([short, long, third], other)
    assert made == ["load", *NAMES]
    assert not list(tmp_path.rglob(".*"))


def test_a_command_that_was_interrupted_makes_the_rest(tasks, lively, made, monkeypatch):
    short, long, _ = tasks
    ask = stage.ask

    def interrupted(job, *arguments):
        if job.task == "long":
            raise KeyboardInterrupt
        return ask(job, *arguments)

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(stage, "ask", interrupted)
        evaluate_tasks(tasks, lively)
    before = results(short)
    for name in stage.FILES:  # as Snakemake does after a failure
        (short.output / name).unlink()
    assert not long.output.exists()
    made.clear()
    evaluate_tasks(tasks, lively)
    assert made == ["load", "long", "third"]
    assert results(short) == before
    assert not list(short.output.glob(".*"))


def test_a_prompt_that_is_too_long_is_refused_before_the_first_answer(tasks, lively, made):
    tasks[2] = with_job(tasks[2], evaluation=evaluate_job(max_gen_toks=1020).evaluation)
    with pytest.raises(StudyError, match=r"third\.jsonl.* max_gen_toks = 1020"):
        evaluate_tasks(tasks, lively)
    assert made == ["load"]


@pytest.mark.parametrize(
    "change", [{"model_args": {"dtype": "bfloat16"}}, {"backend": "vllm"}, None]
)
def test_tasks_that_need_different_engines_are_refused(tasks, lively, change):
    changes = {"chat_template_kwargs": {"enable_thinking": False}}
    if change:
        changes = {"evaluation": tasks[1].job.evaluation.model_copy(update=change)}
    tasks[1] = with_job(tasks[1], **changes)
    with pytest.raises(StudyError, match="short and long differ in backend, model_args or"):
        evaluate_tasks(tasks, lively)


def test_the_command_takes_one_of_each_for_each_task(tasks, lively, monkeypatch, made):
    configs = []
    for task in tasks:
        task.output.mkdir(parents=True)
        configs.append(task.output / "config.json")
        configs[-1].write_text(to_json(task.job))

    def call(number):
        data, output = [task.data for task in tasks], [task.output for task in tasks]
        words = ["--model", lively, "--config", *configs, "--data", *data[:number]]
        words += ["--output", *output]
        monkeypatch.setattr("sys.argv", ["thinktuning", "evaluate", *map(str, words)])
        cli.main()

    with pytest.raises(SystemExit, match="found 3 --config, 2 --data and 3 --output"):
        call(2)
    assert made == []
    call(3)
    assert [results(task)["task"] for task in tasks] == list(NAMES)


# --- batch_size: auto -----------------------------------------------------------------------------


def test_auto_is_a_fixed_size_on_a_cpu(tasks, lively, tmp_path):
    task = tasks[0]
    sampling = task.job.evaluation
    sizes = {}
    for size in ("auto", 10, 64):
        changed = with_job(task, evaluation=sampling.model_copy(update={"batch_size": size}))
        sizes[size] = replace(changed, output=tmp_path / str(size))
        evaluate(sizes[size].job, lively, task.data, sizes[size].output)
    assert samples(sizes["auto"]) == samples(sizes[64]) == samples(sizes[10])
    assert results(sizes["auto"])["sampling"]["batch_size"] == 10  # all answers at once


def test_auto_halves_until_memory_suffices(tasks, lively, tmp_path, monkeypatch):
    """The answers are those of the size that fits, drawn anew from the seed."""
    task = tasks[0]
    tried = []

    def of_little_memory(*arguments):
        lm = recording_model(*arguments)
        generate = lm._model_generate

        def limited(context, **kwargs):
            tried.append(len(context))
            torch.rand(7)  # what an attempt draws before it fails
            if len(context) > 3:
                raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 9 GiB.")
            return generate(context=context, **kwargs)

        lm._model_generate = limited
        return lm

    monkeypatch.setattr(stage, "recording_model", of_little_memory)
    found = {}
    for size in ("auto", 2):
        sampling = task.job.evaluation.model_copy(update={"batch_size": size})
        found[size] = replace(with_job(task, evaluation=sampling), output=tmp_path / str(size))
        evaluate(found[size].job, lively, task.data, found[size].output)
    assert tried == [10, 5, *[2] * 5, *[2] * 5]
    assert samples(found["auto"]) == samples(found[2])
    assert results(found["auto"])["sampling"]["batch_size"] == 2
