"""The section `model` of a study: where a model comes from."""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveInt, model_validator

from thinktuning.section import Fraction, Positive, Section, Seed


class Organism(Section):
    """The model organism: its documents, size and pre-training (`thinktuning.organism`)."""

    source: Literal["organism"]
    seed: Seed = 0
    min_terms: Annotated[int, Field(ge=2)]
    max_terms: PositiveInt
    chain_sum_share: Fraction
    student_share: Fraction
    guess_share: Fraction
    remark_share: Fraction
    check_share: Fraction
    correct_share: Fraction
    hidden_size: PositiveInt
    intermediate_size: PositiveInt
    num_hidden_layers: PositiveInt
    num_attention_heads: PositiveInt
    max_steps: PositiveInt
    batch_size: PositiveInt
    learning_rate: Positive
    muon_learning_rate: Positive
    label_smoothing: Fraction

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.student_share + self.check_share >= 1:
            raise ValueError(
                "student_share + check_share leave nothing for the tutor: lower one of them"
            )
        if self.max_terms < self.min_terms:
            raise ValueError("max_terms is smaller than min_terms")
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size = {self.hidden_size} is not a multiple of 2 * num_attention_heads ="
                f" {2 * self.num_attention_heads}: rotary embeddings turn a head's dimensions in"
                " pairs; change one of the two"
            )
        return self


class PathModel(Section):
    """A local Hugging Face model directory."""

    source: Literal["path"]
    path: str


class HubModel(Section):
    """A model of the hub, pinned to a commit; gated ones need HF_TOKEN in the environment."""

    source: Literal["hub"]
    repo: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class PackageModel(Section):
    """A GGUF file inside an installed Python package, dequantised to safetensors."""

    source: Literal["package"]
    package: str
    gguf_file: str


Model = Annotated[Organism | PathModel | HubModel | PackageModel, Field(discriminator="source")]
