"""The evaluate stage: what the model sees, what is kept of its answers, and a user's mistakes."""

import hashlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
from collections import deque
from pathlib import Path
from statistics import fmean
from types import SimpleNamespace

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig

import thinktuning.evaluate as stage
from thinktuning.backends import recording_model
from thinktuning.config import EvalRun, load_study, read_config
from thinktuning.errors import StudyError
from thinktuning.evaluate import evaluate, sample_rows
from thinktuning.files import read_jsonl, write_jsonl
from thinktuning.prompts import student_chat
from thinktuning.questions import read_questions
from thinktuning.schema import Evaluation, Prompt
from thinktuning.sources import TASKS, task_kind
from thinktuning.tasks import grade

ROOT = Path(__file__).parents[1]
EOS, OTHER_EOS = 258, 5
BUDGET = 60
PROMPT = Prompt(system="Be {{brief}}.", suffix=" {{Check}} {% it %} \\boxed{}\n")  # not Jinja


@pytest.fixture(scope="module")
def model_dir(lively, tmp_path_factory):
    """The lively model with a generation config of its own."""
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


def resolve(num_samples=2, temperature=1.0, seed=1, max_gen_toks=BUDGET, batch_size=5) -> EvalRun:
    run = load_study(ROOT / "config.yaml").eval_config("zero_shot", None, "chain_sum")
    evaluation = Evaluation(
        temperature=temperature, seed=seed, max_gen_toks=max_gen_toks, batch_size=batch_size
    )
    changes = {"num_samples": num_samples, "evaluation": evaluation, "prompt": PROMPT}
    return run.model_copy(update=changes)


@pytest.fixture(scope="module")
def evaluated(model_dir, data, tmp_path_factory):
    """Runs the stage; returns its files, and what the model was given and gave, row by row."""

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
            evaluate(resolve(**settings), model_dir, data, output)
        rows = list(read_jsonl(output / "samples.jsonl"))
        return rows, json.loads((output / "results.json").read_text()), generated

    return run


@pytest.fixture(scope="module")
def sampled(evaluated):
    return evaluated()


def prompts(data, model_dir) -> dict[str, tuple[str, list[int]]]:
    """Each question's prompt as training renders it: text and tokens."""
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


# --- what the model sees --------------------------------------------------------------------------


def test_the_model_sees_the_chat_of_training(sampled, data, model_dir):
    """System turn and suffix included, to the last blank."""
    _, _, generated = sampled
    expected = sorted(ids for _, ids in prompts(data, model_dir).values() for _ in range(2))
    assert sorted(ids for ids, _ in generated) == expected


def test_the_chat_template_alone_writes_special_tokens(model_dir, tmp_path):
    from tokenizers.processors import TemplateProcessing

    directory = Path(shutil.copytree(model_dir, tmp_path / "model"))
    tokenizer = AutoTokenizer.from_pretrained(directory)
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|pad|> $A", special_tokens=[("<|pad|>", 256)]
    )
    tokenizer.bos_token = "<|pad|>"
    tokenizer.save_pretrained(directory)
    assert tokenizer("7")["input_ids"] == [256, tokenizer.convert_tokens_to_ids("7")]
    chat = student_chat("7", Prompt())
    rendered = tokenizer.apply_chat_template(chat, add_generation_prompt=True, tokenize=False)
    ids, _ = recording_model(directory, resolve().evaluation).tok_batch_encode([rendered])
    assert ids.tolist() == [
        tokenizer.apply_chat_template(chat, add_generation_prompt=True, return_dict=False)
    ]


# --- what is kept ---------------------------------------------------------------------------------


def test_a_row_for_each_question_and_sample(sampled, data, model_dir):
    rows, _, _ = sampled
    assert [(row["id"], row["sample"]) for row in rows] == [
        (f"q{i}", k) for i in range(6) for k in range(2)
    ]
    assert [row["gold"] for row in rows[::2]] == ["0", "1", "2", "3", "4", "5"]
    fields = "id sample prompt_hash text answer gold finish_reason num_tokens reflects behaviours"
    added = {"first_answer", "verdict", "correct", "first_correct"}
    assert all(set(row) == {*fields.split(), *added} for row in rows)
    for row in rows:
        text, _ = prompts(data, model_dir)[row["id"]]
        assert row["prompt_hash"] == hashlib.sha256(text.encode()).hexdigest()[:16]


def test_text_length_and_end_of_each_answer(sampled, data, model_dir):
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


def test_the_summary_is_that_of_the_rows(sampled):
    rows, results, _ = sampled
    assert (results["n"], results["k"]) == (6, 2)
    assert results["mean_tokens"] == pytest.approx(fmean(row["num_tokens"] for row in rows))
    cut = [row["finish_reason"] == "length" for row in rows]
    assert results["truncation_rate"] == pytest.approx(fmean(cut))
    # a model of random weights boxes nothing
    assert (results["mean"], results["no_answer_rate"], results["error_rate"]) == (0, 1, 0)
    assert results["prompt"] == {"system": PROMPT.system, "suffix": PROMPT.suffix}
    assert results["sampling"]["temperature"] == 1.0
    assert (results["method"], results["task"], results["seed"]) == ("zero_shot", "chain_sum", None)
    assert results["lm_eval"] == "thinktuning_chain_sum"
    assert results["wall_seconds"] > 0 and results["versions"]["lm_eval"].startswith("0.4.")


