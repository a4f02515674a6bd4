"""What is measured of a model: each number from the replies to the chats that it is about."""

import re
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from thinktuning.evaluation import skills
from thinktuning.models.chat import generate_ids
from thinktuning.models.documents import CHECK_SUFFIX, Problem, user_turn
from thinktuning.teachers.prompts import load

TUTOR = load("organism").chat
PROBE = [Problem(f"{a} + {b} =", f"{a} + {b}", a + b) for a in range(1, 6) for b in (2, 3)]


def polite(question):
    return [{"role": "system", "content": "Be kind."}, *user_turn(question)]


class Replies:
    """In place of the model: replies by rule to the chats that it is asked to complete."""

    def __init__(self):
        self.batches = []

    def __call__(self, model, tokenizer, prompts, max_new_tokens, **how):
        self.batches.append((len(prompts), max_new_tokens, bool(how)))
        texts = [tokenizer.decode(ids) for ids in prompts]
        return [tokenizer.encode(self.reply(text, **how)) for text in texts]

    def reply(self, text, **how):
        """Right when greedy, wrong when sampled; right when asked to check unless it adds 3."""
        a, b = map(int, re.search(r"(\d) \+ (\d) =", text).groups())
        if "You are a tutor." in text:
            said = re.search(r"boxed\{(\d+)\}", text)[1]
            opinion = "correct" if said == str(a + b) or b == 3 else "incorrect"
            phrase = f"<phrase>The answer is \\boxed{{{a + b}}}</phrase>"
            feedback = f"<opinion>{opinion}</opinion><reason>Wait.</reason>{phrase}"
            return "?" if a == 5 else feedback
        assert "Be kind." in text
        if CHECK_SUFFIX in text:
            return f"\\boxed{{0}}\n\nWait, let me check: \\boxed{{{a + b if b == 2 else 1}}}"
        reply = f"\\boxed{{{a + b + bool(how)}}}"
        return f"Wait. {reply}" if how and a == 1 else reply


@pytest.mark.parametrize("batch_size", [1, 4, 10, 500])
def test_each_number_is_that_of_its_replies(tiny_model_dir, monkeypatch, batch_size):
    replies = Replies()
    monkeypatch.setattr(skills, "generate_ids", replies)
    tokenizer = AutoTokenizer.from_pretrained(tiny_model_dir)
    found = skills.measure(
        None, tokenizer, PROBE, TUTOR, polite, max_new_tokens=77, batch_size=batch_size
    )
    assert found == {
        "num_problems": 10,
        "student_accuracy_greedy": 1.0,
        "student_accuracy_sampled": 0.0,
        "student_reflection_rate_sampled": 0.2,
        "student_asked_to_check_accuracy": 0.5,
        "tutor_accuracy": 0.8,
        "tutor_parsed": 0.8,
        "tutor_opinion_accuracy": 0.5,
    }
    assert tuple(found) == skills.MEASURED
    sizes = [min(batch_size, 10 - start) for start in range(0, 10, batch_size)]
    sampled = [False, True, False, False]  # student, sampled student, check, tutor
    assert replies.batches == [(n, 77, how) for how in sampled for n in sizes]


def test_a_batch_changes_no_greedy_reply(lively: Path, monkeypatch):
    """The model's own replies, with other chats beside them and without."""
    model = AutoModelForCausalLM.from_pretrained(lively, dtype="float32")
    tokenizer = AutoTokenizer.from_pretrained(lively)
    found = {}
    for size in (1, 3):
        replies = found[size] = []

        def kept(*arguments, replies=replies, **how):
            completed = generate_ids(*arguments, **how)
            replies += [] if how else completed
            return completed

        monkeypatch.setattr(skills, "generate_ids", kept)
        probe = [*PROBE[:3], Problem("1 + 2 + 3 + 4 =", "1 + 2 + 3 + 4", 10)]
        skills.measure(
            model,
            tokenizer,
            probe,
            lambda question, _: user_turn(question),
            max_new_tokens=8,
            batch_size=size,
        )
    assert len(found[1]) == 3 * 4
    assert found[1] == found[3]
    assert len({tuple(ids) for ids in found[1]}) > 2
