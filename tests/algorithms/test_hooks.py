"""LossInputs: what `shape` replaces must be read, only afterwards, and is replaced once."""

from typing import Literal

import pytest
import torch

from thinktuning.algorithms.config import AlgorithmConfig
from thinktuning.algorithms.hooks import LossInputs
from thinktuning.algorithms.protocol import Algorithm

LOGPS = torch.zeros(1, 2)


class DoubleConfig(AlgorithmConfig):
    type: Literal["toy"] = "toy"

    def build(self, teacher, prompt):
        return Double(self, teacher, prompt)


class Double(Algorithm[DoubleConfig]):
    def shape(self, logps, inputs):
        return {"advantages": 2 * inputs["advantages"]}


@pytest.fixture
def batch():
    return {"advantages": torch.tensor([1.5]), "completion_ids": torch.tensor([[7, 8]])}


@pytest.fixture
def inputs(batch):
    return LossInputs(batch)


def test_replaced_entries_are_read_and_the_batch_stays_as_it_was(inputs, batch):
    assert inputs["completion_ids"].tolist() == [[7, 8]]  # not replaced: may be read early
    inputs.shape(LOGPS, Double(DoubleConfig()))
    assert inputs["advantages"].item() == 3.0
    assert batch["advantages"].item() == 1.5
    inputs.check_read()


@pytest.mark.parametrize("read", [lambda i: i["advantages"], lambda i: i.get("advantages")])
def test_an_entry_read_before_it_is_replaced(inputs, read):
    read(inputs)
    with pytest.raises(RuntimeError, match="GRPOTrainer read advantages before it was shaped"):
        inputs.shape(LOGPS, Double(DoubleConfig()))


def test_a_replaced_entry_that_is_not_read(inputs):
    inputs.shape(LOGPS, Double(DoubleConfig()))
    with pytest.raises(RuntimeError, match="GRPOTrainer did not read advantages after it was"):
        inputs.check_read()


def test_inputs_are_shaped_once(inputs):
    """A second time would double the doubled advantages."""
    inputs.shape(LOGPS, Double(DoubleConfig()))
    with pytest.raises(RuntimeError, match="computed the log-probabilities of one loss twice"):
        inputs.shape(LOGPS, Double(DoubleConfig()))
    assert inputs["advantages"].item() == 3.0
