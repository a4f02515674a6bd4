"""The section `warmup`: worked answers or the toy model's documents, and what fits neither."""

import copy

import pytest
import yaml
from edited_study import DEFAULT, edited, message, refusal
from hypothesis import given
from hypothesis import strategies as st

from thinktuning.models.config import DocumentsConfig, OrganismConfig
from thinktuning.models.documents import CHECK_SUFFIX
from thinktuning.study.jobs import WarmupJob, sealed, to_json
from thinktuning.study.merging import merge
from thinktuning.study.reading import parse_study, resolved_yaml

KEYS = list(DocumentsConfig.model_fields)
DOCUMENTS = {key: DEFAULT["model"][key] for key in KEYS}
WARMUP = {"max_steps": 4, "learning_rate": 1e-3, "batch_size": 4, "max_length": 200}


def test_the_documents_keys_are_the_toy_models():
    """Flat in the toy model's section, where studies override them, in the order of config.yaml."""
    assert [key for key in DEFAULT["model"] if key in KEYS] == KEYS
    assert list(OrganismConfig.model_fields) == list(DEFAULT["model"])


def test_a_study_warms_up_on_documents():
    study = parse_study(edited("warmup", WARMUP | {"documents": DOCUMENTS}), "study.yaml")
    assert study.warmup.documents.model_dump() == DOCUMENTS
    assert list(study.models()) == ["raw"]
    job = study.warmup_job()
    assert (job.teacher_prompt, sealed(job).sha256.keys()) == ("organism", {"organism"})
    assert WarmupJob.model_validate_json(to_json(job)) == job
    assert parse_study(yaml.safe_load(resolved_yaml(study)), "resolved") == study


@pytest.mark.parametrize(
    ("changes", "prompt"),
    [({}, None), ({"tutor_share": 0.4}, "organism"), ({"documents": None}, None)],
)
def test_a_study_warms_up_on_worked_answers(changes, prompt):
    study = parse_study(edited("warmup", WARMUP | changes), "study.yaml")
    assert study.warmup_job().teacher_prompt == prompt


def test_a_study_may_change_single_keys_of_another_ones_documents():
    values = edited("warmup", WARMUP | {"documents": DOCUMENTS})
    changed = parse_study(merge(values, {"warmup": {"documents": {"max_terms": 9}}}), "study.yaml")
    assert changed.warmup.documents.model_dump() == DOCUMENTS | {"max_terms": 9}
    without = parse_study(merge(values, {"warmup": {"documents": None}}), "study.yaml")
    assert without.warmup.documents is None


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        (
            {"documents": DOCUMENTS, "tutor_share": 0.4},
            "warmup: tutor_share = 0.4 is of worked answers; of `documents`, student_share and"
            " check_share leave the rest to the tutor; remove one of the two",
        ),
        ({"documents": {}}, None),
        ({"documents": DOCUMENTS | {"seed": 1}}, "warmup.documents.seed: unknown key"),
        ({"documents": DOCUMENTS | {"source": "organism"}}, "warmup.documents.source: unknown key"),
        (
            {"documents": DOCUMENTS | {"min_terms": 1}},
            "warmup.documents.min_terms: Input should be",
        ),
        (
            {"documents": DOCUMENTS | {"guess_share": 30}},
            "warmup.documents.guess_share: Input shou",
        ),
        ({"documents": DOCUMENTS | {"max_term": 4}}, "warmup.documents.max_term: unknown key; did"),
        ({"documents": True}, "warmup.documents: Input should be a valid dictionary"),
        ({"document": DOCUMENTS}, "warmup.document: unknown key; did you mean `documents`?"),
    ],
)
def test_what_does_not_fit_is_refused(changes, expected):
    if expected is None:
        lines = message(edited("warmup", WARMUP | changes)).split("\n  ")[1:]
        assert lines == [f"warmup.documents.{key}: is required and missing" for key in KEYS]
        return
    assert refusal("warmup", WARMUP | changes).startswith(expected)


@given(
    min_terms=st.integers(2, 6),
    max_terms=st.integers(1, 6),
    shares=st.lists(st.integers(0, 10).map(lambda n: n / 10), min_size=6, max_size=6),
)
def test_documents_are_refused_as_the_toy_models_are(min_terms, max_terms, shares):
    """Any values: in both sections or in neither, for the same reason."""
    names = [key for key in KEYS if key.endswith("_share")]
    section = {"min_terms": min_terms, "max_terms": max_terms} | dict(
        zip(names, shares, strict=True)
    )
    toy, warm = copy.deepcopy(DEFAULT), copy.deepcopy(DEFAULT)
    toy["model"] |= section
    warm["warmup"] = WARMUP | {"documents": section}
    fits = max_terms >= min_terms and section["student_share"] + section["check_share"] < 1
    if fits:
        assert parse_study(toy, "study") and parse_study(warm, "study").warmup.documents
        return
    found = message(toy)
    assert "model: " in found
    assert message(warm) == found.replace("model: ", "warmup.documents: ")


@pytest.mark.parametrize("kind", ["letter", "yes_no", "latex", "number"])
def test_documents_are_sums(kind):
    values = edited("data.answer_kind", kind)
    values["warmup"] = WARMUP | {"documents": DOCUMENTS}
    if kind in ("letter", "yes_no"):
        expected = f"warmup.documents are sums, but data.answer_kind is {kind}; remove them"
        assert expected in message(values)
        values["warmup"]["documents"] = None
    assert parse_study(values, "study.yaml")


@pytest.mark.parametrize(
    "suffix", [CHECK_SUFFIX, "\nCheck your answer.", " Check your answer. Box."]
)
def test_a_student_who_is_always_asked_to_check_is_refused(suffix):
    values = edited("prompt.suffix", suffix)
    asked = values["methods"].pop("zero_shot_reflect")  # with this suffix it would be zero_shot
    assert parse_study(values, "study.yaml")
    values["warmup"] = WARMUP | {"documents": DOCUMENTS}
    assert "prompt.suffix has 'Check your answer.', with which warmup.documents" in message(values)
    values["prompt"]["suffix"] = ""
    values["methods"]["zero_shot_reflect"] = asked
    assert values["methods"]["zero_shot_reflect"]["prompt"]["suffix"] == CHECK_SUFFIX
    assert parse_study(values, "study.yaml")
