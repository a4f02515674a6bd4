"""Ask a task's questions through lm-eval, in the prompt and with the sampling of the study."""

from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import yaml

from thinktuning.data.prompt import student_chat
from thinktuning.evaluation.config import TASKS, EvaluationConfig
from thinktuning.io.errors import StudyError
from thinktuning.models.chat import encode_chats
from thinktuning.study.jobs import EvaluateJob

# lm-eval alone grades with the task's own function; a study grades the rows, once.
UNGRADED = f"process_results: !function {__name__}.ungraded\n"


def ask(
    job: EvaluateJob, questions: list[dict[str, Any]], prompts: list[list[int]], lm: Any
) -> list[dict[str, Any]]:
    """Ask a task's questions; return lm-eval's record of each document."""
    from lm_eval import simple_evaluate
    from lm_eval.tasks import TaskManager

    lm.begin(job.evaluation)
    seed = job.evaluation.seed
    with TemporaryDirectory() as name:
        directory = Path(name)
        write_documents(questions, directory / "test.parquet")
        task = directory / f"{job.lm_eval}.yaml"
        task.write_text(yaml.safe_dump(task_config(job, directory)) + UNGRADED, encoding="utf-8")
        evaluated = simple_evaluate(
            model=lm,
            tasks=[str(task)],
            task_manager=TaskManager(include_defaults=False),
            apply_chat_template=True,
            system_instruction=job.prompt.system,
            random_seed=seed,
            numpy_random_seed=seed,
            torch_random_seed=seed,
            bootstrap_iters=0,
        )
    documents: list[dict[str, Any]] = evaluated["samples"][job.lm_eval]
    check_asked(documents, questions, prompts, lm)
    return documents


def checked_prompts(
    job: EvaluateJob, rows: list[dict[str, Any]], lm: Any, data: Path
) -> list[list[int]]:
    """Return each question's prompt as token IDs, as training asks it.

    Raises:
        StudyError: a prompt leaves no room for `max_gen_toks`; lm-eval would truncate it.
    """
    chats = [student_chat(row["question"], job.prompt) for row in rows]
    prompts = encode_chats(chats, lm.tokenizer, job.chat_template_kwargs)
    longest = max(range(len(rows)), key=lambda i: len(prompts[i]))
    length = len(prompts[longest])
    if length + job.evaluation.max_gen_toks > lm.max_length:
        raise StudyError(
            f"{data}: question {rows[longest]['id']!r} has a prompt of {length}"
            f" tokens; with max_gen_toks = {job.evaluation.max_gen_toks} that exceeds"
            f" the model's context length of {lm.max_length} tokens; lower max_gen_toks or drop"
            " the question"
        )
    return prompts


def write_documents(questions: list[dict[str, Any]], path: Path) -> None:
    """Write the questions for lm-eval as Parquet, which holds the types: text, and options.

    Of a JSONL file `datasets` infers them, and takes an id such as 2024-01-01 for a date.
    """
    from datasets import Dataset, Features, List, Value

    names = list(dict.fromkeys(name for row in questions for name in row))
    rows = [{name: row.get(name) for name in names} for row in questions]
    text = Value("string")
    features = Features({name: List(text) if name == "options" else text for name in names})
    Dataset.from_list(rows, features=features).to_parquet(path)


def ungraded(document: dict[str, Any], responses: list[Any]) -> dict[str, float]:
    """Compute no metric of a document; lm-eval calls this."""
    return {}


def check_asked(
    documents: list[dict[str, Any]],
    questions: list[dict[str, Any]],
    prompts: list[list[int]],
    lm: Any,
) -> None:
    """Check that lm-eval has asked every question, in the prompt in which training asks it."""
    for document in documents:
        index = document["doc_id"]
        asked = document["arguments"][0][0]
        row = {name: value for name, value in document["doc"].items() if value is not None}
        if row != questions[index] or lm.prompt_ids[asked] != prompts[index]:
            raise RuntimeError(
                f"lm_eval {version('lm_eval')}: question {questions[index]['id']!r} was asked as"
                f" {asked!r}, which is not the study's prompt"
            )
    if len(documents) != len(questions):
        raise RuntimeError(
            f"lm_eval {version('lm_eval')}: asked {len(documents)} of {len(questions)} questions"
        )


def sampling(evaluation: EvaluationConfig) -> dict[str, Any]:
    """Return how answers are sampled, as lm-eval's `generation_kwargs`."""
    kwargs: dict[str, Any] = {"until": [], "max_gen_toks": evaluation.max_gen_toks}
    kwargs["do_sample"] = evaluation.temperature > 0
    if kwargs["do_sample"]:
        # top_k 0: transformers' default would keep the 50 most likely tokens only
        kwargs |= {"temperature": evaluation.temperature, "top_k": 0}
    if evaluation.backend == "vllm":
        kwargs["skip_special_tokens"] = True  # as hf does
    return kwargs


def task_config(job: EvaluateJob, directory: Path) -> dict[str, Any]:
    """Return the task's YAML with the study's prompt, number of samples and sampling.

    Args:
        job: the evaluation.
        directory: has the questions as test.parquet, and room for a cache of this job's own.
    """
    return {
        "include": str(TASKS / f"{job.lm_eval}.yaml"),
        "task": job.lm_eval,
        "dataset_path": "parquet",
        "dataset_kwargs": {
            "data_files": {"test": str(directory / "test.parquet")},
            "cache_dir": str(directory / "cache"),
        },
        # a Jinja template; the suffix is plain text in it
        "doc_to_text": "{{question}}{% raw %}" + job.prompt.suffix + "{% endraw %}",
        "repeats": job.num_samples,
        "filter_list": [
            {
                "name": "samples",
                "filter": [{"function": "take_first_k", "k": job.num_samples}],
            }
        ],
        "generation_kwargs": sampling(job.evaluation),
    }
