"""The warm-up of the base model: its documents, and the model that comes out."""

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from thinktuning.algorithms.feedback import parse_feedback
from thinktuning.commands.warmup import warm_up
from thinktuning.commands.worked_answers import worked_answers
from thinktuning.data.config import JsonlConfig, PromptConfig, ReasoningGymConfig
from thinktuning.data.sources import load_rows
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl, write_jsonl
from thinktuning.models.config import WarmupConfig
from thinktuning.study.jobs import WarmupJob

ROWS = [
    {"id": f"q{i}", "question": f"{i} + 1 =", "answer": str(i + 1), "solution": f"{i}+1={i + 1}"}
    for i in range(40)
]


def warmup_job(tutor_share=0.0, **settings):
    spec = {"max_steps": 4, "learning_rate": 1e-3, "batch_size": 4, "max_length": 400}
    spec |= {"tutor_share": tutor_share}
    return WarmupJob(
        answer_kind="number",
        prompt=PromptConfig(suffix=" Think."),
        teacher_prompt="organism" if tutor_share else None,
        behaviors=None,
        warmup=WarmupConfig.model_validate(spec | settings),
    )


def test_student_documents_have_the_solution_and_a_box():
    documents = worked_answers(warmup_job(), ROWS)
    assert len(documents) == 40
    found = {doc.chat[-1]["content"]: doc.reply for doc in documents}
    assert found["7 + 1 = Think."] == "7+1=8\nThe answer is \\boxed{8}."
    without = worked_answers(warmup_job(), [{"id": "q", "question": "1 + 1 =", "answer": "2"}])
    assert without[0].reply == "The answer is \\boxed{2}."
    assert worked_answers(warmup_job(), ROWS) == documents
    assert worked_answers(warmup_job(seed=1), ROWS) != documents


def test_tutor_documents_judge_right_and_wrong_answers():
    documents = worked_answers(warmup_job(tutor_share=1.0), ROWS)
    verdicts = []
    for doc in documents:
        system, asked = doc.chat
        assert system["content"] == "You are a tutor."
        feedback = parse_feedback(doc.reply)
        question = asked["content"].split("Question:\n")[1].split(" + 1 =")[0]
        shown = asked["content"].rsplit("\\boxed{", 1)[1].split("}")[0]
        right = str(int(question) + 1)
        assert feedback.phrase == f"The answer is \\boxed{{{right}}}."
        assert feedback.opinion == ("correct" if shown == right else "incorrect")
        assert f"{question}+1={right}" in feedback.reason
        verdicts.append(feedback.opinion)
    assert 8 <= verdicts.count("correct") <= 32


def test_worked_solutions_of_the_sources(tmp_path):
    path = tmp_path / "gsm8k.jsonl"
    write_jsonl(path, [{"question": "2 and 3?", "answer": "2+3=<<2+3=5>>5 in all.\n#### 5"}])
    (row,) = load_rows(JsonlConfig(source="jsonl", path=str(path)), "number", "train", "train")
    assert (row["answer"], row["solution"]) == ("5", "2+3=5 in all.")
    source = ReasoningGymConfig(source="reasoning_gym", generator="gsm_symbolic", size=5, seed=1)
    for row in load_rows(source, "number", "train", "train"):
        assert row["solution"] and "####" not in row["solution"]
    source = source.model_copy(update={"generator": "chain_sum", "params": {"max_terms": 3}})
    for row in load_rows(source, "number", "train", "train"):
        lines = row["solution"].splitlines()
        assert lines[-1].endswith(f"= {row['answer']}") and len(lines) in (1, 2)
        for line in lines:
            sides = line.split("=")
            assert eval(sides[0]) == int(sides[1])
    source = source.model_copy(update={"generator": "lcm", "params": {}})
    assert all("solution" not in row for row in load_rows(source, "number", "train", "train"))


def test_the_warmed_up_model_has_learned_the_format(likely_eos, tmp_path):
    write_jsonl(tmp_path / "train.jsonl", ROWS)
    warm_up(
        warmup_job(max_steps=60, batch_size=8, learning_rate=5e-3),
        likely_eos,
        tmp_path,
        tmp_path / "base",
    )
    assert not list(tmp_path.glob(".base*"))
    assert list(read_jsonl(tmp_path / "train.jsonl")) == ROWS

    (document,) = worked_answers(warmup_job(), ROWS[:1])
    tokenizer = AutoTokenizer.from_pretrained(likely_eos)
    prompt = tokenizer.apply_chat_template(
        document.chat, add_generation_prompt=True, return_dict=False
    )
    reply = tokenizer.encode(document.reply, add_special_tokens=False)

    def loss(directory):
        model = AutoModelForCausalLM.from_pretrained(directory, dtype="float32")
        ids = torch.tensor([prompt + reply])
        with torch.no_grad():
            labels = torch.tensor([[-100] * len(prompt) + reply])
            return model(ids, labels=labels).loss.item()

    assert loss(tmp_path / "base") < loss(likely_eos) - 1


def test_documents_over_max_length_are_refused(likely_eos, tmp_path):
    write_jsonl(tmp_path / "train.jsonl", ROWS)
    with pytest.raises(StudyError, match=r"no worked answer fits warmup\.max_length = 8 tokens"):
        warm_up(warmup_job(max_length=8), likely_eos, tmp_path, tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_a_model_that_changes_in_saving_is_refused(tiny_model_dir, tmp_path, monkeypatch):
    from trl import SFTTrainer

    write_jsonl(tmp_path / "train.jsonl", ROWS)
    save = SFTTrainer.save_model

    def lossy(trainer, *args):
        with torch.no_grad():
            trainer.model.model.norm.weight *= 1.1
        save(trainer, *args)

    monkeypatch.setattr(SFTTrainer, "save_model", lossy)
    with pytest.raises(StudyError, match="is not the model that was trained"):
        warm_up(warmup_job(bf16=True), tiny_model_dir, tmp_path, tmp_path / "warm")
    assert not (tmp_path / "warm").exists()
    monkeypatch.setattr(SFTTrainer, "save_model", save)
    warm_up(warmup_job(bf16=True), tiny_model_dir, tmp_path, tmp_path / "warm")
    assert (tmp_path / "warm/model.safetensors").exists()
