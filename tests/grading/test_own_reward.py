"""What a reward function of the user's own returns is checked, and its name is in each message."""

import numpy as np
import pytest
import torch

from thinktuning.grading.grader import Grader
from thinktuning.grading.own_reward import OwnReward, reward_functions
from thinktuning.io.errors import StudyError

COMPLETIONS = [[{"role": "assistant", "content": text}] for text in ("one", "two")]


@pytest.fixture
def own(tmp_path, monkeypatch):
    """A function that returns a reward with this body."""
    monkeypatch.chdir(tmp_path)

    def reward(body, alone=True):
        name = f"rewards{len(list(tmp_path.iterdir()))}"
        code = f"import math\n\n\ndef score(completions, **columns):\n    {body}\n"
        (tmp_path / f"{name}.py").write_text(code)
        return OwnReward(f"{name}:score", "score", alone)

    return reward


@pytest.mark.parametrize(
    "made", [[1, 0.5], (True, False), np.array([1.0, 2.0]), torch.tensor([1.0, 2.0])]
)
def test_numbers_of_any_type_are_rewards(own, made):
    function = own("return columns['made']")
    found = function(completions=COMPLETIONS, made=made)
    assert found == [float(value) for value in made] and {type(value) for value in found} == {float}


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("return [0.5]", "returned 1 rewards for 2 completions"),
        ("return [0.5] * 3", "returned 3 rewards for 2 completions"),
        ("return [0.5, math.nan]", "returned nan, not a finite number, for the completion 'two'"),
        ("return [math.inf, 1]", "returned inf, not a finite number, for the completion 'one'"),
        ("return [1, '1']", "returned '1', not a finite number, for the completion 'two'"),
        ("return [1, None]", r"returned None, not a finite number \(only one of several rewards"),
        ("return [[1], [2]]", r"returned \[1\], not a finite number"),
        ("return None", "returned NoneType, not a list of numbers"),
        ("return 1.0", "returned float, not a list of numbers"),
        ("return 'no'", "returned str, not a list of numbers"),
        ("return {'a': 1, 'b': 2}", "returned dict, not a list of numbers"),
        ("return (c for c in completions)", "returned generator, not a list of numbers"),
        ("return completions[7]", r"failed: IndexError: list index .* \(.*rewards0.py:5\)"),
        ("raise RuntimeError('no server')", "failed: RuntimeError: no server"),
    ],
)
def test_anything_else_stops_the_run(own, body, message):
    with pytest.raises(StudyError, match=f"training.reward: rewards0:score {message}"):
        own(body)(completions=COMPLETIONS)


def test_one_of_several_rewards_may_not_apply(own):
    assert own("return [None, 2]", alone=False)(completions=COMPLETIONS) == [None, 2.0]
    with pytest.raises(StudyError, match="returned nan, not a finite number, for"):
        own("return [None, math.nan]", alone=False)(completions=COMPLETIONS)


def test_functions_of_one_name_have_metrics_of_their_own(own, tmp_path):
    for name in ("a", "b"):
        (tmp_path / f"{name}.py").write_text("def score(words, **_):\n    return [1.0]\n")
    with Grader() as grader:
        found = reward_functions(
            ["last_box", "a:score", "b:score"], {"words"}, grader, "number", [2]
        )
        names = [function.__name__ for function in found]
        assert names == ["boxed_reward", "a.score", "b.score"]
        with pytest.raises(
            StudyError, match=r"training.reward: a:score needs words, but questions"
        ):
            reward_functions(["a:score"], {"question", "answer"}, grader, "number", [2])
