"""What would be wrong only in the tables, or fail only in a job, is marked or refused at once."""

import pytest
from edited_study import DEFAULT, TASK, edited, message, refusal

from thinktuning.study.points import sweep_job
from thinktuning.study.reading import parse_study

OFF = {"init": 0.0, "min": 0.0}


def test_a_schedule_that_never_guides_is_known_to_the_comparison():
    study = parse_study(edited("methods.mine", {"algorithm": {"schedule": OFF}}), "test")
    assert study.compare_job().unguided == ["mine"]
    study = parse_study(DEFAULT, "test")
    assert "unguided" not in study.compare_job().model_dump()


def test_each_point_of_a_sweep_knows_its_own():
    points = {"off": {"algorithm.schedule": OFF | {"cutoff": None}}, "on": {"training.beta": 0.1}}
    study = parse_study(edited("sweep", {"points": points}), "test")
    job = sweep_job(study, {point: {} for point in points})
    assert {point: job.at(point).unguided for point in points} == {"off": ["thinktuning"], "on": []}


def test_two_tasks_do_not_ask_the_same():
    expected = "tasks.sums and tasks.again have the same data: the mean of tasks would count each"
    assert refusal("tasks.again", TASK | {"num_samples": 1}).startswith(expected)


@pytest.mark.parametrize("key", ["size", "limit"])
def test_a_task_has_two_questions(key):
    gym = {name: value for name, value in TASK["data"].items() if name != "size"}
    data = {"size": gym, "limit": {"source": "jsonl", "path": "rows.jsonl"}}[key]
    study = edited("tasks.one", TASK | {"data": data | {key: 1}})
    assert f"tasks.one.data.{key} = 1: a difference on a single question has no" in message(study)
    assert parse_study(edited("tasks.one", TASK | {"data": data | {key: 2}}), "test")


@pytest.mark.parametrize(
    ("path", "value", "expected"),
    [
        ("data.train.seed", -1, "data.train.seed: Input should be greater than or equal to 0"),
        ("training.max_steps", 10, "training: warmup_steps = 10 is not below max_steps = 10, so"),
        (
            "training.lora",
            {"lora_dropout": 1.0},
            "training.lora.lora_dropout: Input should be less",
        ),
        (
            "training.lora",
            {"target_modules": []},
            "training.lora.target_modules: names no module; list some, e.g. [q_proj, v_proj], or",
        ),
        ("training.lora", {"target_modules": ""}, "training.lora.target_modules: names no module"),
        (
            "training.lora",
            {"target_modules": "q("},
            "training.lora.target_modules: is no regular expression (missing )",
        ),
        *(
            (
                "evaluation",
                DEFAULT["evaluation"] | {"backend": backend, "model_args": {key: value}},
                f"evaluation: model_args.{key} = {value!r} is no dtype of {backend}; choose from",
            )
            for backend, key, value in [
                ("hf", "dtype", "bflot16"),
                ("hf", "softmax_dtype", "auto"),
                ("vllm", "dtype", "float64"),
                ("hf", "dtype", ["float32"]),
            ]
        ),
        *(
            (
                "evaluation",
                DEFAULT["evaluation"] | {"backend": backend, "model_args": {key: value}},
                f"evaluation: model_args.{key} = {value!r} should be {form}",
            )
            for backend, key, value, form in [
                ("hf", "parallelize", "no", "true or false"),
                ("vllm", "enforce_eager", 1, "true or false"),
                ("vllm", "gpu_memory_utilization", "5e-1", "a number, as 0.5"),
                ("hf", "max_length", True, "a number, as 0.5"),
            ]
        ),
    ],
)
def test_what_a_job_would_find_out_is_refused_with_its_path(path, value, expected):
    assert refusal(path, value).startswith(expected)
