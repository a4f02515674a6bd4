"""The section `training.budget`: what it may say, and to which methods it may refer."""

import copy
import json

import pytest
from edited_study import DEFAULT, STUDY_OF, edited, message, refusal

from thinktuning.study.jobs import TrainJob, to_json
from thinktuning.study.reading import load_study, parse_study, resolved_yaml
from thinktuning.study.training import TrainingConfig


def budget_of(study, method):
    return study.train_job(method, 0).training.budget


@pytest.mark.parametrize(
    ("budget", "expected"),
    [
        ({}, "limits nothing; give one of tokens, scored_tokens, as, scored_as"),
        ({"tokens": None}, "limits nothing"),
        ({"tokens": 0}, "budget.tokens: Input should be greater than 0"),
        ({"tokens": 1.5}, "budget.tokens: Input should be a valid integer"),
        ({"tokens": 5, "as": "grpo"}, "tokens = 5 and as = grpo limit the same tokens; remove"),
        ({"scored_tokens": 5, "scored_as": "grpo"}, "scored_tokens = 5 and scored_as = grpo limit"),
        ({"token": 5}, "budget.token: unknown key; did you mean `tokens`?"),
        ({"as_": "grpo"}, "budget.as_: unknown key; did you mean `as`?"),
        (5, "training.budget: Input should be a valid dictionary"),
        ({"as": "grpoo"}, "training.budget.as names 'grpoo', which is not among the methods"),
        (
            {"scored_as": "zero_shot"},
            "training.budget.scored_as names 'zero_shot', which is not tr",
        ),
        ({"as": "thinktuning"}, "the budgets thinktuning -> thinktuning refer to each other"),
    ],
    ids=str,
)
def test_what_a_budget_cannot_say_is_refused(budget, expected):
    found = refusal("methods.thinktuning.training", {"budget": budget})
    assert "methods.thinktuning.training" in found and expected in found


def test_budgets_that_refer_to_each_other_are_refused():
    values = copy.deepcopy(DEFAULT)
    names = ["thinktuning", "grpo", "third"]
    for name, other in zip(names, [*names[1:], names[0]], strict=True):
        key = "as" if name != "grpo" else "scored_as"
        values["methods"].setdefault(name, {})["training"] = {"budget": {key: other}}
    text = message(values)
    assert "the budgets grpo -> third -> thinktuning -> grpo refer to each other" in text
    values["methods"]["third"]["training"] = {}
    study = parse_study(values, "test")  # a chain: grpo as third, thinktuning as grpo
    assert budget_of(study, "thinktuning").references() == {"tokens": "grpo"}
    assert budget_of(study, "grpo").references() == {"scored_tokens": "third"}


@pytest.mark.parametrize("kind", ["linear", "cosine", "polynomial"])
def test_a_learning_rate_that_falls_until_max_steps_is_refused(kind):
    settings = {"budget": {"tokens": 9}, "lr_scheduler_type": kind}
    expected = f"lr_scheduler_type = {kind} falls until max_steps, and a budget may end"
    assert expected in refusal("methods.grpo.training", settings)
    for other in ("constant", "constant_with_warmup", "inverse_sqrt"):
        settings |= {"lr_scheduler_type": other, "warmup_steps": 0}
        values = edited("methods.grpo.training", settings)
        assert budget_of(parse_study(values, "test"), "grpo").limits() == {"tokens": 9}


def test_an_order_of_questions_that_reaches_to_max_steps_is_refused():
    expected = "curriculum = numbers asks the easiest of all questions until max_steps first"
    settings = {"budget": {"tokens": 9}, "curriculum": "numbers"}
    assert expected in refusal("methods.grpo.training", settings)
    assert parse_study(edited("methods.grpo.training", {"curriculum": "numbers"}), "test")