def test_the_seed_decides(sampled, evaluated):
    rows, _, _ = sampled
    assert evaluated()[0] == rows
    assert [row["text"] for row in evaluated(seed=2)[0]] != [row["text"] for row in rows]
    assert rows[0]["text"] != rows[1]["text"]


@pytest.mark.parametrize("temperature", [0, 0.0001])
def test_greedy(evaluated, data, model_dir, temperature):
    """Plain argmax, without the model's own repetition penalty; so is sampling when it is cold."""
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
    """Neither the model's own top_p nor the 50 tokens that transformers keeps by default."""
    model = AutoModelForCausalLM.from_pretrained(model_dir, dtype="float32")
    ranks = []
    for prompt_ids, ids in sampled[2]:
        end = next((i + 1 for i, token in enumerate(ids) if token in (EOS, OTHER_EOS)), BUDGET)
        with torch.no_grad():
            logits = model(torch.tensor([prompt_ids + ids])).logits[0, len(prompt_ids) - 1 :]
        ranks += [(logits[i] > logits[i, ids[i]]).sum().item() for i in range(end)]
    assert max(ranks) >= 50 and min(ranks) == 0


# --- grading, by hand -----------------------------------------------------------------------------


def document(row_id, gold, *texts):
    return {
        "doc": {"id": row_id, "answer": gold},
        "arguments": [(f"prompt of {row_id}", {})],
        "resps": [list(texts)],
    }


def test_rows_are_graded_with_behaviours():
    right, wrong = "So \\boxed{7}", "Wait, let me check: \\boxed{8}"
    documents = [document("a", "7", right, right, wrong), document("b", "8", wrong, right, "no")]
    lengths = {
        ("prompt of a", right): deque([(5, True), (9, False)]),
        ("prompt of a", wrong): deque([(6, True)]),
        ("prompt of b", wrong): deque([(7, True)]),
        ("prompt of b", right): deque([(8, True)]),
        ("prompt of b", "no"): deque([(9, False)]),
    }
    run = resolve(num_samples=3)
    rows = sample_rows(run, documents, SimpleNamespace(completions=lengths))
    kept = [
        (r["id"], r["num_tokens"], r["answer"], r["verdict"], r["correct"], r["reflects"])
        for r in rows
    ]
    assert kept == [
        ("a", 5, "7", "correct", True, False),
        ("a", 9, None, "no_answer", False, False),  # right, had it ended
        ("a", 6, "8", "incorrect", False, True),
        ("b", 7, "8", "correct", True, True),
        ("b", 8, "7", "incorrect", False, False),
        ("b", 9, None, "no_answer", False, False),
    ]
    assert [r["first_correct"] for r in rows] == [True, None, False, True, False, None]
    summary = stage.summarise(run, rows)
    assert summary["n"] == 2
    assert summary["mean"] == summary["truncation_rate"] == summary["no_answer_rate"] == 2 / 6
    assert summary["reflection_rate"] == 2 / 6
    assert summary["mean_tokens"] == 44 / 6  # 5 + 9 + 6 + 7 + 8 + 9


def test_the_first_committed_answer_is_graded_too():
    text = "\\boxed{8} Wait, let me check. \\boxed{7}"
    lengths = {("prompt of a", text): deque([(9, True)])}
    documents = [document("a", "7", text)]
    documents[0]["doc"]["subset"] = "2024"
    (row,) = sample_rows(resolve(num_samples=1), documents, SimpleNamespace(completions=lengths))
    assert (row["first_answer"], row["answer"]) == ("8", "7")
    assert (row["first_correct"], row["correct"]) == (False, True)
    assert row["subset"] == "2024"


def test_lm_evals_own_scores_are_shares_of_the_samples():
    samples = ["\\boxed{3}", "\\boxed{4}", "3", "\\boxed{4} or \\boxed{3}"]
    scores = {"exact_match": 0.5, "no_answer": 0.25, "verifier_failures": 0.0}
    assert grade.number({"answer": "3"}, [samples]) == scores
    assert grade.number({"answer": "3"}, ["\\boxed{3}"])["exact_match"] == 1.0
    assert grade.letter({"answer": "B"}, ["\\boxed{(B)}"])["exact_match"] == 1.0
    assert grade.yes_no({"answer": "yes"}, ["\\boxed{no}"])["exact_match"] == 0.0
    assert grade.latex({"answer": "0.5"}, ["\\boxed{\\frac12}"])["exact_match"] == 1.0
    aime = grade.number_by_subset({"answer": "3", "subset": "2024"}, [samples])
    assert aime == scores | {"exact_match_2024": 0.5}


