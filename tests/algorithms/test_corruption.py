"""A teacher that errs at known rates: texts, rates, and what is left as it is."""

import math
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from thinktuning.algorithms.batch import UNCORRUPTED, RolloutBatch
from thinktuning.algorithms.corruption import CorruptionConfig, corrupt
from thinktuning.algorithms.feedback import Feedback, parse_feedback
from thinktuning.algorithms.sdpo import SDPOAlgorithmConfig
from thinktuning.algorithms.thinktuning import ThinkTuningAlgorithmConfig
from thinktuning.grading.answers import extract_boxed, verify
from thinktuning.models.families import Problem, derivation
from thinktuning.teachers.prompts import TeacherPrompt
from thinktuning.teachers.protocol import Teacher

ALWAYS = CorruptionConfig(false_alarm_rate=1, miss_rate=1)
ONE_EACH = {"false_alarm_rate": 0.25, "miss_rate": 0.75}


def reply(agrees: bool, working: str, answer: str) -> str:
    opinion, opening = (
        ("correct", "Let me go through it again: ")
        if agrees
        else ("incorrect", "I skipped the steps, so let me redo it: ")
    )
    return (
        f"<opinion>{opinion}</opinion><reason>{opening}{working}</reason>"
        f"<phrase>The answer is \\boxed{{{answer}}}</phrase>"
    )


def feedback(*args) -> Feedback:
    found = parse_feedback(reply(*args))
    assert found
    return found


def test_a_miss_agrees_with_the_wrong_answer():
    given = feedback(False, "4 - 1 = 3 - 7 = -4.", "-4")
    found = corrupt(given, "I guess it is \\boxed{-5}", False, ALWAYS, random.Random(0))
    assert found == Feedback(
        "correct",
        "Let me go through it again: 4 - 1 = 3 - 7 = -5.",
        "The answer is \\boxed{-5}",
    )


def test_a_false_alarm_doubts_the_right_answer_and_ends_in_a_wrong_one():
    given = feedback(True, "4 - 1 = 3 + 1 = 4.", "4")
    found = corrupt(given, "The answer is \\boxed{4}", True, ALWAYS, random.Random(0))
    assert found and found.opinion == "incorrect"
    answer = extract_boxed(found.phrase)
    assert answer in {"1", "2", "3", "5", "6", "7"}
    assert found.reason == f"Wait, let me check: 4 - 1 = 3 + 1 = {answer}."


@given(
    terms=st.lists(st.integers(1, 9), min_size=2, max_size=6),
    signs=st.lists(st.sampled_from("+-"), min_size=5, max_size=5),
    slip=st.integers(-3, 3),
    seed=st.integers(0, 99),
)
def test_a_corrupted_reply_is_wrong_and_says_one_answer(terms, signs, slip, seed):
    """Of the toy model's sums, whatever numbers the derivation shares with its answer."""
    pairs = zip(signs, terms[1:], strict=False)
    expression = str(terms[0]) + "".join(f" {sign} {term}" for sign, term in pairs)
    text, value = derivation(Problem("", expression, 0))
    own = value + slip
    found = corrupt(
        feedback(not slip, text, value),
        f"The answer is \\boxed{{{own}}}",
        not slip,
        ALWAYS,
        random.Random(seed),
    )
    assert found
    answer = extract_boxed(found.phrase)
    assert not verify(answer, str(value), "number")
    assert (answer == str(own)) == bool(slip)
    assert found.reason.endswith(f" = {answer}.")
    assert found.working[: -len(f"{answer}.")] == text[: -len(f"{value}.")]
    assert (found.opinion == "correct") == bool(slip)


@pytest.mark.parametrize(
    ("said", "working", "answer"),
    [
        ("no box", "4 - 1 = 3.", "3"),
        ("\\boxed{1/2}", "4 - 1 = 3.", "3"),
        ("\\boxed{2}", "one half is 0.5.", "0.5"),
        ("\\boxed{2}", "I see it at once.", "3"),
        ("\\boxed{2}", "4 - 1 = 33 is 3.5, not -3.", "3"),
    ],
)
def test_other_replies_are_left(said, working, answer):
    assert corrupt(feedback(False, working, answer), said, False, ALWAYS, random.Random(0)) is None