def test_a_method_may_change_or_remove_the_studys_budget():
    values = edited("training.budget", {"tokens": 1000})
    values["methods"]["grpo"]["training"] = {"budget": None}
    values["methods"]["third"] = {"training": {"budget": {"scored_tokens": 70}}}
    values["methods"]["fourth"] = {"training": {"budget": {"tokens": None, "as": "grpo"}}}
    study = parse_study(values, "test")
    assert list(study.budgets()) == ["thinktuning", "third", "fourth"]
    assert budget_of(study, "third").limits() == {"tokens": 1000, "scored_tokens": 70}
    assert budget_of(study, "third").text() == "1,000 generated tokens or 70 scored tokens"
    assert budget_of(study, "fourth").text() == "as many generated tokens as grpo"
    for method in study.trained():
        job = study.train_job(method, 0)
        assert TrainJob.model_validate_json(to_json(job)) == job
    assert parse_study(_yaml(resolved_yaml(study)), "resolved") == study


def _yaml(text):
    import yaml

    return yaml.safe_load(text)


def test_a_job_without_a_budget_does_not_mention_it():
    """So that its results, of versions that knew no budget, stay those of this job."""
    study = parse_study(DEFAULT, "test")
    assert "budget" not in study.train_job("grpo", 0).model_dump()["training"]
    assert "betas" not in study.compare_job().model_dump()


def test_options_that_are_off_leave_a_job_as_it_was():
    """Another text would train again what an earlier version has trained."""
    job = json.loads(to_json(parse_study(DEFAULT, "test").train_job("thinktuning", 0)))
    keys = ["type", "select", "keep", "schedule", "mask", "max_untaught_batches", "aas"]
    assert list(job["algorithm"]) == keys
    assert not {"budget", "max_resamplings", "curriculum"} & job["training"].keys()
    assert TrainJob.model_validate(job) == parse_study(DEFAULT, "test").train_job("thinktuning", 0)


def test_the_example_reuses_the_runs_of_the_study_that_it_extends():
    found, default = load_study(STUDY_OF["budgets"]), load_study(STUDY_OF["config"])
    assert budget_of(found, "grpo_tokens").references() == {"tokens": "thinktuning"}
    assert budget_of(found, "grpo_scored").references() == {"scored_tokens": "thinktuning"}
    for method in ("grpo", "thinktuning"):
        assert found.train_job(method, 1) == default.train_job(method, 1)
    assert list(found.methods)[-3:] == ["grpo_tokens", "grpo_scored", "thinktuning"]


@pytest.mark.parametrize(
    ("changes", "passes"),
    [
        ({}, 2),
        ({"gradient_accumulation_steps": 2}, 1),
        ({"num_iterations": 2}, 3),
        ({"beta": 0.04}, 3),
        ({"gradient_accumulation_steps": 2, "vllm": {}}, 2),  # corrected by default
        ({"gradient_accumulation_steps": 2, "vllm": {"importance_sampling_correction": False}}, 1),
    ],
    ids=str,
)
def test_how_often_a_token_is_scored(changes, passes):
    section = DEFAULT["training"] | changes
    assert TrainingConfig.model_validate(section).scoring_passes == passes


def test_the_comparison_knows_the_weight_of_the_kl_term():
    values = edited("training.beta", 0.04)
    values["methods"]["grpo"]["training"] = {"beta": 0.0}
    job = parse_study(values, "test").compare_job()
    assert job.betas == {"grpo": 0.0, "thinktuning": 0.04}
    assert type(job).model_validate_json(to_json(job)) == job


@pytest.mark.parametrize("kind", ["sft", "rft", "dpo", "sdpo"])
def test_a_kl_term_for_a_loss_without_one_is_refused(kind):
    values = edited("training.beta", 0.04)
    values["methods"]["other"] = {"algorithm": {"type": kind}}
    expected = f"method other has training.beta = 0.04, but the loss of algorithm {kind} has no KL"
    assert expected in message(values)
    values["methods"]["other"]["training"] = {"beta": 0.0}
    assert parse_study(values, "test").train_job("other", 0).training.beta == 0
