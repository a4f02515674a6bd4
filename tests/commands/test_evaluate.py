"""The evaluate stage: prompts that the model gets, what is stored of its answers, refusals."""

import hashlib
import json
import shutil
from pathlib import Path
from statistics import fmean

import pytest
import torch
from evaluate_job import BUDGET, PROMPT, evaluate_job, evaluation
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

import thinktuning.commands.evaluate as stage
from thinktuning.commands.evaluate import evaluate
from thinktuning.data.prompt import student_chat
from thinktuning.evaluation.lm import recording_model
from thinktuning.io.errors import StudyError
from thinktuning.io.files import read_jsonl, write_jsonl

EOS, OTHER_EOS = 258, 5


@pytest.fixture(scope="module")
def model_dir(lively, tmp_path_factory):
    """The lively model with its own generation config."""
    directory = tmp_path_factory.mktemp("models") / "configured"
    shutil.copytree(lively, directory)
    GenerationConfig(
        eos_token_id=[EOS, OTHER_EOS], do_sample=True, top_p=0.01, repetition_penalty=2.0
    ).save_pretrained(directory)
    return directory


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    path = tmp_path_factory.mktemp("data") / "questions.jsonl"
    rows = [{"id": f"q{i}", "question": f"{i} + {'1' * i} =", "answer": str(i)} for i in range(6)]
    write_jsonl(path, rows)
    return path


@pytest.fixture(scope="module")
def evaluated(model_dir, data, tmp_path_factory):
    """Run the stage; return its files, and each prompt's and answer's tokens."""

    def run(**settings):
        output = tmp_path_factory.mktemp("output")
        generated = []

        def recorded(*arguments):
            lm = recording_model(*arguments)
            generate = lm._model_generate

            def record(context, **kwargs):
                full = generate(context=context, **kwargs)
                generated.extend(
                    (row[mask.bool()].tolist(), ids[context.shape[1] :].tolist())
                    for row, mask, ids in zip(context, kwargs["attention_mask"], full, strict=True)
                )
                return full

            lm._model_generate = record
            return lm

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(stage, "recording_model", recorded)
            patch.setattr("datasets.config.HF_DATASETS_CACHE", output / "cache")
            evaluate(evaluate_job(**settings), model_dir, data, output)
        rows = list(read_jsonl(output / "samples.jsonl"))
        return rows, json.loads((output / "results.json").read_text()), generated

    return run


@pytest.fixture(scope="module")
def sampled(evaluated):
    return evaluated()


def prompts(data, model_dir) -> dict[str, tuple[str, list[int]]]:
    """Return each question's prompt as training renders it: text and tokens."""
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    rendered = {}
    for row in read_jsonl(data):
        chat = [
            {"role": "system", "content": "Be {{brief}}."},
            {"role": "user", "content": row["question"] + " {{Check}} {% it %} \\boxed{}\n"},
        ]
        assert chat == student_chat(row["question"], PROMPT)
        text = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
        ids = tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
        rendered[row["id"]] = (text, ids)
    return rendered


# --- what the model is given ----------------------------------------------------------------------


def test_the_model_sees_the_chat_of_training(sampled, data, model_dir):
    """System turn and suffix included, to the last space."""
    _, _, generated = sampled
    expected = sorted(ids for _, ids in prompts(data, model_dir).values() for _ in range(2))
    assert sorted(ids for ids, _ in generated) == expected


# --- what is stored -------------------------------------------------------------------------------


def test_one_row_per_question_and_sample(sampled, data, model_dir):
    rows, _, _ = sampled
    assert [(row["id"], row["sample"]) for row in rows] == [
        (f"q{i}", k) for i in range(6) for k in range(2)
    ]
    assert [row["gold"] for row in rows[::2]] == ["0", "1", "2", "3", "4", "5"]
    fields = "id sample prompt_hash text answer gold finish_reason num_tokens reflects behaviors"
    added = {"first_answer", "verdict", "correct", "first_correct"}
    assert all(set(row) == {*fields.split(), *added} for row in rows)
    for row in rows:
        text, _ = prompts(data, model_dir)[row["id"]]
        assert row["prompt_hash"] == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_text_length_and_finish_reason_of_each_answer(sampled, data, model_dir):
    rows, _, generated = sampled
    tokenizer = AutoTokenizer.from_pretrained(model_dir)
    ids_of = {key: ids for key, (_, ids) in prompts(data, model_dir).items()}
    kept = [(ids_of[r["id"]], r["text"], r["num_tokens"], r["finish_reason"]) for r in rows]
    expected = []
    for prompt_ids, ids in generated:
        ends = [i for i, token in enumerate(ids) if token in (EOS, OTHER_EOS)]
        length = ends[0] + 1 if ends else BUDGET
        text = tokenizer.decode([token for token in ids[:length] if token < 256])
        expected.append((prompt_ids, text, length, "stop" if ends else "length"))
    assert sorted(kept) == sorted(expected)
    assert {row["finish_reason"] for row in rows} == {"stop", "length"}


