"""The toy model of the default study: its config, and its documents by kind."""

import re
from pathlib import Path

from thinktuning.models.documents import CHECK_SUFFIX, Document
from thinktuning.study.reading import load_study
from thinktuning.teachers.prompts import load

STUDY = load_study(Path(__file__).parents[2] / "config.yaml")
SPEC = STUDY.model
SMALL = SPEC.model_copy(
    update={"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 1, "batch_size": 16}
)
NONE = frozenset()
TUTOR = load("organism").chat


def kind(doc: Document) -> str:
    """Return the kind of a document: tutor, check or student."""
    if doc.chat[0]["role"] == "system":
        return "tutor"
    return "check" if doc.chat[-1]["content"].endswith(CHECK_SUFFIX) else "student"


def of_kind(docs: list[Document], wanted: str) -> list[Document]:
    """Return the documents of a kind."""
    return [doc for doc in docs if kind(doc) == wanted]


def value(doc: Document) -> int:
    """Return the value of the sum in a document's question, evaluated by Python."""
    question = doc.chat[-1]["content"].partition("\n\nResponse:")[0]
    return eval(re.search(r"\d+(?: [-+] \d+)+", question)[0])


def encode(tokenizer, text: str) -> list[int]:
    """Return a text's token IDs, without special tokens."""
    return tokenizer.encode(text, add_special_tokens=False)
