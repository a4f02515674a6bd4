"""The model card of a published run: TRL's template, with what the study knows about the model.

TRL's card says how the model was trained and with which versions. Added to it are the study's
results with their intervals, the settings, where everything came from, and what the numbers do not
say.
"""

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from thinktuning.algorithms.papers import paper_of
from thinktuning.analysis.cells import confidence_text, estimate_text
from thinktuning.analysis.comparison import MEAN_OF_TASKS
from thinktuning.analysis.report.page import read_table
from thinktuning.analysis.tables import table
from thinktuning.commands.finished import FinishedRun
from thinktuning.io.files import read_jsonl

if TYPE_CHECKING:
    from huggingface_hub import ModelCard

SETTINGS = ("prompt", "chat_template_kwargs", "training", "algorithm", "teacher")
LOCAL = ("path", "base_url", "server_base_url")  # keys whose values are nobody else's business
UNKNOWN_BASE = "[None](https://huggingface.co/None)"
LIMITS = """\
- The intervals of this model's own accuracy are over questions: they do not cover another
  training seed. Those of the study are over seeds and questions, and cover no other base model.
- It was evaluated on the tasks above only, in the chat template and with the prompt and the
  sampling of the study. Nothing is known about other tasks or prompts, or about its safety.
- "Reflects" counts phrases that announce a check or a correction, not whether one was made.
- This is what an experiment produced, published so that it can be examined; it is no assistant."""
TOY = (
    "- **This is a toy model**, which the workflow trained from scratch on generated documents. It"
)
TOY += " knows a few hundred words and is of no use outside this experiment."


def model_card(run: FinishedRun, repo: str, license: str | None) -> "ModelCard":
    """Return a run's model card.

    Args:
        run: the run.
        repo: the repository's id on the hub.
        license: of the weights, an identifier of the hub; None: not said.
    """
    from trl import GRPOTrainer
    from trl.trainer.utils import generate_model_card

    named = paper_of(run.job["algorithm"]["type"])
    name, paper = named or (GRPOTrainer._name, GRPOTrainer._paper)
    hub = run.base if run.base and run.base["source"] == "hub" else None
    card: ModelCard = generate_model_card(
        base_model=hub["repo"] if hub else None,
        model_name=repo.split("/")[-1],
        hub_model_id=repo,
        dataset_name=None,
        tags=[*GRPOTrainer._tag_names, "thinktuning", run.job["algorithm"]["type"]],
        wandb_url=None,
        trackio_url=None,
        trainer_name=name,
        trainer_citation=paper.get("citation"),
        paper_title=paper.get("title"),
        paper_id=paper.get("id"),
    )
    values = vars(card.data)
    values.pop("licence", None)  # TRL's placeholder
    values.update(license=license, datasets=hub_datasets(run) or None)
    parts = [base_text(run), warnings(run), results(run), settings(run), origin(run), limits(run)]
    card.text = with_parts(card.text, run, [part for part in parts if part])
    return card


def with_parts(text: str, run: FinishedRun, parts: list[str]) -> str:
    """Return TRL's text with our sections before its citations, and a question of the study."""
    text = text.replace(UNKNOWN_BASE, "the base model below")
    if question := example(run):
        text = re.sub(
            r'^question = ".*"$',
            lambda _: f"question = {json.dumps(question, ensure_ascii=False)}",
            text,
            flags=re.M,
        )
    before, heading, after = text.partition("## Citations")
    return "\n\n".join([before.rstrip(), *parts, heading + after]) + "\n"


def example(run: FinishedRun) -> str | None:
    """Return the first training question as it is asked, unless it is from the authors' files."""
    public_ones = [part["source"] in ("hub", "reasoning_gym") for part in sources(run)]
    if not public_ones or not all(public_ones):
        return None
    path = run.study.place(run.results, "data") / "train.jsonl"
    if not path.is_file():
        return None
    question: str = next(read_jsonl(path))["question"]
    return question + str(run.job["prompt"]["suffix"])


def hub_datasets(run: FinishedRun) -> list[str]:
    """Return the data sets of the hub that the training questions come from."""
    return list(dict.fromkeys(part["repo"] for part in sources(run) if part["source"] == "hub"))


def sources(run: FinishedRun) -> list[dict[str, Any]]:
    """Return the sources of the training questions, as plain data; [] if they are not recorded."""
    if run.data is None:
        return []
    train: dict[str, Any] = run.data["data"]["train"]
    return list(train["parts"].values()) if train["source"] == "concat" else [train]


def base_text(run: FinishedRun) -> str:
    """Say what the model was trained from."""
    base = run.base or {"source": "unknown"}
    described = {
        "hub": f"`{base.get('repo')}` at revision `{base.get('revision')}`",
        "package": f"`{base.get('gguf_file')}` of the Python package `{base.get('package')}`",
        "organism": "a toy model that the workflow trains from scratch",
        "path": "a model directory of the authors",
    }.get(base["source"], "a base model that is not recorded")
    lora = run.job["training"].get("lora")
    merged = f" A LoRA adapter (r = {lora['r']}) was trained and is merged in." if lora else ""
    raw = run.study.place(run.results, "models/base").with_name("raw.json")
    warm = " A supervised warm-up came before the training." if raw.is_file() else ""
    return f"## Base model\n\nTrained from {described}.{warm}{merged}"


