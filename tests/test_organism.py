"""The organism's documents, tokenizer and training; the slow test builds the default study's."""

import math
import random
import re
from pathlib import Path
from statistics import fmean

import pytest
import torch

from thinktuning import organism
from thinktuning.answers import extract_boxed
from thinktuning.base import check
from thinktuning.behaviours import reflects
from thinktuning.config import load_study
from thinktuning.feedback import Feedback, parse_feedback, splice
from thinktuning.organism import CHECK_SUFFIX, OPENINGS, Document, Problem

STUDY = load_study(Path(__file__).parents[1] / "config.yaml")
SPEC = STUDY.model
SMALL = SPEC.model_copy(
    update={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "batch_size": 16}
)
NONE = frozenset()


@pytest.fixture(scope="module")
def docs():
    return organism.documents(SPEC, 10_000, NONE)


@pytest.fixture(scope="module")
def tokenizer(docs):
    return organism.train_tokenizer(docs[:4000])


def kind(doc: Document) -> str:
    if doc.chat[0]["role"] == "system":
        return "tutor"
    return "check" if doc.chat[-1]["content"].endswith(CHECK_SUFFIX) else "student"


def of_kind(docs: list[Document], wanted: str) -> list[Document]:
    return [doc for doc in docs if kind(doc) == wanted]


def value(doc: Document) -> int:
    """The value of the sum in a document's question, by Python's own arithmetic."""
    question = doc.chat[-1]["content"].partition("\n\nResponse:")[0]
    return eval(re.search(r"\d+(?: [-+] \d+)+", question)[0])


def encode(tokenizer, text: str) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=False)


# --- sums -----------------------------------------------------------------------------------------


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
def test_running_total(expression, expected):
    assert organism.running_total(expression) == expected


def test_problems_have_the_value_of_their_expression():
    drawn = list(organism.problems(SPEC, SPEC.max_terms, 0, 300, NONE))
    assert len(drawn) == 300
    for problem in drawn:
        assert eval(problem.expression) == problem.value
        assert problem.expression in problem.question
        assert organism.running_total(problem.expression).endswith(f"= {problem.value}.")
    num_terms = {len(problem.expression.split()[::2]) for problem in drawn}
    assert num_terms == set(range(SPEC.min_terms, SPEC.max_terms + 1))


# --- documents ------------------------------------------------------------------------------------


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


def test_who_is_asked_to_check_does_and_ends_right(docs):
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


def test_a_document_by_hand():
    """Which kind it is, is drawn: shares of 0 and 1 leave no choice."""
    problem = Problem("1 + 2 =", "1 + 2", 3)
    only = {"student_share": 0.0, "guess_share": 0.0, "check_share": 0.0, "correct_share": 1.0}
    tutor = organism.document(problem, SPEC.model_copy(update=only), random.Random(0))
    assert tutor.chat[-1]["content"] == "Question:\n1 + 2 =\n\nResponse:\nThe answer is \\boxed{3}"
    assert tutor.reply == (
        "<opinion>correct</opinion><reason>Let me go through it again: 1 + 2 = 3.</reason>"
        "<phrase>The answer is \\boxed{3}</phrase>"
    )
    checks = SPEC.model_copy(update=only | {"check_share": 1.0})
    assert organism.document(problem, checks, random.Random(0)) == Document(
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
    kept = organism.documents(SPEC, len(docs), excluded)
    assert 0 < len(kept) < len(docs)
    assert not excluded & {question.partition("\n\nResponse:")[0] for question in questions(kept)}


def test_build_keeps_its_own_probe_out_of_the_documents(tmp_path, monkeypatch):
    """Skills are measured on problems that no document contains, and no evaluation question."""
    seen = {}

    def pretrain(model, tokenizer, docs, spec):
        seen["documents"] = docs
        return [3.0, 2.0, 1.0]

    def problems(spec, max_terms, seed, size, excluded, drawn=organism.problems):
        found = list(drawn(spec, max_terms, seed, size, excluded))
        seen.setdefault("probes", []).append({problem.question for problem in found})
        return iter(found)

    monkeypatch.setattr(organism, "pretrain", pretrain)
    monkeypatch.setattr(organism, "problems", problems)

    def generate_ids(model, tokenizer, prompts, *_, **__):
        seen["measured on"] = prompts
        return [[5]] * len(prompts)

    monkeypatch.setattr(organism, "generate_ids", generate_ids)
    asked = "State the final answer to the following arithmetic problem: 1 + 1 ="
    measured = organism.build(SMALL.model_copy(update={"max_steps": 60}), {asked}, tmp_path)
    assert measured["final_loss"] == 2.0
    assert measured["tutor_parsed"] == measured["student_accuracy_greedy"] == 0.0
    probe, *_ = seen["probes"]
    assert len(probe) > 400
    assert all(any(q in prompt for q in probe) for prompt in seen["measured on"])
    texts = [doc.chat[-1]["content"] for doc in seen["documents"]]
    # the shortest sums are few: without the exclusion some would surely be in the documents
    assert not [q for q in probe | {asked} if any(q in text.splitlines() for text in texts)]
    assert {"model.safetensors", "tokenizer.json"} <= {path.name for path in tmp_path.iterdir()}


def test_the_same_seed_makes_the_same_documents(docs):
    assert organism.documents(SPEC, 10_000, NONE) == docs
    other = organism.documents(SPEC.model_copy(update={"seed": 1}), 10_000, NONE)
    same = sum(a == b for a, b in zip(docs, other, strict=True))
    assert same < 500


# --- tokenizer ------------------------------------------------------------------------------------


def test_stock_sentences_and_numbers_are_one_token(tokenizer):
    for opening in (*OPENINGS[True], *OPENINGS[False]):
        assert len(encode(tokenizer, opening)) == 1
    for number in range(100):
        assert len(encode(tokenizer, str(number))) == 1
    # `12`, ` - `, `7`, ` = `, `5`, `.`
    assert len(encode(tokenizer, "12 - 7 = 5.")) == 6
    assert len(tokenizer) <= 1024


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "  two  spaces , and a space before a comma .",
        "don 't  \n\n\n  \t",
        "naïve π ≠ 3, 日本語, 😀\u2028\x00\x7f",
        "1234567890 -12 +7=19.",
        "</opinion><b>Hi</b>{}\\boxed{\\frac{1}{2}}",
        "Let me go through it again: Let me go through it again:",
    ],
)
def test_any_text_survives(tokenizer, text):
    assert tokenizer.unk_token is None
    assert tokenizer.decode(encode(tokenizer, text)) == text


