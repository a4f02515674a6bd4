"""Formats of the public benchmarks: how a record becomes an id, a question and a gold answer.

A source of the study selects one (`format: gpqa`); the fields are those of the datasets on the
Hugging Face hub, listed in docs/evaluation.md. Options become lettered lines of the question
itself, so that the prepared snapshot contains exactly what the model is asked.

Departure from the datasets: options are shuffled, by a hash of the question and the option. GPQA
lists the right answer first, and a position that training favors should not score. Options that
refer to each other ("both A and C", "all of the above") keep their original order.
"""

import hashlib
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

from thinktuning.grading.answers import AnswerKind
from thinktuning.io import functions

BenchmarkName = Literal[
    "gsm8k", "math500", "aime", "gpqa", "mmlu_pro", "arc", "commonsense_qa", "strategyqa"
]
Record = Mapping[str, Any]

LETTERS = "ABCDEFGHIJ"
# columns that the workflow adds, or that TRL passes to a reward
RESERVED = {"source", "prompt", "prompts", "completion", "completions", "completion_ids"}
RESERVED |= {"trainer_state", "log_extra", "log_metric", "environments", "tools"}
KNOWN = {"question", "answer", "id", "subset", "solution", "options"}  # of a format's own result
ASK_LETTER = "Answer with the letter of the right option."
ASK_YES_NO = "Answer yes or no."
_REFERS = re.compile(
    r"\b(?:above|below|[A-J],? (?:and|or|nor|&) [A-J]|(?:options?|answers?|choices?) [A-J1-9])\b"
)


class Options(NamedTuple):
    """The options of a question, and the index of the right one."""

    texts: list[str]
    right: int


class Item(NamedTuple):
    """A benchmark question; `id`, `subset` (subject, category) and `options` may be None."""

    id: str | None
    question: str
    gold: str
    subset: str | None
    options: list[str] | None = None  # in the order of their letters


class OwnItem(NamedTuple):
    """A question that a function of the user's own read, its solution and its further columns."""

    item: Item
    solution: str | None
    columns: dict[str, str]


@dataclass(frozen=True)
class Format:
    """A benchmark's fields; of several `question` fields, the first one present is used."""

    kind: AnswerKind
    question: tuple[str, ...]
    gold: Callable[[Record], str | Options]
    id: str | None = None
    subset: str | None = None
    ask: str = ""  # added to the question: the kind of answer to give
    right_first: bool = False


def read(name: str, record: Record) -> Item:
    """Read a record of a benchmark.

    Raises:
        ValueError: the record does not have the benchmark's format.
    """
    form = FORMATS[name]
    field = next((field for field in form.question if field in record), form.question[0])
    question, gold = text(record, field).strip(), form.gold(record)
    options = None
    if isinstance(gold, Options):
        options = ordered(question, gold, right_first=form.right_first).texts
        lines, gold = lettered(question, gold, right_first=form.right_first)
        question = f"{question}\n\n{lines}\n\n{form.ask}"
    elif form.ask:
        question = f"{question} {form.ask}"
    row_id, subset = (
        text(record, key) if key and key in record else None for key in (form.id, form.subset)
    )
    return Item(row_id, question, gold, subset, options)


def check_format(name: str) -> str:
    """Refuse a format that is neither a benchmark nor a function of one record."""
    if functions.is_reference(name):
        functions.takes_one(name, "def NAME(record), which returns a question and its answer")
    elif name not in FORMATS:
        *names, last = map(repr, FORMATS)
        raise ValueError(f"Input should be {', '.join(names)} or {last}, or module:function")
    return name


def read_own(reference: str, record: Record) -> OwnItem:
    """Read a record by a function of the user's own.

    It returns a mapping with `question` and `answer`; `id`, `subset`, `solution` and `options`, a
    list, are optional. Further keys become columns, which a reward of the user's own is passed.

    Raises:
        ValueError: the function fails, or returns something else.
    """
    try:
        made = functions.function(reference)(record)
    except Exception as error:
        raise ValueError(f"format {reference} failed: {functions.failure(error)}") from error
    if not isinstance(made, Mapping) or not {"question", "answer"} <= made.keys():
        raise ValueError(
            f"format {reference} returned {made!r:.80}, not a mapping with question and answer"
        )
    if wrong := [key for key in made if not isinstance(key, str) or key in RESERVED]:
        raise ValueError(f"format {reference} returned the keys {wrong}, which have other uses")
    given = {key: value for key, value in made.items() if value is not None}
    columns = {key: value for key, value in given.items() if key not in KNOWN}
    try:
        options = _texts(given["options"], "options") if "options" in given else None
        texts = {key: text(given, key) for key in given.keys() - columns.keys() - {"options"}}
        columns = {
            key: value if value == "" else text(given, key) for key, value in columns.items()
        }
    except ValueError as error:
        raise ValueError(f"format {reference}: {error}; return text, or text in JSON") from None
    if absent := {"question", "answer"} - texts.keys():
        raise ValueError(f"format {reference} returned no {' and no '.join(sorted(absent))}")
    row_id, subset, solution = (texts.get(key) for key in ("id", "subset", "solution"))
    item = Item(row_id, texts["question"], texts["answer"], subset, options)
    return OwnItem(item, solution, columns)


