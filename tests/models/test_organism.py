"""The toy model's tokenizer and training; the slow test trains that of the default study."""

import math
from statistics import fmean

import pytest
import torch
from toy_model import SMALL, SPEC, STUDY, TUTOR, encode, of_kind

from thinktuning.algorithms.feedback import Feedback, parse_feedback, splice
from thinktuning.evaluation import skills
from thinktuning.models import documents, organism
from thinktuning.models.checks import check
from thinktuning.models.documents import OPENINGS

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


def test_spliced_feedback_is_tokenized_as_in_the_documents(tokenizer, docs):
    """Otherwise the trajectories that RL rewards would be unlike the training documents."""
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


def test_the_default_studys_token_budgets_fit_the_replies(tokenizer, docs):
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
    some = docs[::50]  # 200: several batches, and the last one is not full
    rows = [row for batch in organism.batches(some, tokenizer, 16, 0) for row in batch]
    replies = [tokenizer.decode(ids[start:]) for ids, start in rows]
    assert sorted(replies) == sorted(doc.reply + "<|eos|>" for doc in some)
    assert {tokenizer.decode(ids[start - 1]) for ids, start in rows} == {"<|assistant|>"}
    sizes = [len(batch) for batch in organism.batches(some, tokenizer, 16, 0)]
    assert sorted(sizes) == [8] + [16] * 12


def test_training_lowers_the_loss_and_is_reproducible(tokenizer, docs):
    spec = SPEC.model_copy(update={"max_steps": 20, "batch_size": 32})

    def losses():
        model = organism.new_model(spec, tokenizer)
        return organism.pretrain(model, tokenizer, docs[: 20 * 32], spec)

    first = losses()
    assert len(first) == 20
    assert first[0] == pytest.approx(math.log(len(tokenizer)), abs=0.2)  # untrained: uniform
    assert fmean(first[-5:]) < first[0] - 0.5
    assert losses() == first


def test_no_document_contains_a_probe_problem(tmp_path, monkeypatch):
    """Skills are measured on problems that are in no document and are no evaluation question."""
    seen = {}

    def pretrain(model, tokenizer, docs, spec):
        seen["documents"] = docs
        return [3.0, 2.0, 1.0]

    def problems(spec, max_terms, seed, size, excluded, drawn=documents.problems):
        found = list(drawn(spec, max_terms, seed, size, excluded))
        seen.setdefault("probes", []).append({problem.question for problem in found})
        return iter(found)

    monkeypatch.setattr(organism, "pretrain", pretrain)
    monkeypatch.setattr(documents, "problems", problems)

    def generate_ids(model, tokenizer, prompts, *_, **__):
        seen["measured on"] = tokenizer.batch_decode(prompts)
        return [[5]] * len(prompts)

    monkeypatch.setattr(skills, "generate_ids", generate_ids)
    asked = "State the final answer to the following arithmetic problem: 1 + 1 ="
    spec = SMALL.model_copy(update={"max_steps": 60})
    made = organism.build(spec, {asked}, TUTOR, tmp_path)
    assert made.final_loss == 2.0
    measured = skills.measure(made.model, made.tokenizer, made.probe, TUTOR)
    assert measured["tutor_parsed"] == measured["student_accuracy_greedy"] == 0.0
    assert measured["tutor_opinion_accuracy"] is None  # of replies that parse, of which none is
    probe, *_ = seen["probes"]
    assert len(probe) > 400
    assert all(any(q in prompt for q in probe) for prompt in seen["measured on"])
    texts = [doc.chat[-1]["content"] for doc in seen["documents"]]
    # there are few short sums: without the exclusion some would be in the documents
    assert not [q for q in probe | {asked} if any(q in text.splitlines() for text in texts)]
    assert {"model.safetensors", "tokenizer.json"} <= {path.name for path in tmp_path.iterdir()}


@pytest.mark.slow
def test_the_default_toy_model_has_two_separate_skills(tmp_path):
    made = organism.build(SPEC, set(), TUTOR, tmp_path)
    check(tmp_path, "the toy model")
    measured = skills.measure(made.model, made.tokenizer, made.probe, TUTOR)
    assert measured["tutor_accuracy"] - measured["student_accuracy_greedy"] > 0.3
    assert measured["student_reflection_rate_sampled"] < 0.01
    assert measured["tutor_parsed"] > 0.9
    # the model is able to reflect: asked to check itself, it does better
    assert measured["student_asked_to_check_accuracy"] > measured["student_accuracy_sampled"]