def warnings(run: FinishedRun) -> str:
    """Say first what is wrong with the run; "" if nothing is."""
    found = [f"the study marks this run: {mark}" for mark in run.marks]
    commit = run.made["commit"]
    if commit is None or commit.endswith("-dirty"):
        found.append("the code that made it is no published commit")
    if not run.tasks:
        found.append("it has not been evaluated")
    return "## Warnings\n\n" + "\n".join(f"- **{text}**" for text in found) if found else ""


def results(run: FinishedRun) -> str:
    """Return the tables: this model's accuracies, then those of the study."""
    if not run.tasks:
        return ""
    confidence = confidence_text(run.study.comparison.confidence)
    head = ["task", "questions", "samples each", "accuracy, %", "reflects, %", "tokens"]
    rows = [(name, task.row) for name, task in run.tasks.items()]
    rows += [(MEAN_OF_TASKS, run.mean)] if run.mean else []
    body = [
        [
            name,
            str(row["n"]),
            str(row["k"] or "-"),
            estimate_text(row, "mean", ""),
            estimate_text(row, "reflection_rate", "reflection_"),
            f"{row['mean_tokens']:.0f}",
        ]
        for name, row in rows
    ]
    own = (
        f"## Results\n\nThis model, seed {run.made['seed']} of the method *{run.name}*, with"
        f" {confidence} intervals over questions:\n\n{table(head, body)}"
    )
    return "\n\n".join(filter(None, [own, study_table(run, confidence)]))


def study_table(run: FinishedRun, confidence: str) -> str:
    """Return the study's comparison of methods; "" if the study has no tables."""
    path = run.results / "tables/comparison.csv"
    if not path.is_file():
        return ""
    if not (rows := read_table(path, ())):
        return ""
    baselines = [b for b in run.study.comparison.baselines if f"diff_{b}" in rows[0]]
    labels = {row["method"]: row["label"] for row in rows}
    head = ["task", "method", "seeds", "accuracy, %"]
    head += [f"minus {labels.get(b, b)}, points" for b in baselines]
    body = [
        [
            str(row["task"]),
            str(row["label"]),
            f"{row['seeds']:.0f}" if row["seeds"] else "-",
            estimate_text(row, "mean", ""),
            *(
                estimate_text(row, f"diff_{b}", sign="+") if row["method"] != b else ""
                for b in baselines
            ),
        ]
        for row in rows
    ]
    return (
        f"All methods of the study `{run.study.study}`, means over training seeds with {confidence}"
        f" intervals over seeds and questions:\n\n{table(head, body)}"
    )


def settings(run: FinishedRun) -> str:
    """Return the run's resolved settings, without the authors' paths and addresses."""
    chosen = {key: public(run.job[key]) for key in SETTINGS if key in run.job}
    if not run.job["algorithm"]["type"] or not run.made["inputs"].get("teacher_prompt"):
        chosen.pop("teacher", None)
    text = yaml.safe_dump(chosen, sort_keys=False, allow_unicode=True, width=100)
    return f"## Settings\n\n```yaml\n{text}```"


def public(value: Any) -> Any:
    """Return plain data without local paths and addresses: of a path its last part."""
    if isinstance(value, dict):
        return {key: _hidden(key, inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [public(inner) for inner in value]
    is_path = isinstance(value, str) and value.startswith(("/", "~", "./", "../"))
    return Path(value).name if is_path else value


def _hidden(key: str, value: Any) -> Any:
    return "(not published)" if key in LOCAL and value is not None else public(value)


def origin(run: FinishedRun) -> str:
    """Say where the model, the questions and the numbers come from."""
    made, inputs = run.made, run.made["inputs"]
    versions = ", ".join(f"{name} {version}" for name, version in made["versions"].items())
    lines = [
        f"thinktuning at commit `{made['commit'] or 'unknown'}`",
        f"Python {made['python']}; {versions}",
        f"study `{run.study.study}`, method `{made['method']}`, training seed {made['seed']}",
        f"base model: SHA-256 `{inputs['model']}` of its files",
        f"training questions: SHA-256 `{inputs['data']}`; {data_text(run)}",
        f"this model: SHA-256 `{made['model_sha256']}` of its files",
    ]
    if inputs.get("teacher_prompt"):
        teacher = run.job["teacher"]["backend"]
        lines.append(
            f"teacher: backend `{teacher}`, SHA-256 `{inputs['teacher_prompt']}` of its prompt"
        )
    return "## Provenance\n\n" + "\n".join(f"- {line}" for line in lines)


def data_text(run: FinishedRun) -> str:
    """Say where the training questions come from."""
    if run.data is None:
        return "their source is not recorded"
    texts = []
    for part in sources(run):
        match part["source"]:
            case "hub":
                texts.append(f"`{part['repo']}`, split {part['split']}, at `{part['revision']}`")
            case "reasoning_gym":
                texts.append(f"{part['size']} of reasoning_gym's `{part['generator']}`")
            case source:
                texts.append(f"a file of the authors ({source})")
    return " and ".join(texts)


def limits(run: FinishedRun) -> str:
    """Say what the numbers do not say."""
    toy = run.base is not None and run.base["source"] == "organism"
    return "## Limits\n\n" + "\n".join([*([TOY] if toy else []), LIMITS])