def test_the_summary_aggregates_the_rows(sampled):
    rows, results, _ = sampled
    assert (results["n"], results["k"]) == (6, 2)
    assert results["mean_tokens"] == pytest.approx(fmean(row["num_tokens"] for row in rows))
    truncated = [row["finish_reason"] == "length" for row in rows]
    assert results["truncation_rate"] == pytest.approx(fmean(truncated))
    # a model with random weights boxes nothing
    assert (results["mean"], results["no_answer_rate"], results["error_rate"]) == (0, 1, 0)
    prompt = {"system": PROMPT.system, "suffix": PROMPT.suffix, "chat_template_kwargs": {}}
    assert results["prompt"] == prompt
    assert results["sampling"]["temperature"] == 1.0
    assert (results["method"], results["task"], results["seed"]) == ("zero_shot", "chain_sum", None)
    assert results["lm_eval"] == "thinktuning_chain_sum"
    assert results["wall_seconds"] > 0 and results["versions"]["lm_eval"].startswith("0.4.")


def test_the_seed_determines_the_answers(sampled, evaluated):
    rows, _, _ = sampled
    assert evaluated()[0] == rows
    assert [row["text"] for row in evaluated(seed=2)[0]] != [row["text"] for row in rows]
    assert rows[0]["text"] != rows[1]["text"]


@pytest.mark.parametrize("temperature", [0, 0.0001])
def test_greedy_answers_are_the_argmax(evaluated, data, model_dir, temperature):
    """Without the model's own repetition penalty; sampling at a low temperature gives the same."""
    rows, results, _ = evaluated(num_samples=1, temperature=temperature)
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype="float32")
    assert (results["n"], results["k"]) == (6, 1)
    for row in rows:
        ids = list(prompts(data, model_dir)[row["id"]][1])
        start = len(ids)
        while len(ids) < start + BUDGET and ids[-1] not in (EOS, OTHER_EOS):
            with torch.no_grad():
                ids.append(model(torch.tensor([ids])).logits[0, -1].argmax().item())
        assert row["num_tokens"] == len(ids) - start
        tokenizer = AutoTokenizer.from_pretrained(model_dir)
        assert row["text"] == tokenizer.decode([token for token in ids[start:] if token < 256])


def test_sampling_is_from_the_whole_distribution(sampled, model_dir):
    """Neither the model's own top_p nor transformers' default top_k of 50 applies."""
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype="float32")
    ranks = []
    for prompt_ids, ids in sampled[2]:
        end = next((i + 1 for i, token in enumerate(ids) if token in (EOS, OTHER_EOS)), BUDGET)
        with torch.no_grad():
            logits = model(torch.tensor([prompt_ids + ids])).logits[0, len(prompt_ids) - 1 :]
        ranks += [(logits[i] > logits[i, ids[i]]).sum().item() for i in range(end)]
    assert max(ranks) >= 50 and min(ranks) == 0


# --- what is refused ------------------------------------------------------------------------------


def test_an_incomplete_model_is_refused(data, model_dir, tmp_path):
    with pytest.raises(StudyError, match=r"--model no/model: has no config\.json"):
        evaluate(evaluate_job(), Path("no/model"), data, tmp_path / "output")
    copied = Path(shutil.copytree(model_dir, tmp_path / "model"))
    (copied / "chat_template.jinja").unlink()
    with pytest.raises(StudyError, match=r"--model .*: its tokenizer has no chat template"):
        evaluate(evaluate_job(), copied, data, tmp_path / "output")
    assert not (tmp_path / "output").exists()


def test_a_prompt_that_leaves_no_room_for_the_answer_is_refused(data, model_dir, tmp_path):
    """lm-eval would truncate it on the left, and ask half a question."""
    longest = max(len(ids) for _, ids in prompts(data, model_dir).values())
    room = 1024 - longest
    with pytest.raises(StudyError, match=rf"'q5' .* {longest} tokens; .*max_gen_toks = {room + 1}"):
        evaluate(evaluate_job(max_gen_toks=room + 1), model_dir, data, tmp_path / "output")
    assert not (tmp_path / "output").exists()
    lm = recording_model(model_dir, evaluation())
    stage.checked_prompts(evaluate_job(max_gen_toks=room), list(read_jsonl(data)), lm, data)