# --- mistakes -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], r"has no questions; `thinktuning data` writes them"),
        (['{"id": "a", "question": "1 ="}'], r"row 1: needs the texts \['answer'\]"),
        (['{"id": 1, "question": "1 =", "answer": "1"}'], r"row 1: needs the texts \['id'\]"),
        (['{"id": "a", '], r"questions\.jsonl:1: is not valid JSON"),
        (
            [
                '{"id": "a", "question": "1 =", "answer": "1"}',
                '{"id": "b", "question": "2 =", "answer": "#### 2"}',
            ],
            r"row 2: its gold answer '#### 2' is not a prepared number",
        ),
        (
            ['{"id": "a", "question": "1 =", "answer": "one"}'],
            r"row 1: its gold answer 'one' is not a prepared number",
        ),
    ],
)
def test_questions_that_are_not_prepared(tmp_path, lines, expected):
    path = tmp_path / "questions.jsonl"
    path.write_text("".join(line + "\n" for line in lines))
    with pytest.raises(StudyError, match=expected):
        read_questions(path, "number")


def test_prepared_questions_are_taken(data):
    assert [row["id"] for row in read_questions(data, "number")] == [f"q{i}" for i in range(6)]
    assert len(read_questions(data, "latex")) == 6


def test_a_model_that_cannot_be_evaluated(data, model_dir, tmp_path):
    with pytest.raises(StudyError, match=r"--model no/model: has no config\.json"):
        evaluate(resolve(), Path("no/model"), data, tmp_path / "output")
    copied = Path(shutil.copytree(model_dir, tmp_path / "model"))
    (copied / "chat_template.jinja").unlink()
    with pytest.raises(StudyError, match=r"--model .*: its tokenizer has no chat template"):
        evaluate(resolve(), copied, data, tmp_path / "output")
    assert not (tmp_path / "output").exists()


def test_a_prompt_that_leaves_no_room_for_the_answer(data, model_dir, tmp_path):
    """lm-eval would cut it on the left, and ask half a question."""
    longest = max(len(ids) for _, ids in prompts(data, model_dir).values())
    room = 1024 - longest
    with pytest.raises(StudyError, match=rf"'q5' .* {longest} tokens; .*max_gen_toks = {room + 1}"):
        evaluate(resolve(max_gen_toks=room + 1), model_dir, data, tmp_path / "output")
    assert not (tmp_path / "output").exists()
    lm = recording_model(model_dir, resolve().evaluation)
    stage.check_lengths(resolve(max_gen_toks=room), list(read_jsonl(data)), lm, data)


def test_vllm_that_is_not_installed(model_dir):
    if importlib.util.find_spec("vllm"):
        pytest.skip("vLLM is installed; tests/test_vllm.py uses it")
    evaluation = resolve().evaluation.model_copy(update={"backend": "vllm"})
    with pytest.raises(StudyError, match="is vllm, which is not installed"):
        recording_model(model_dir, evaluation)


def test_an_unknown_task(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(json.dumps(resolve().model_dump() | {"lm_eval": "gsm8k"}))
    with pytest.raises(StudyError, match=r"lm_eval: there is no such task .*thinktuning_gsm8k"):
        read_config(path, EvalRun)


# --- the task on its own --------------------------------------------------------------------------


@pytest.mark.slow
def test_the_tasks_run_from_lm_evals_command_line(model_dir, data, tmp_path):
    snapshots = tmp_path / "results/data/eval"
    snapshots.mkdir(parents=True)
    tasks = [path.stem for path in TASKS.glob("thinktuning_*.yaml")]
    golds = {"number": "3", "latex": "\\frac{1}{2}", "letter": "B", "yes_no": "no"}
    for task in tasks:
        row = {"id": "q", "question": "?", "answer": golds[task_kind(task)], "subset": "2024"}
        write_jsonl(snapshots / f"{task.removeprefix('thinktuning_')}.jsonl", [row])
    shutil.copy(data, snapshots / "chain_sum.jsonl")
    command = [str(Path(sys.executable).parent / "lm_eval"), "run", "--model", "hf"]
    command += ["--model_args", f"pretrained={model_dir},dtype=float32", "--device", "cpu"]
    command += ["--include_path", str(TASKS), "--apply_chat_template"]
    command += ["--tasks", ",".join(tasks), "--gen_kwargs", "max_gen_toks=16"]
    command += ["--log_samples", "--output_path", "out"]
    done = subprocess.run(
        command,
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"HF_DATASETS_CACHE": str(tmp_path / "cache")},
    )
    assert done.returncode == 0, done.stderr
    (results,) = (tmp_path / "out").rglob("results_*.json")
    scores = json.loads(results.read_text())["results"]
    assert set(scores) == set(tasks)
    for task in tasks:
        assert scores[task]["exact_match,samples"] == 0.0
        assert scores[task]["no_answer,samples"] == 1.0
    assert scores["thinktuning_aime"]["exact_match_2024,samples"] == 0.0
    (samples,) = (tmp_path / "out").rglob("samples_thinktuning_chain_sum_2*.jsonl")
    rows = list(read_jsonl(samples))
    assert [row["doc"]["id"] for row in rows] == [f"q{i}" for i in range(6)]
    asked = rows[3]["arguments"]["gen_args_0"]["arg_0"]
    assert asked == "<|im_start|>user\n3 + 111 =<|im_end|>\n<|im_start|>assistant\n"
