"""`training.reward`: what is verified of a completion, in a whole training job."""

import re

import pytest
from openai_server import Server, reply
from safetensors.torch import load_file

from thinktuning.commands.train import train, trainer_settings
from thinktuning.io.files import read_jsonl


def solve_without_a_box(body, _=None):
    """Reply with feedback that ends in the right answer to `What is N+1?`, without a box."""
    number = int(re.search(r"What is (\d+)\+1", body["messages"][-1]["content"])[1])
    said = f"<reason>Wait.</reason><phrase>So the answer is {number + 1}.</phrase>"
    return 200, reply(f"<opinion>incorrect</opinion>{said}")


@pytest.fixture
def trained(training, tmp_path):
    """A function that trains with a reward, and returns metrics, rollouts and weights."""
    resolve, model, data = training
    with Server(solve_without_a_box) as server:
        endpoint = {"base_url": server.url, "model": "tutor"}
        teacher = {"backend": "openai", "openai": endpoint}

        def run(**rewarded):
            output = tmp_path / "-".join(["run", *rewarded.values()])
            train(resolve(teacher=teacher, max_steps=4, **rewarded), model, data, output)
            rows = [list(read_jsonl(output / f"{n}.jsonl")) for n in ("metrics", "rollouts")]
            return *rows, load_file(output / "model" / "model.safetensors")

        yield run


def test_an_unboxed_right_answer_is_rewarded_as_whole_text_only(trained):
    metrics, rollouts, weights = trained(reward="whole_text")
    taught = [r for r in rollouts if r["taught"] and r["completion_length"] < 48]
    assert taught and all(r["text"].endswith(".") for r in taught)
    assert all(r["reward"] == 1 for r in taught)
    # every other figure follows the reward
    assert sum(row["wrong_to_right"] for row in metrics) > 0
    assert all(row["rewards/whole_text_reward/mean"] == row["reward"] for row in metrics)
    assert all(row["verifier_failures"] == 0 for row in metrics)

    boxed_metrics, boxed_rollouts, boxed_weights = trained(reward="last_box")
    assert all(r["reward"] == 0 for r in boxed_rollouts)
    assert sum(row["wrong_to_right"] for row in boxed_metrics) == 0
    assert any((weights[name] != boxed_weights[name]).any() for name in weights)


def test_the_last_box_is_the_default(training):
    resolve, _, _ = training
    assert resolve() == resolve(reward="last_box")
    assert "reward" not in trainer_settings(resolve(reward="whole_text"))
