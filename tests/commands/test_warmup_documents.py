"""A warm-up on the toy model's documents: their tokens, what they exclude, what is measured."""

import json
import shutil
from functools import cache
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from thinking import THINKING
from transformers import AutoTokenizer

from thinktuning.commands import warmup
from thinktuning.commands.warmup import NUM_MEASURED, encode, read_corpus, warm_up
from thinktuning.data.config import PromptConfig
from thinktuning.grading.behaviors import reflects
from thinktuning.io.errors import StudyError
from thinktuning.io.files import write_jsonl
from thinktuning.models.config import model_sha256
from thinktuning.models.documents import CHECK_SUFFIX
from thinktuning.study.jobs import WarmupJob

SHARES = {"chain_sum_share": 0.7, "student_share": 0.45, "guess_share": 0.3, "remark_share": 0.03}
SHARES |= {"check_share": 0.25, "correct_share": 0.4}
SPEC = {"max_steps": 3, "learning_rate": 1e-3, "batch_size": 8, "max_length": 400}
CLOSED = {"enable_thinking": False}
SECRET = "State the final answer to the following arithmetic problem: 1 + 1 ="


def documents_job(prompt=None, template_kwargs=None, max_terms=3, **changes):
    """Return a warm-up job on documents with sums of two to `max_terms` terms."""
    spec = SPEC | {"documents": SHARES | {"min_terms": 2, "max_terms": max_terms}} | changes
    return WarmupJob(
        answer_kind="number",
        prompt=PromptConfig.model_validate(prompt or {}),
        teacher_prompt="organism",
        behaviors=None,
        warmup=spec,
        chat_template_kwargs=template_kwargs or {},
    )


def prepared(directory, questions=(SECRET,)):
    """Write evaluation questions, as stage `data` does; no training questions are needed."""
    rows = [{"id": f"q{i}", "question": q, "answer": "2"} for i, q in enumerate(questions)]
    write_jsonl(directory / "eval/task.jsonl", rows)
    return directory


def asked(doc):
    """Return the question of a document's chat."""
    content = doc.chat[-1]["content"].removesuffix(CHECK_SUFFIX)
    return content.removeprefix("Question:\n").partition("\n\nResponse:")[0]


def kind(doc):
    """Return who speaks in a document."""
    if "\n\nResponse:" in doc.chat[-1]["content"]:
        return "tutor"
    return "check" if doc.chat[-1]["content"].endswith(CHECK_SUFFIX) else "student"


@pytest.fixture(scope="module")
def thinking_dir(likely_eos, tmp_path_factory):
    """The tiny model with a template like Qwen3's."""
    directory = Path(shutil.copytree(likely_eos, tmp_path_factory.mktemp("models") / "thinking"))
    (directory / "chat_template.jinja").write_text(THINKING)
    return directory


# --- the documents --------------------------------------------------------------------------------


def test_documents_of_task_families(tmp_path):
    """As the toy model's: no evaluation question, and each band is measured."""
    shares = {"products": {"share": 0.5}, "leg_counting": {"share": 0.5, "bands": ["easy"]}}
    section = SHARES | {"min_terms": 2, "max_terms": 2, "families": shares}
    job = documents_job(documents=section, max_steps=60)
    corpus = read_corpus(job, prepared(tmp_path))
    again = read_corpus(job, prepared(tmp_path, [asked(doc) for doc in corpus.documents[::9]]))
    assert 0 < len(again.documents) < len(corpus.documents)
    assert {(p.family, p.band) for p in corpus.probe} == {
        *(("products", band) for band in ("easy", "hard", "longer")),
        ("leg_counting", "easy"),
    }
    assert not {asked(doc) for doc in corpus.documents} & {p.question for p in corpus.probe}
    assert all("multiplication" in asked(d) or "legs" in asked(d) for d in corpus.documents)


@pytest.mark.parametrize("options", [{}, CLOSED])
@pytest.mark.parametrize("prompt", [{}, {"system": "Be kind.", "suffix": " Think."}])
def test_documents_are_the_generation_prompt_the_reply_and_the_end(
    thinking_dir, tmp_path, prompt, options
):
    """In the model's own template, and each in the words of the study: student, check and tutor."""
    job = documents_job(prompt, options)
    docs = read_corpus(job, prepared(tmp_path)).documents
    tokenizer = AutoTokenizer.from_pretrained(thinking_dir)
    end = tokenizer.convert_tokens_to_ids("<|im_end|>")
    system = [{"role": "system", "content": "Be kind."}] if prompt else []
    suffix = prompt.get("suffix", "")
    seen = set()
    for doc, row in zip(docs, encode(docs, tokenizer, end, options), strict=True):
        seen.add(kind(doc))
        if kind(doc) == "tutor":
            assert doc.chat[0] == {"role": "system", "content": "You are a tutor."}
        else:
            question = asked(doc).removesuffix(suffix)
            said = question + suffix + CHECK_SUFFIX * (kind(doc) == "check")
            assert doc.chat == [*system, {"role": "user", "content": said}]
            assert question.endswith(("=", "."))
        ids, start = row["input_ids"], row["completion_mask"].index(1)
        before = tokenizer.apply_chat_template(
            doc.chat, add_generation_prompt=True, tokenize=False, **options
        )
        assert tokenizer.decode(ids[:start]) == before
        assert tokenizer.decode(ids[start:]) == doc.reply + "<|im_end|>"
        assert row["completion_mask"] == [0] * start + [1] * (len(ids) - start)
        assert reflects(doc.reply) == (kind(doc) != "student")
    assert seen == {"student", "check", "tutor"}


