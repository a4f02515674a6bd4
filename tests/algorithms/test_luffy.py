"""LUFFY: traces in the places of rollouts, and which of them are kept."""

from dataclasses import replace

import pytest
import torch
from hand_made import FEEDBACK, Silent, letters, taught

from thinktuning.algorithms.feedback import Feedback
from thinktuning.algorithms.luffy import LUFFY, LUFFYAlgorithmConfig
from thinktuning.teachers.prompts import TeacherPrompt

PROMPT = TeacherPrompt(system="S", user="{question} {response}")
WRONG = replace(FEEDBACK, reason="Wait: 2+2=5.", phrase="So 5")


def build(**keys):
    return LUFFYAlgorithmConfig(**keys).build(Silent(), PROMPT)


@pytest.mark.parametrize(
    ("trace", "expected"),
    [("whole", "Wait: 2+2=4.\n\nSo 4E"), ("working", "2+2=4.\n\nSo 4E")],
)
def test_a_trace_takes_the_place_of_a_rollout(trace, expected):
    batch = letters(["5E", "4E"])
    batch.logprobs = [[-0.1, -0.2], [-0.3, -0.4]]
    assert taught(batch, build(trace=trace), {0: FEEDBACK}) == [expected, "4E"]
    # nothing of it was sampled, the end included
    assert batch.logprobs == [[None] * len(expected), [-0.3, -0.4]]
    assert batch.student_ids == [list(b"5E"), list(b"4E")]


@pytest.mark.parametrize(
    ("keep", "kept"), [("right", [True, False]), ("wrong", [False, True]), ("all", [True, True])]
)
def test_a_wrong_trace_is_dropped_unless_all_are_kept(keep, kept):
    assert LUFFYAlgorithmConfig().keep == "right"
    batch = letters(["5E", "6E"])
    taught(batch, build(keep=keep), {0: FEEDBACK, 1: WRONG})
    assert [i in batch.taught for i in (0, 1)] == kept
    unchanged = [batch.completion_ids[i] == batch.student_ids[i] for i in (0, 1)]
    assert unchanged == [not k for k in kept]


def test_a_trace_that_the_tokenizer_cannot_encode_is_counted():
    batch = letters(["5E", "6E"], extend=lambda ids, text: None)
    assert taught(batch, build(), {0: FEEDBACK}) == ["5E", "6E"]
    assert batch.metrics["num_unspliced"] == 1 and not batch.taught


def test_a_trace_that_is_too_long_is_cut_and_has_no_end():
    batch = letters(["5E", "6E"], max_completion_length=6)
    texts = taught(batch, build(keep="all"), {0: FEEDBACK})
    assert texts == ["Wait: ", "6E"]


@pytest.mark.parametrize(
    ("reason", "opening", "working"),
    [
        ("Wait, let me check: 1 + 2: 3", "Wait, let me check: ", "1 + 2: 3"),
        ("It is 12:30.", "", "It is 12:30."),
        ("", "", ""),
    ],
)
def test_the_opening_of_a_reason_ends_at_its_first_colon(reason, opening, working):
    feedback = Feedback("correct", reason, "4")
    assert (feedback.opening, feedback.working) == (opening, working)


def test_all_tokens_of_a_trace_are_off_policy():
    batch = letters(["5E", "6E", "7E", "8E"])
    algorithm = build()
    taught(batch, algorithm, {0: FEEDBACK, 1: WRONG})
    mask = torch.tensor([[1, 1, 1], [1, 1, 0], [1, 1, 0], [1, 0, 0]])
    added = algorithm.loss_inputs(batch, {"completion_ids": mask, "completion_mask": mask})
    assert added["off_policy_mask"].tolist() == [[True] * 3, *[[False] * 3] * 3]
    assert added["off_policy_mask"].dtype == torch.bool


def test_the_loss_is_separable_unless_a_subclass_changes_it():
    class Other(LUFFY):
        def shape(self, logps, inputs):
            return {"advantages": inputs["advantages"] + 1}

    assert build().separable
    assert not Other(LUFFYAlgorithmConfig(), Silent(), PROMPT).separable
