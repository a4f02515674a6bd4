"""Critique-GRPO: what the student is asked, and which refinements take the places of rollouts."""

from dataclasses import replace

import pytest
import torch
from hand_made import FEEDBACK, Silent, letters, taught

from thinktuning.algorithms.critique_grpo import CritiqueGRPOAlgorithmConfig
from thinktuning.teachers.prompts import TeacherPrompt

PROMPT = TeacherPrompt(system="S", user="{question} {response}")
RIGHT = replace(FEEDBACK, opinion="correct", reason="Again: 2+2=4.")


def build(**keys):
    return CritiqueGRPOAlgorithmConfig(**keys).build(Silent(), PROMPT)


class Student:
    """Replies to the chats of one batch with these texts; None cannot be begun."""

    def __init__(self, *texts):
        self.texts = texts
        self.calls = []

    def __call__(self, chats, starts):
        self.calls.append(list(zip(chats, starts, strict=True)))
        return [None if t is None else list(t.encode()) for t in self.texts[: len(chats)]]


@pytest.fixture
def prompt(tmp_path):
    path = tmp_path / "refine.yaml"
    path.write_text(
        "user: '{question} | {response} | {critique} | {opinion}'\nreply: '{opening}{response}'\n"
    )
    return str(path)


def test_the_current_student_is_asked_with_question_answer_and_critique(prompt):
    student = Student("4E", "55E")
    batch = letters(["5E", "6E", "7E", "{critique}E"], sample=student)
    batch.rows[3]["prompt"].insert(0, {"role": "system", "content": "Be brief."})
    algorithm = build(refinement=prompt)
    texts = taught(batch, algorithm, {0: FEEDBACK, 3: RIGHT})
    assert texts == ["4E", "6E", "7E", "55E"]
    assert student.calls == [
        [
            ([turn("user", "Q0? | 5 | Wait: 2+2=4. | incorrect")], "Wait: 5"),
            (
                [
                    turn("system", "Be brief."),
                    turn("user", "Q3? | {critique} | Again: 2+2=4. | correct"),
                ],
                "Again: {critique}",
            ),
        ]
    ]
    assert batch.rows[0]["prompt"] == [turn("user", "Q0?")]  # trained on as before


def turn(role, content):
    return {"role": role, "content": content}


@pytest.mark.parametrize(
    ("number", "expected"),
    [
        (1, ["1E", "2E", "a4E", "4E", "xE", "6E", "7E", "8E"]),
        (2, ["xE", "2E", "a4E", "4E", "xE", "yE", "7E", "8E"]),
        (None, ["xE", "yE", "a4E", "4E", "xE", "yE", "zE", "8E"]),
    ],
)
def test_the_best_refinements_of_a_group_are_kept(prompt, number, expected):
    """Of the first group only the third is right; of the second none, so the first comes first."""
    batch = letters(
        ["1E", "2E", "3E", "4E", "5E", "6E", "7E", "8E"],
        num_generations=4,
        sample=Student("xE", "yE", "a4E", "xE", "yE", "zE"),
    )
    algorithm = build(refinement=prompt, num_refinements=number)
    feedback = dict.fromkeys([0, 1, 2, 4, 5, 6], FEEDBACK)
    assert taught(batch, algorithm, feedback) == expected
    changed = [i for i in range(8) if batch.completion_ids[i] != batch.student_ids[i]]
    assert sorted(batch.taught) == changed
    mask = torch.ones(8, 2, dtype=torch.long)
    added = algorithm.loss_inputs(batch, {"completion_ids": mask, "completion_mask": mask})
    assert added["off_policy_mask"].all(1).nonzero().flatten().tolist() == changed


def test_keep_right_leaves_a_group_without_a_right_refinement_as_it_was(prompt):
    batch = letters(["1E", "2E"], sample=Student("xE", "yE"))
    algorithm = build(refinement=prompt, keep="right")
    assert taught(batch, algorithm, {0: FEEDBACK, 1: FEEDBACK}) == ["1E", "2E"]


def test_a_reply_that_cannot_be_begun_is_counted(prompt):
    batch = letters(["1E", "2E"], sample=Student(None, "4E"))
    assert taught(batch, build(refinement=prompt), {0: FEEDBACK, 1: FEEDBACK}) == ["1E", "4E"]
    assert batch.metrics["num_unspliced"] == 1


def test_a_batch_without_critiques_still_calls_sample(prompt):
    """Processes have other rollouts, and all of them must take part in sampling."""
    student = Student()
    assert taught(letters(["1E", "2E"], sample=student), build(refinement=prompt), {}) == [
        "1E",
        "2E",
    ]
    assert student.calls == [[]]


def test_prompts_that_are_plain_texts_are_refused(prompt):
    batch = letters(["1E", "2E"], rows=[{"prompt": "Q?"}] * 2)
    with pytest.raises(ValueError, match="'critique_grpo' asks the student in chats, but the data"):
        taught(batch, build(refinement=prompt), {0: FEEDBACK})


def test_without_a_student_nothing_can_be_sampled(prompt):
    with pytest.raises(RuntimeError, match="no student to sample from"):
        taught(letters(["1E", "2E"]), build(refinement=prompt), {0: FEEDBACK})


def test_the_loss_is_separable(prompt):
    assert build(refinement=prompt).separable
