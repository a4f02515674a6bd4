"""Steps that a token budget allows, by hand; and what `plan` says of them."""

import pytest
from planned_study import default_study, of_stage, write_pilot

from thinktuning.planning.budgets import budget_remarks, planned_job, planned_tokens
from thinktuning.planning.estimates import estimate_study

# 2 optimizer steps use a batch of 16 rollouts; prompts and answers have at most 64 tokens
SIZES = {"max_steps": 100, "per_device_train_batch_size": 8, "steps_per_generation": 2}
SIZES |= {"num_generations": 4, "save_steps": None}


def study(budget, **training):
    methods = {
        "grpo": {"algorithm": {"type": "grpo"}, "training": {"budget": budget}},
        "thinktuning": {"training": {"max_steps": 20}},
    }
    found = default_study(training=SIZES | training)
    return type(found).model_validate(
        found.model_dump() | {"methods": methods, "comparison": {"baselines": []}}
    )


def steps(found, results=None):
    return planned_job(found, "grpo", results).training.max_steps


def test_without_a_pilot_answers_have_their_longest_length():
    assert steps(study(None)) == 100
    # a batch generates 16 x 64 tokens, and scores 16 x (64 + 64) twice
    assert steps(study({"tokens": 3 * 1024})) == 3 * 2
    assert steps(study({"tokens": 3 * 1024 + 1})) == 4 * 2
    assert steps(study({"scored_tokens": 5 * 4096})) == 5 * 2
    assert steps(study({"scored_tokens": 5 * 4096, "tokens": 1})) == 2
    assert steps(study({"tokens": 10**9})) == 100
    train = of_stage(estimate_study(study({"tokens": 3 * 1024})), "train")
    assert train["grpo"].student_tokens == 3 * 3 * 1024  # three seeds
    assert train["grpo"].prompts == 3 * 3 * 4


def test_a_pilot_measures_them_and_the_run_that_a_budget_refers_to(tmp_path):
    write_pilot(tmp_path, "grpo", (500, 0, 100, 0))  # 5 tokens a rollout
    write_pilot(tmp_path, "thinktuning", (2000, 300, 100, 10))  # 20, and 3 of the teacher's
    found = study({"as": "thinktuning"})
    # 10 batches of 16 x 23 tokens; 16 x 5 a batch for GRPO
    assert planned_tokens(found, found.train_job("thinktuning", 0), tmp_path) == {
        "tokens": pytest.approx(10 * 16 * 23),
        "scored_tokens": pytest.approx(10 * 16 * 2 * (64 + 23)),
    }
    assert steps(found, tmp_path) == 2 * 46
    # 10 x (64 + 23) / (64 + 5) = 12.6 batches
    assert steps(study({"scored_as": "thinktuning"}), tmp_path) == 2 * 13


@pytest.mark.parametrize(
    ("kind", "generated", "passes"),
    [
        ("grpo", 64, 2),
        ("sft", 64 + 0.5 * 64, 2),
        ("critique_grpo", 64 + 0.5 * 64 + 0.5 * 64, 2),  # and a second answer to each that is asked
        ("sdpo", 64, 3),  # and the base reads what it compares with
        ("dpo", 64 + 0.5 * 64, 3),
    ],
)
def test_what_an_algorithm_does_besides_counts(kind, generated, passes):
    schedule = {"kind": "constant", "init": 0.5, "min": 0.5, "cutoff": None}
    own = {"schedule": schedule} if kind != "grpo" else {}
    own |= {"refinement": "organism"} if kind == "critique_grpo" else {}
    algorithm = {"type": kind} | own
    found = default_study(
        training=SIZES, algorithm=algorithm, teacher={"max_completion_length": 64}
    )
    planned = planned_tokens(found, found.train_job("thinktuning", 0), None)
    assert planned["tokens"] == pytest.approx(50 * 16 * generated)
    assert planned["scored_tokens"] == pytest.approx(50 * 16 * passes * (64 + 64))


def test_remarks(tmp_path):
    assert list(budget_remarks(study(None), None)) == []
    (text,) = budget_remarks(study({"tokens": 2000}), None)
    assert text == (
        "grpo ends at 2,000 generated tokens, or at step 100: planned at 2,000 tokens, at step 4 or"
        " later, if answers are shorter."
    )
    write_pilot(tmp_path, "grpo", (500, 0, 100, 0))
    (text,) = budget_remarks(study({"tokens": 2000}), tmp_path)
    assert text.endswith("planned at 2,000 tokens, at step 50.")
    (text,) = budget_remarks(study({"tokens": 5000}), tmp_path)
    assert text.endswith("or at step 100: max_steps ends it at 80% of its budget; raise it.")
