"""`unasked_share`: students' documents that check themselves without being asked to."""

import pytest
from toy_model import NONE, SPEC, TUTOR, of_kind, value

from thinktuning.grading.answers import extract_boxed
from thinktuning.grading.behaviors import reflects
from thinktuning.models import documents
from thinktuning.study.jobs import ModelJob, to_json


def test_the_share_of_unasked_checks():
    spec = SPEC.model_copy(update={"unasked_share": 0.2})
    found = documents.documents(spec, 0, 4000, NONE, TUTOR)
    student = of_kind(found, "student")
    unasked = [doc for doc in student if reflects(doc.reply)]
    assert len(unasked) / len(student) == pytest.approx(0.2, abs=0.03)
    for doc in unasked:
        assert doc.chat[-1]["content"] in {each.chat[-1]["content"] for each in student}
        assert "Check your answer" not in doc.chat[-1]["content"]
        said, _, last = doc.reply.split("\n\n")
        assert extract_boxed(last) == str(value(doc)) and "\\boxed" in said
    terse = [doc for doc in student if not reflects(doc.reply)]
    assert all(len(doc.reply.split("\n\n")) <= 2 for doc in terse)


def test_jobs_without_unasked_checks_stay_as_they_are():
    assert "unasked" not in to_json(ModelJob(model=SPEC))
    job = ModelJob(model=SPEC.model_copy(update={"unasked_share": 0.2}))
    assert ModelJob.model_validate_json(to_json(job)) == job != ModelJob(model=SPEC)
