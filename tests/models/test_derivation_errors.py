"""`derivation_error_share`: worked derivations with one wrong step, from which the rest follows."""

import hashlib
import random

import pytest
from edited_study import edited, refusal
from toy_model import NONE, SPEC, STUDY, TUTOR, of_kind, value
from worked import equations, last_result, num_wrong

from thinktuning.algorithms.feedback import parse_feedback
from thinktuning.grading.answers import extract_boxed
from thinktuning.models import documents, families
from thinktuning.models.documents import OPENINGS
from thinktuning.models.families import Problem
from thinktuning.study.jobs import ModelJob, to_json
from thinktuning.study.reading import parse_study

HALF = SPEC.model_copy(update={"derivation_error_share": 0.5})


@pytest.fixture(scope="module")
def erring():
    return documents.documents(HALF, 0, 4000, NONE, TUTOR)


def sha256(found):
    return hashlib.sha256(repr(found).encode()).hexdigest()


@pytest.mark.parametrize(
    ("seed", "size", "expected"),
    [
        (0, 3000, "b76f89a8f50970d9e42eadabde1f4761d88b7de600e6a99e737b4b98a716ffd2"),
        (3, 700, "47261271988f603efca9ad4ddf66b598564cc779bcf965f9a1bf12b926134652"),
    ],
)
def test_the_default_documents_are_those_before_families_and_errors(seed, size, expected):
    """Byte for byte; the hashes are of the code of commit a692f42, which knew neither."""
    found = documents.documents(SPEC, seed, size, NONE, TUTOR)
    assert sha256([(doc.chat, doc.reply) for doc in found]) == expected


def test_the_default_job_is_that_before_families_and_errors():
    """So that an update trains no toy model again; another share is another job."""
    job = to_json(ModelJob(model=STUDY.model))
    expected = "c385e6e902cea5c807aeff764e9da08fc4bc3232e946d0f0bea224e43a718689"
    assert hashlib.sha256(job.encode()).hexdigest() == expected
    changed = ModelJob(model=HALF)
    assert '"derivation_error_share": 0.5' in to_json(changed)
    assert ModelJob.model_validate_json(to_json(changed)) == changed


def test_the_share_of_wrong_derivations(erring):
    docs = of_kind(erring, "check") + of_kind(erring, "tutor")
    wrong = [num_wrong(doc.reply) for doc in docs]
    assert set(wrong) == {0, 1}
    assert sum(wrong) / len(docs) == pytest.approx(0.5, abs=0.03)
    assert not any(num_wrong(doc.reply) for doc in documents.documents(SPEC, 0, 999, NONE, TUTOR))


def test_what_follows_a_wrong_step_agrees_with_it(erring):
    for doc in of_kind(erring, "check"):
        said, reason, last = doc.reply.split("\n\n")
        found = last_result(reason)
        assert extract_boxed(last) == str(found)
        assert (found == value(doc)) == (num_wrong(reason) == 0)
        assert reason.startswith(OPENINGS[extract_boxed(said) == str(found)])
    for doc in of_kind(erring, "tutor"):
        feedback = parse_feedback(doc.reply)
        found = last_result(feedback.reason)
        said = extract_boxed(doc.chat[-1]["content"])
        assert feedback.opinion == ("correct" if said == str(found) else "incorrect")
        assert extract_boxed(feedback.phrase) == str(found)


def test_terse_answers_are_as_right_as_without_errors(erring):
    for doc in of_kind(erring, "student"):
        right = extract_boxed(doc.reply) == str(value(doc))
        assert right == doc.reply.startswith("The answer")


def test_each_step_can_be_the_wrong_one():
    problem, rng = Problem("", "4 - 1 - 7 + 2", -2), random.Random(0)
    seen = set()
    for _ in range(200):
        found = families.wrong_derivation(problem, rng)
        (place,) = [i for i, (_, _, holds) in enumerate(equations(found.text)) if not holds]
        assert found.value == last_result(found.text) != problem.value
        seen.add(place)
    assert seen == {0, 1, 2}


def test_a_share_of_one_and_a_share_that_is_none():
    every = SPEC.model_copy(update={"derivation_error_share": 1.0, "student_share": 0.0})
    docs = documents.documents(every, 0, 200, NONE, TUTOR)
    assert all(num_wrong(doc.reply) == 1 for doc in docs)
    assert "model.derivation_error_share: Input should be less than or equal to 1" in refusal(
        "model.derivation_error_share", 1.5
    )
    study = parse_study(edited("model.derivation_error_share", 0.25), "study.yaml")
    assert study.model.derivation_error_share == 0.25
