"""The toy model's documents: terse answers, self-checking answers and feedback on sums."""

import random
import re

import pytest
from toy_model import NONE, SPEC, TUTOR, of_kind, value

from thinktuning.algorithms.feedback import parse_feedback
from thinktuning.grading.answers import extract_boxed
from thinktuning.grading.behaviors import reflects
from thinktuning.models import documents
from thinktuning.models.documents import CHECK_SUFFIX, OPENINGS, Document, Problem
from thinktuning.models.families import derivation


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("4 - 1 - 7", "4 - 1 = 3 - 7 = -4."),
        ("1 + 2", "1 + 2 = 3."),
        ("0 - 9 - 9 + 10", "0 - 9 = -9 - 9 = -18 + 10 = -8."),
        ("3 - 3 + 0", "3 - 3 = 0 + 0 = 0."),
        ("7", "7."),
    ],
)
def test_a_derivation_is_a_running_total(expression, expected):
    assert derivation(Problem("", expression, 0)).text == expected


def test_problems_have_the_value_of_their_expression():
    drawn = list(documents.problems(SPEC, SPEC.max_terms, 0, 300, NONE))
    assert len(drawn) == 300
    for problem in drawn:
        assert eval(problem.expression) == problem.value
        assert problem.expression in problem.question
        assert derivation(problem).text.endswith(f"= {problem.value}.")
    num_terms = {len(problem.expression.split()[::2]) for problem in drawn}
    assert num_terms == set(range(SPEC.min_terms, SPEC.max_terms + 1))


def test_shares_of_the_documents(docs):
    num = {name: len(of_kind(docs, name)) for name in ("student", "check", "tutor")}
    assert num["student"] / len(docs) == pytest.approx(SPEC.student_share, abs=0.02)
    assert num["check"] / len(docs) == pytest.approx(SPEC.check_share, abs=0.02)
    sums = sum("arithmetic problem" in doc.chat[-1]["content"] for doc in docs)
    assert sums / len(docs) == pytest.approx(SPEC.chain_sum_share, abs=0.02)
    right = sum("<opinion>correct" in doc.reply for doc in docs)
    assert right / num["tutor"] == pytest.approx(SPEC.correct_share, abs=0.03)
    guesses = sum("guess" in doc.reply for doc in of_kind(docs, "student"))
    assert guesses / num["student"] == pytest.approx(SPEC.guess_share, abs=0.03)
    remarks = sum("\n\n" in doc.reply for doc in of_kind(docs, "student"))
    assert remarks / num["student"] == pytest.approx(SPEC.remark_share, abs=0.01)


def test_the_student_is_terse_and_never_reflects(docs):
    for doc in of_kind(docs, "student"):
        terse, *remark = doc.reply.split("\n\n")
        assert re.fullmatch(r"(The answer|I guess it) is \\boxed\{-?\d+\}", terse)
        assert len(remark) <= 1
        assert not reflects(doc.reply)
        right = extract_boxed(doc.reply) == str(value(doc))
        assert right == doc.reply.startswith("The answer")


def test_answers_that_are_asked_to_check_reflect_and_end_right(docs):
    opened = {opening: 0 for openings in OPENINGS.values() for opening in openings}
    for doc in of_kind(docs, "check"):
        said, reason, last = doc.reply.split("\n\n")
        right = extract_boxed(said) == str(value(doc))
        (opening,) = [o for o in OPENINGS[right] if reason.startswith(o)]
        opened[opening] += 1
        assert last == f"The answer is \\boxed{{{value(doc)}}}"
        assert reflects(doc.reply)
    assert all(opened.values())


def test_the_tutors_feedback_is_parsed_and_right(docs):
    for doc in of_kind(docs, "tutor"):
        feedback = parse_feedback(doc.reply)
        shown = extract_boxed(doc.chat[-1]["content"]) == str(value(doc))
        assert feedback.opinion == ("correct" if shown else "incorrect")
        assert feedback.reason.startswith(OPENINGS[shown])
        assert feedback.reason.endswith(f"= {value(doc)}.")
        assert extract_boxed(feedback.phrase) == str(value(doc))


def test_the_exact_text_of_a_document():
    """The kind is drawn at random; shares of 0 and 1 fix it."""
    problem = Problem("1 + 2 =", "1 + 2", 3)
    only = {"student_share": 0.0, "guess_share": 0.0, "check_share": 0.0, "correct_share": 1.0}
    tutor = documents.document(problem, SPEC.model_copy(update=only), random.Random(0), TUTOR)
    assert tutor.chat[-1]["content"] == "Question:\n1 + 2 =\n\nResponse:\nThe answer is \\boxed{3}"
    assert tutor.reply == (
        "<opinion>correct</opinion><reason>Let me go through it again: 1 + 2 = 3.</reason>"
        "<phrase>The answer is \\boxed{3}</phrase>"
    )
    checks = SPEC.model_copy(update=only | {"check_share": 1.0})
    assert documents.document(problem, checks, random.Random(0), TUTOR) == Document(
        [{"role": "user", "content": "1 + 2 = Check your answer."}],
        "The answer is \\boxed{3}\n\nLet me go through it again: 1 + 2 = 3.\n\n"
        "The answer is \\boxed{3}",
    )


def test_short_sums_come_first(docs):
    def longest(part):
        questions = [doc.chat[-1]["content"] for doc in part]
        return max(len(re.search(r"\d+(?: [-+] \d+)+", q)[0].split()[::2]) for q in questions)

    assert longest(docs[:1500]) == SPEC.min_terms  # 15 % of 10,000
    assert longest(docs[1500:3000]) == SPEC.min_terms + 1
    assert longest(docs[3000:]) == SPEC.max_terms


def test_no_document_contains_an_excluded_question(docs):
    def questions(some):
        contents = (doc.chat[-1]["content"] for doc in some)
        return [c.removesuffix(CHECK_SUFFIX).removeprefix("Question:\n") for c in contents]

    excluded = frozenset(
        question.partition("\n\nResponse:")[0] for question in questions(docs[::9])
    )
    kept = documents.documents(SPEC, SPEC.seed, len(docs), excluded, TUTOR)
    assert 0 < len(kept) < len(docs)
    assert not excluded & {question.partition("\n\nResponse:")[0] for question in questions(kept)}


def test_the_same_seed_makes_the_same_documents(docs):
    assert documents.documents(SPEC, SPEC.seed, 10_000, NONE, TUTOR) == docs
    other = documents.documents(SPEC, 1, 10_000, NONE, TUTOR)
    same = sum(a == b for a, b in zip(docs, other, strict=True))
    assert same < 500
