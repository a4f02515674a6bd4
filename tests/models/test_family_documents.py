"""The toy model's documents, tokenizer and probe with several task families."""

import re

import pytest
from edited_study import ROOT
from toy_model import NONE, SMALL, SPEC, STUDY, TUTOR, encode, of_kind
from worked import last_result, num_wrong

from thinktuning.algorithms.feedback import parse_feedback
from thinktuning.evaluation import skills
from thinktuning.grading.answers import extract_boxed
from thinktuning.grading.behaviors import reflects
from thinktuning.models import documents, families, organism
from thinktuning.models.config import OrganismConfig
from thinktuning.models.mixture import lessons
from thinktuning.study.reading import load_study

SHARES = {"chain_sum": 0.5, "products": 0.3, "leg_counting": 0.2}
MIXED = OrganismConfig.model_validate(
    SPEC.model_dump() | {"families": {name: {"share": share} for name, share in SHARES.items()}}
)
WORDS = {"chain_sum": "arithmetic problem", "products": "multiplication", "leg_counting": "legs"}
BUDGET = load_study(ROOT / "studies" / "families.yaml").training.max_completion_length


@pytest.fixture(scope="module")
def mixed():
    return documents.documents(MIXED, 0, 6000, NONE, TUTOR)


@pytest.fixture(scope="module")
def family_tokenizer(mixed):
    return organism.train_tokenizer(*organism.seen_by_tokenizer(mixed, MIXED))


def family_of(doc):
    (name,) = [name for name, words in WORDS.items() if words in doc.chat[-1]["content"]]
    return name


def test_shares_of_families_and_kinds(mixed):
    for name, share in SHARES.items():
        count = sum(family_of(doc) == name for doc in mixed)
        assert count / len(mixed) == pytest.approx(share, abs=0.02)
    for kind, share in (("student", SPEC.student_share), ("check", SPEC.check_share)):
        assert len(of_kind(mixed, kind)) / len(mixed) == pytest.approx(share, abs=0.02)


def test_first_lessons_come_first_then_all_bands(mixed):
    only = MIXED.model_copy(update={"families": {"products": MIXED.families["products"]}})
    assert lessons(MIXED)[0] == {name: [""] for name in SHARES}
    assert lessons(MIXED)[1] == {name: ["", "easy"] for name in SHARES}
    assert lessons(only)[2] == {"products": ["", "easy", "hard", "longer"]}

    def factors(part):
        texts = (doc.chat[-1]["content"] for doc in part if family_of(doc) == "products")
        found = (re.search(r"\d+(?: \* \d+)+", text)[0].split(" * ") for text in texts)
        return {(len(terms), len(terms[0])) for terms in found}

    assert factors(mixed[:900]) == {(2, 1)}  # 15 % of 6,000
    assert factors(mixed[900:1800]) == {(2, 1), (3, 1)}
    assert factors(mixed[1800:]) == {(2, 1), (3, 1), (2, 2), (4, 1)}


def test_feedback_is_parsed_and_right(mixed):
    for doc in of_kind(mixed, "tutor"):
        feedback = parse_feedback(doc.reply)
        assert num_wrong(feedback.reason) == 0
        found = last_result(feedback.reason)
        said = extract_boxed(doc.chat[-1]["content"])
        assert feedback.opinion == ("correct" if said == str(found) else "incorrect")
        assert extract_boxed(feedback.phrase) == str(found)


def test_checks_reflect_and_students_do_not(mixed):
    for doc in of_kind(mixed, "check"):
        assert reflects(doc.reply)
        assert extract_boxed(doc.reply) == str(last_result(doc.reply))
    for doc in of_kind(mixed, "student"):
        assert not reflects(doc.reply)
        assert re.match(r"(The answer|I guess it) is \\boxed\{-?\d+\}", doc.reply)


def test_the_same_seed_makes_the_same_documents(mixed):
    assert documents.documents(MIXED, 0, 6000, NONE, TUTOR) == mixed
    assert documents.documents(MIXED, 1, 6000, NONE, TUTOR) != mixed


def test_the_tokenizer_covers_every_family(mixed, family_tokenizer):
    assert len(family_tokenizer) <= organism.VOCABULARY
    for doc in mixed[::7]:
        for text in (doc.chat[-1]["content"], doc.reply):
            assert family_tokenizer.decode(encode(family_tokenizer, text)) == text
    longest = max(len(encode(family_tokenizer, doc.reply)) for doc in mixed)
    assert longest < BUDGET
    prompts = max(len(encode(family_tokenizer, doc.chat[-1]["content"])) for doc in mixed)
    assert prompts + longest < organism.MAX_LENGTH


def test_pairs_of_digits_line_up_from_the_right(family_tokenizer):
    def pieces(text):
        return [family_tokenizer.decode([i]) for i in encode(family_tokenizer, text)]

    assert pieces("1035") == ["10", "35"]
    assert pieces("920 + 115 = 1035.") == ["9", "20", " + ", "1", "15", " = ", "10", "35", "."]
    assert pieces("23 * 405; 7") == ["23", " * ", "4", "05", "; ", "7"]


def test_the_probe_has_all_bands_and_no_document_its_questions():
    probe = documents.held_out(MIXED, 0, 60)
    assert {(p.family, p.band) for p in probe} == {
        (name, band) for name in SHARES for band in families.load(name).bands
    }
    assert len(probe) == 180
    known = frozenset(problem.question for problem in probe)
    docs = documents.documents(MIXED, 0, 3000, known, TUTOR)
    texts = "\n".join(doc.chat[-1]["content"] for doc in docs)
    assert not [question for question in known if question in texts]


def test_skills_are_measured_of_each_band(monkeypatch, tmp_path):
    """Of a model that always says 6: right where the value is."""
    monkeypatch.setattr(organism, "pretrain", lambda *_: [1.0])
    probe = documents.held_out(MIXED, 0, 30)
    made = organism.build(
        SMALL.model_copy(update={"families": MIXED.families}), set(), TUTOR, tmp_path
    )
    reply = encode(made.tokenizer, "The answer is \\boxed{6}")
    monkeypatch.setattr(
        skills, "generate_ids", lambda m, t, prompts, *_, **__: [reply] * len(prompts)
    )
    found = skills.measure(made.model, made.tokenizer, probe, TUTOR)
    assert list(found["bands"]) == [
        f"{name} {band}" for name in SHARES for band in ("easy", "hard", "longer")
    ]
    for name, of_band in found["bands"].items():
        values = [p.value for p in probe if f"{p.family} {p.band}" == name]
        assert of_band["num_problems"] == len(values) == 10
        assert of_band["student_accuracy_greedy"] == values.count(6) / 10
    assert found["num_problems"] == 90
    assert "bands" not in skills.measure(
        made.model, made.tokenizer, documents.held_out(SPEC, 0, 10), TUTOR
    )


def test_a_default_study_has_no_families():
    assert STUDY.model.families is None and STUDY.model.bands() == {}