class Tutor(Teacher):
    """Works out 1 + 2 each time."""

    def generate(self, chats):
        right = ["\\boxed{3}" in chat[-1]["content"] for chat in chats]
        return [
            "?" if "say nothing" in chat[-1]["content"] else reply(is_right, "1 + 2 = 3.", "3")
            for is_right, chat in zip(right, chats, strict=True)
        ]


def taught(algorithm, answers: list[str], t: int = 0, first_group: int = 0) -> RolloutBatch:
    """Give lessons on a batch whose completions are one token each: their place in `texts`."""
    texts = ["", *answers]

    def decode(completions):
        return [texts[ids[0]] for ids in completions]

    def extend(ids, text):
        texts.append(text)
        return [*ids, len(texts) - 1]

    batch = RolloutBatch(
        rows=[{"prompt": "1 + 2 ="}] * len(answers),
        num_generations=len(answers),
        t=t,
        num_batches=100,
        seed=0,
        first_group=first_group,
        eos_token_ids=[0],
        max_completion_length=9,
        decode=decode,
        extend=extend,
        grade=lambda completions: [
            math.nan if "?" in text else float("\\boxed{3}" in text) for text in decode(completions)
        ],
    )
    batch.sampled([[i + 1, 0] for i in range(len(answers))], None)
    algorithm.augment(batch)
    return batch


PROMPT = TeacherPrompt(system="S", user="{question} {response}")
EVERY = {"kind": "constant", "init": 1.0}


def test_the_rates_are_those_of_right_and_wrong_answers():
    config = ThinkTuningAlgorithmConfig(schedule=EVERY, corruption=ONE_EACH)
    algorithm, n = config.build(Tutor(), PROMPT), 400
    batch = taught(algorithm, ["\\boxed{3}"] * n + ["\\boxed{5}"] * n + ["\\boxed{x}", "no ?"])
    opinions = [batch.lessons[i].feedback.opinion for i in range(2 * n)]
    # four standard errors of a share of 400
    assert abs(opinions[:n].count("incorrect") / n - 0.25) < 0.09
    assert abs(opinions[n:].count("correct") / n - 0.75) < 0.09
    assert batch.metrics[UNCORRUPTED] in (0, 1)  # of "\boxed{x}", at the rate of misses
    assert batch.lessons[2 * n + 1].feedback.opinion == "incorrect"  # no verdict: as it is
    assert all("3." in lesson.reply for lesson in batch.lessons.values())  # recorded as said


def test_the_draw_follows_from_seed_and_place():
    """Another batch or group draws anew; the same one does not, as in a resumed run."""
    config = ThinkTuningAlgorithmConfig(schedule=EVERY, corruption={"miss_rate": 0.5})
    algorithm, answers = config.build(Tutor(), PROMPT), ["\\boxed{5}"] * 64

    def opinions(**place):
        lessons = taught(algorithm, answers, **place).lessons
        return [lesson.feedback.opinion for lesson in lessons.values()]

    assert opinions() == opinions() != opinions(t=1)
    assert opinions() != opinions(first_group=1)


def test_without_corruption_nothing_changes():
    plain, zero = (
        taught(
            ThinkTuningAlgorithmConfig(schedule=EVERY, corruption=value).build(Tutor(), PROMPT),
            ["\\boxed{3}", "\\boxed{5}", "say nothing"],
        )
        for value in (None, {})
    )
    assert plain.lessons == zero.lessons and UNCORRUPTED not in plain.metrics
    assert zero.metrics == plain.metrics | {
        UNCORRUPTED: 0,
        "time_teacher": zero.metrics["time_teacher"],
    }
    assert "corruption" not in ThinkTuningAlgorithmConfig().model_dump()


def test_there_must_be_feedback_to_corrupt():
    with pytest.raises(ValidationError, match="set context to feedback"):
        SDPOAlgorithmConfig(corruption={"miss_rate": 0.5})
    assert SDPOAlgorithmConfig(context="feedback", corruption={"miss_rate": 0.5}).corruption