def lettered(question: str, options: Options, *, right_first: bool = False) -> tuple[str, str]:
    """Return the options as lettered lines, in their fixed order, and the letter of the right one.

    Raises:
        ValueError: there are fewer than two options, or more than the letters A to J.
    """
    texts, right = ordered(question, options, right_first=right_first)
    lines = [f"{letter}. {text}" for letter, text in zip(LETTERS, texts, strict=False)]
    return "\n".join(lines), LETTERS[right]


def ordered(question: str, options: Options, *, right_first: bool = False) -> Options:
    """Return the options in their fixed order.

    Raises:
        ValueError: there are fewer than two options, or more than the letters A to J.
    """
    texts, right = options
    if not 2 <= len(texts) <= len(LETTERS):
        raise ValueError(f"there are {len(texts)} options, not 2 to {len(LETTERS)}")
    order = list(range(len(texts)))
    if right_first or not any(map(_REFERS.search, texts)):
        order.sort(key=lambda i: digest(question, texts[i]))
    return Options([texts[i] for i in order], order.index(right))


def digest(*texts: str) -> str:
    """Hash texts for an arbitrary order that is the same on every machine and Python version."""
    return hashlib.sha256("\0".join(texts).encode("utf-8", "surrogatepass")).hexdigest()


def text(record: Record, field: str) -> str:
    """Return a field as text.

    Raises:
        ValueError: the field is missing, empty, or neither text nor a number.
    """
    value = record.get(field)
    if (
        isinstance(value, bool)
        or not isinstance(value, str | int | float)
        or not str(value).strip()
    ):
        found = f"is {value!r}" if field in record else f"is missing; the record has {list(record)}"
        raise ValueError(f"field {field!r} {found}")
    return str(value)


def _texts(values: Any, field: str) -> list[str]:
    """Return a field's list of options, stripped."""
    if not isinstance(values, Sequence) or isinstance(values, str):
        raise ValueError(f"field {field!r} is not a list: {values!r:.80}")
    return [text({field: value}, field).strip() for value in values]


def _gpqa_options(record: Record) -> Options:
    fields = ["Correct Answer", *(f"Incorrect Answer {i}" for i in (1, 2, 3))]
    return Options([text(record, field).strip() for field in fields], 0)


def _mmlu_pro_options(record: Record) -> Options:
    """Read `options`; `answer` and `answer_index` name the same one, and `N/A` pads the list."""
    texts = _texts(record.get("options"), "options")
    letter, index = str(record.get("answer")), record.get("answer_index")
    if letter not in LETTERS[: len(texts)] or index != LETTERS.index(letter):
        raise ValueError(
            f"answer {letter!r} and answer_index {index!r} do not name the same one of"
            f" {len(texts)} options"
        )
    kept = [i for i, option in enumerate(texts) if option != "N/A"]
    if index not in kept:
        raise ValueError(f"the right option {letter} is N/A")
    return Options([texts[i] for i in kept], kept.index(index))


def _labeled_options(record: Record) -> Options:
    """Read ARC's and CommonsenseQA's `choices`: `label` (A, B, ... or 1, 2, ...) and `text`."""
    choices = record.get("choices")
    if not isinstance(choices, Mapping):
        raise ValueError(f"field 'choices' is not a mapping of label and text: {choices!r:.80}")
    labels, texts = (_texts(choices.get(key), f"choices.{key}") for key in ("label", "text"))
    key = record.get("answerKey")
    if len(labels) != len(texts) or labels.count(str(key)) != 1:
        hint = "; the test split has no answers, use validation" if key == "" else ""
        raise ValueError(f"answerKey {key!r} is not one label of {labels}{hint}")
    return Options(texts, labels.index(str(key)))


def _aime_gold(record: Record) -> str:
    r"""Return the answer, an integer from 0 to 999; one in opencompass/AIME2025 is `336^\circ`."""
    gold = text(record, "answer").strip().removesuffix(r"^\circ")
    if not re.fullmatch("[0-9]{1,3}", gold):
        raise ValueError(f"answer {gold!r} is not an integer from 0 to 999")
    return gold


def _strategyqa_gold(record: Record) -> str:
    if not isinstance(record.get("answer"), bool):
        raise ValueError(f"field 'answer' is {record.get('answer')!r}, not true or false")
    return "yes" if record["answer"] else "no"


def _answer(record: Record) -> str:
    return text(record, "answer")


FORMATS: dict[str, Format] = {
    "gsm8k": Format("number", ("question",), _answer),
    "math500": Format("latex", ("problem",), _answer, id="unique_id", subset="subject"),
    "aime": Format("number", ("problem", "question"), _aime_gold, id="id"),
    "gpqa": Format(
        "letter",
        ("Question",),
        _gpqa_options,
        id="Record ID",
        subset="High-level domain",
        ask=ASK_LETTER,
        right_first=True,
    ),
    "mmlu_pro": Format(
        "letter",
        ("question",),
        _mmlu_pro_options,
        id="question_id",
        subset="category",
        ask=ASK_LETTER,
    ),
    "arc": Format("letter", ("question",), _labeled_options, id="id", ask=ASK_LETTER),
    "commonsense_qa": Format("letter", ("question",), _labeled_options, id="id", ask=ASK_LETTER),
    "strategyqa": Format("yes_no", ("question",), _strategyqa_gold, id="qid", ask=ASK_YES_NO),
}
