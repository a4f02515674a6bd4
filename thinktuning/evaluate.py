"""Evaluate one model on one task: `thinktuning evaluate --config
results/eval/grpo/seed0/chain_sum/config.json ...`

lm-eval asks the questions (a task of thinktuning/tasks/, from the prepared snapshot, with the
model's chat template and the study's sampling); every answer is kept in samples.jsonl, a row a
question and sample, so that all tables can be rebuilt without a model.
"""

import hashlib
import json
import time
from collections import defaultdict, deque
from pathlib import Path
from typing import Any

from thinktuning import provenance
from thinktuning.answers import extract_boxed
from thinktuning.behaviours import detect
from thinktuning.config import EvalRun, StudyError
from thinktuning.files import write_jsonl, write_text_atomic
from thinktuning.grading import Grader

TASKS = Path(__file__).parent / "tasks"


def evaluate(run: EvalRun, model_dir: Path, data: Path, output: Path) -> None:
    """Run one evaluation job."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    started = time.perf_counter()
    lm = recording_model(model_dir, run.evaluation.batch_size)
    seed = run.evaluation.seed
    evaluated = simple_evaluate(
        model=lm,
        tasks=[task_config(run, data)],
        task_manager=TaskManager(include_path=str(TASKS), include_defaults=False),
        apply_chat_template=True,
        system_instruction=run.prompt.system,
        random_seed=seed,
        numpy_random_seed=seed,
        torch_random_seed=seed,
        bootstrap_iters=0,
    )
    rows = sample_rows(run, evaluated["samples"][run.lm_eval], lm)
    write_jsonl(output / "samples.jsonl", rows)
    summary = summarise(run, rows) | {
        "wall_seconds": time.perf_counter() - started,
        "peak_memory_mb": provenance.peak_memory_mb(),
    }
    summary |= provenance.collect()
    write_text_atomic(output / "results.json", json.dumps(summary, indent=2) + "\n")


def task_config(run: EvalRun, data: Path) -> dict[str, Any]:
    """Lay the study's snapshot, samples and sampling over the task's YAML."""
    if not (TASKS / f"{run.lm_eval}.yaml").is_file():
        known = sorted(path.stem for path in TASKS.glob("thinktuning_*.yaml"))
        raise StudyError(f"tasks.{run.task}.lm_eval: no task {run.lm_eval!r}; known: {known}")
    greedy = run.evaluation.temperature == 0
    sampling: dict[str, Any] = {"do_sample": False}
    if not greedy:
        # top_k 0: transformers would otherwise cut the distribution at its default of 50
        sampling = {"do_sample": True, "temperature": run.evaluation.temperature, "top_k": 0}
    return {
        "task": run.lm_eval,
        "dataset_kwargs": {"data_files": {"test": str(data.resolve())}},
        "doc_to_text": "{{question}}" + run.prompt.suffix,
        "repeats": run.num_samples,
        "filter_list": [
            {
                "name": "samples",
                "filter": [{"function": "take_first_k", "k": run.num_samples}],
            }
        ],
        "generation_kwargs": sampling | {"until": [], "max_gen_toks": run.evaluation.max_gen_toks},
    }


def recording_model(model_dir: Path, batch_size: int) -> Any:
    """Return lm-eval's `hf` model, which also keeps each completion's length and end."""
    from lm_eval.models.huggingface import HFLM

    from thinktuning.teacher import first_end

    class RecordingLM(HFLM):
        """lm-eval returns text alone; equal texts share a queue of (number of tokens, ended)."""

        def __init__(self, *args: Any, **kwargs: Any) -> None:
            super().__init__(*args, **kwargs)
            self.completions: dict[str, deque[tuple[int, bool]]] = defaultdict(deque)

        def tok_decode(self, tokens: Any, skip_special_tokens: bool = True) -> str:
            text = super().tok_decode(tokens, skip_special_tokens=skip_special_tokens)
            if isinstance(tokens, list):
                end = first_end(tokens, [self.eot_token_id])
                self.completions[text].append((end, self.eot_token_id in tokens))
            return text

    return RecordingLM(str(model_dir), batch_size=batch_size, dtype="float32")


def sample_rows(run: EvalRun, documents: list[dict[str, Any]], lm: Any) -> list[dict[str, Any]]:
    """Make the rows of samples.jsonl: graded, with behaviours, length and finish reason."""
    rows = []
    for document in documents:
        prompt = document["arguments"]["gen_args_0"]["arg_0"]
        for sample, text in enumerate(document["resps"][0]):
            num_tokens, finished = lm.completions[text].popleft()
            behaviours = sorted(detect(text))
            rows.append(
                {
                    "id": document["doc"]["id"],
                    "sample": sample,
                    "prompt_hash": hashlib.sha256(prompt.encode()).hexdigest()[:16],
                    "text": text,
                    "answer": extract_boxed(text) if finished else None,
                    "gold": document["doc"]["answer"],
                    "finish_reason": "stop" if finished else "length",
                    "num_tokens": num_tokens,
                    "reflects": bool(behaviours),
                    "behaviours": behaviours,
                }
            )
    answers, golds = [row["answer"] for row in rows], [row["gold"] for row in rows]
    with Grader() as grader:
        verdicts = grader.grade(answers, golds, run.answer_kind)
    return [
        row | {"verdict": str(verdict), "correct": verdict == "correct"}
        for row, verdict in zip(rows, verdicts, strict=True)
    ]


def summarise(run: EvalRun, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """Aggregate a task's rows: what `results.json` says beside where it comes from."""

    def share(condition: Any) -> float:
        return sum(map(condition, rows)) / len(rows)

    return {
        "method": run.method,
        "seed": run.seed,
        "task": run.task,
        "lm_eval": run.lm_eval,
        "n": len({row["id"] for row in rows}),
        "k": run.num_samples,
        "mean": share(lambda row: row["correct"]),
        "reflection_rate": share(lambda row: row["reflects"]),
        "mean_tokens": share(lambda row: row["num_tokens"]),
        "truncation_rate": share(lambda row: row["finish_reason"] == "length"),
        "no_answer_rate": share(lambda row: row["verdict"] == "no_answer"),
        "error_rate": share(lambda row: row["verdict"] in ("error", "timeout")),
        "prompt": run.prompt.model_dump(),
        "sampling": run.evaluation.model_dump(),
    }
