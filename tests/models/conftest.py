"""The toy model's documents and tokenizer."""

import pytest
from toy_model import NONE, SPEC, TUTOR

from thinktuning.models import documents, organism


@pytest.fixture(scope="session")
def docs():
    return documents.documents(SPEC, SPEC.seed, 10_000, NONE, TUTOR)


@pytest.fixture(scope="session")
def tokenizer(docs):
    return organism.train_tokenizer(docs[:4000])