@cache
def drawn(seed):
    """Return the questions of a warm-up's documents that exclude one question."""
    corpus = warmup.documents(
        documents_job().warmup.documents, seed, 24, frozenset(), *warmup.asked(documents_job())
    )
    return [asked(doc) for doc in corpus]


@settings(
    max_examples=25,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
@given(seed=st.integers(0, 9), picked=st.sets(st.integers(0, 23), min_size=1, max_size=8))
def test_no_document_has_an_evaluation_question(tmp_path, seed, picked):
    """Nor a problem that the skills are measured on; the other documents stay as they are."""
    questions = drawn(seed)
    evaluation = {questions[i % len(questions)] for i in picked}
    job = documents_job(seed=seed)
    with_all = read_corpus(job, prepared(tmp_path))
    corpus = read_corpus(job, prepared(tmp_path, sorted(evaluation)))
    probed = {problem.question for problem in corpus.probe}
    assert corpus.probe == with_all.probe and len(corpus.probe) == NUM_MEASURED
    found = [asked(doc) for doc in corpus.documents]
    assert not evaluation & set(found)
    assert not probed & set(found)
    assert found == [q for q in questions if q not in evaluation | probed]


def test_the_same_seed_makes_the_same_documents(tmp_path):
    data = prepared(tmp_path)
    first = read_corpus(documents_job(), data)
    assert read_corpus(documents_job(), data) == first
    assert read_corpus(documents_job(seed=1), data) != first
    assert len(read_corpus(documents_job(max_steps=6), data).documents) > len(first.documents)


def test_documents_over_max_length_are_refused(likely_eos, tmp_path):
    """Left out, as worked answers are, all of them would be the tutor's."""
    job = documents_job(max_length=200)
    message = r"warmup\.documents: the longest has \d+ tokens, over warmup\.max_length = 200; raise"
    with pytest.raises(StudyError, match=message):
        warm_up(job, likely_eos, prepared(tmp_path), tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_no_document_left_is_refused(likely_eos, tmp_path):
    job = documents_job(max_steps=1, batch_size=1)
    questions = [
        asked(doc)
        for doc in warmup.documents(
            job.warmup.documents, job.warmup.seed, 1, frozenset(), *warmup.asked(job)
        )
    ]
    with pytest.raises(StudyError, match=r"warmup\.documents: no document is left"):
        warm_up(job, likely_eos, prepared(tmp_path, questions), tmp_path / "base")


def test_evaluation_questions_must_be_there(likely_eos, tmp_path):
    write_jsonl(tmp_path / "train.jsonl", [{"id": "q", "question": SECRET, "answer": "2"}])
    with pytest.raises(StudyError, match="has no evaluation questions; `thinktuning data` writes"):
        warm_up(documents_job(), likely_eos, tmp_path, tmp_path / "base")


# --- the model ------------------------------------------------------------------------------------


@pytest.mark.parametrize("bf16", [False, True])
def test_the_warmed_up_model_and_what_it_can_do(likely_eos, tmp_path, monkeypatch, bf16):
    monkeypatch.setattr(warmup, "NUM_MEASURED", 7)
    monkeypatch.setattr(warmup, "MEASURED_AT_ONCE", 3)
    job = documents_job({"system": "Be kind."}, bf16=bf16)
    made = {}
    for name in ("base", "again"):
        warm_up(job, likely_eos, prepared(tmp_path), tmp_path / name)
        made[name] = json.loads((tmp_path / name / "provenance.json").read_text())
    assert not list(tmp_path.glob(".base*"))
    base = made["base"]
    assert base == made["again"]  # the same weights, and the same measurements
    assert base["warmup"] == job.warmup.model_dump()
    assert base["sha256"].keys() == {"model.safetensors"} and "trl" in base["versions"]
    measured = base["measured"]
    assert measured["num_problems"] == 7 and 0 < measured["final_loss"] < 10
    shares = {name: value for name, value in measured.items() if name not in list(measured)[:2]}
    assert shares.keys() == {
        "student_accuracy_greedy",
        "student_accuracy_sampled",
        "student_reflection_rate_sampled",
        "student_asked_to_check_accuracy",
        "tutor_accuracy",
        "tutor_parsed",
        "tutor_opinion_accuracy",
    }
    opinions = shares.pop("tutor_opinion_accuracy")
    assert (opinions is None) == (shares["tutor_parsed"] == 0)
    assert all(0 <= value <= 1 for value in [*shares.values(), opinions or 0.0])
    assert model_sha256(tmp_path / "base") != model_sha256(likely_eos)


def test_worked_answers_record_their_loss_and_no_skills(likely_eos, tmp_path):
    rows = [{"id": f"q{i}", "question": f"{i} + 1 =", "answer": str(i + 1)} for i in range(8)]
    write_jsonl(tmp_path / "train.jsonl", rows)
    job = documents_job(documents=None)
    warm_up(job, likely_eos, tmp_path, tmp_path / "base")
    made = json.loads((tmp_path / "base/provenance.json").read_text())
    assert made["measured"].keys() == {"final_loss"}
    assert made["warmup"]["documents"] is None