def test_every_document_survives_and_fits(tokenizer, docs):
    for doc in docs[::20]:
        ids = tokenizer.apply_chat_template(
            doc.chat, add_generation_prompt=True, return_dict=False
        ) + encode(tokenizer, doc.reply)
        roles = "".join(f"<|{m['role']}|>{m['content']}" for m in doc.chat)
        assert tokenizer.decode(ids) == f"{roles}<|assistant|>{doc.reply}"
        assert len(ids) < organism.MAX_LENGTH


def test_feedback_spliced_on_is_tokenised_as_in_the_documents(tokenizer, docs):
    """Else the trajectories that RL rewards would be strange to the base."""
    eos = tokenizer.eos_token_id

    def spliced(said: str, feedback: Feedback) -> list[int]:
        ids = encode(tokenizer, feedback.text)
        return splice([*encode(tokenizer, said), eos], ids, eos, 10**6)[0]

    for doc in of_kind(docs, "check"):
        said, reason, phrase = doc.reply.split("\n\n")
        ids = encode(tokenizer, doc.reply + tokenizer.eos_token)
        assert spliced(said, Feedback("incorrect", reason, phrase)) == ids
    for doc in of_kind(docs, "tutor"):
        said = doc.chat[-1]["content"].partition("Response:\n")[2]
        feedback = parse_feedback(doc.reply)
        whole = encode(tokenizer, said + feedback.text + tokenizer.eos_token)
        assert spliced(said, feedback) == whole


def test_the_default_studys_budgets_hold_what_its_base_says(tokenizer, docs):
    replies = {name: of_kind(docs, name) for name in ("check", "tutor")}
    longest = {n: max(len(encode(tokenizer, d.reply)) for d in ds) for n, ds in replies.items()}
    assert longest["tutor"] + 1 <= STUDY.teacher.max_completion_length
    assert longest["check"] + 1 <= STUDY.training.max_completion_length
    assert longest["check"] + 1 <= STUDY.evaluation.max_gen_toks


# --- model and training ---------------------------------------------------------------------------


def test_the_same_seed_makes_the_same_weights(tokenizer):
    def weights(seed):
        model = organism.new_model(SMALL.model_copy(update={"seed": seed}), tokenizer)
        return torch.cat([weight.flatten() for weight in model.parameters()])

    assert torch.equal(weights(0), weights(0))
    assert not torch.equal(weights(0), weights(1))


def test_batches_hold_every_document_once_with_its_reply(tokenizer, docs):
    some = docs[::50]  # 200: more than one batch, and the last one is not full
    rows = [row for batch in organism.batches(some, tokenizer, 16, 0) for row in batch]
    replies = [tokenizer.decode(ids[start:]) for ids, start in rows]
    assert sorted(replies) == sorted(doc.reply + "<|eos|>" for doc in some)
    assert {tokenizer.decode(ids[start - 1]) for ids, start in rows} == {"<|assistant|>"}
    sizes = [len(batch) for batch in organism.batches(some, tokenizer, 16, 0)]
    assert sorted(sizes) == [8] + [16] * 12


def test_training_lowers_the_loss_and_is_repeatable(tokenizer, docs):
    spec = SPEC.model_copy(update={"max_steps": 20, "batch_size": 32})

    def losses():
        model = organism.new_model(spec, tokenizer)
        return organism.pretrain(model, tokenizer, docs[: 20 * 32], spec)

    first = losses()
    assert len(first) == 20
    assert first[0] == pytest.approx(math.log(len(tokenizer)), abs=0.2)  # knows nothing yet
    assert fmean(first[-5:]) < first[0] - 0.5
    assert losses() == first


@pytest.mark.slow
def test_the_default_organism_keeps_two_skills_apart(tmp_path):
    measured = organism.build(SPEC, set(), tmp_path)
    check(tmp_path, "the organism")
    assert measured["tutor_accuracy"] - measured["student_accuracy_greedy"] > 0.3
    assert measured["student_reflection_rate_sampled"] < 0.01
    assert measured["tutor_parsed"] > 0.9
    # reflection is within the model: asked to check itself, it does better
    assert measured["student_asked_to_check_accuracy"] > measured["student_accuracy_sampled"]
