"""The study sections `model` and `warmup`."""

import importlib.util
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Annotated, ClassVar, Literal, Self

from pydantic import AfterValidator, Field, PositiveInt, model_validator

from thinktuning.io.contents import combined
from thinktuning.io.section import Fraction, Positive, Section, Seed, absent
from thinktuning.io.trackers import TrackedSection
from thinktuning.models import families

# The files a model needs: no .bin or .pth, and no second copy of the weights in a subdirectory.
FILES = [
    "*.safetensors",
    "*.json",
    "*.jinja",
    "*.model",
    "*.txt",
    "LICENSE*",
    "NOTICE*",
    "USE_POLICY*",
]


def model_files(directory: Path) -> list[Path]:
    """Return a model's files, sorted; not provenance.json, which tells how it was made."""
    return sorted(
        path
        for path in directory.iterdir()
        if path.is_file()
        and path.name != "provenance.json"
        and any(fnmatch(path.name, pattern) for pattern in FILES)
    )


def model_sha256(directory: Path) -> str:
    """Return one SHA-256 of a model's files: weights, configuration, tokenizer, chat template."""
    return combined(model_files(directory))


class DocumentsConfig(Section):
    """The toy model's documents (`thinktuning.models.documents`): sums of one-digit terms.

    The shares are of student and check documents among all (the rest are a tutor's feedback), of
    guesses and remarks among the student's, and of right answers among those shown to the tutor.
    """

    min_terms: Annotated[int, Field(ge=2)]
    max_terms: PositiveInt
    chain_sum_share: Fraction
    student_share: Fraction
    guess_share: Fraction
    remark_share: Fraction
    check_share: Fraction
    correct_share: Fraction

    @model_validator(mode="after")
    def _documents(self) -> Self:
        if self.student_share + self.check_share >= 1:
            raise ValueError(
                "student_share + check_share leave no documents for the tutor; lower one of them"
            )
        if self.max_terms < self.min_terms:
            raise ValueError("max_terms is smaller than min_terms; change one of the two")
        return self


def _known_family(name: str) -> str:
    if name not in families.names():
        raise ValueError(f"no such task family; choose from {', '.join(families.names())}")
    return name


FamilyName = Annotated[
    str,
    AfterValidator(_known_family),
    Field(json_schema_extra=lambda schema: schema.update(enum=list(families.names()))),
]


class FamilyConfig(Section):
    """A task family's share of the documents, and those of its bands that they have; null: all."""

    share: Annotated[Fraction, Field(gt=0)]
    bands: Annotated[list[str], Field(min_length=1)] | None = None


# Of documents that the first version did not have: left out of jobs without any.
NewerShare = Annotated[Fraction, Field(exclude_if=lambda share: share == 0)]


class AnyDocumentsConfig(DocumentsConfig):
    """The documents' keys with defaults, which are left out of a job where they have these.

    `families` are task families, in place of sums of `min_terms` to `max_terms`.
    `derivation_error_share` is of the derivations in check and tutor documents: one step's result
    is wrong, and the rest follows from it. `unasked_share` is of the student's documents: their
    answers check themselves like those that are asked to.
    """

    families: Annotated[dict[FamilyName, FamilyConfig] | None, Field(exclude_if=absent)] = None
    derivation_error_share: NewerShare = 0.0
    unasked_share: NewerShare = 0.0

    @model_validator(mode="after")
    def _families(self) -> Self:
        if self.families is None:
            return self
        total = sum(family.share for family in self.families.values())
        if abs(total - 1) > 1e-6:
            raise ValueError(f"the shares of families add up to {total:g}; make it 1")
        for name, family in self.families.items():
            known, given = list(families.load(name).bands), family.bands or []
            if unknown := [band for band in given if band not in known]:
                raise ValueError(
                    f"families.{name}.bands names {unknown}; choose from {', '.join(known)}"
                )
            if len(set(given)) != len(given):
                raise ValueError(f"families.{name}.bands {given} repeat; list each band once")
        return self

    def unread(self) -> Iterator[tuple[str, str]]:
        """Yield the keys of this section that have no effect, and why: those of sums."""
        for key in ("min_terms", "max_terms", "chain_sum_share") if self.families else ():
            yield key, "its documents are those of families"

    def bands(self) -> dict[str, list[str]]:
        """Return the bands of each family, from easy to longer; {} without families."""
        chosen = {name: family.bands for name, family in (self.families or {}).items()}
        return {
            name: [band for band in families.load(name).bands if bands is None or band in bands]
            for name, bands in chosen.items()
        }


class _Organism(Section):
    """The keys that come first in the toy model's section, as the last base's do.

    Their order is that of the resolved job, and another order would train every toy model again.
    """

    source: Literal["organism"]
    seed: Seed = 0


class OrganismConfig(AnyDocumentsConfig, _Organism):
    """The toy model: its documents, size and pretraining (`thinktuning.models.organism`)."""

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
        if self.hidden_size % (2 * self.num_attention_heads):
            raise ValueError(
                f"hidden_size = {self.hidden_size} is not a multiple of 2 * num_attention_heads ="
                f" {2 * self.num_attention_heads}: rotary embeddings rotate a head's dimensions"
                " in pairs; change one of the two"
            )
        return self


class PathModelConfig(Section):
    """A local Hugging Face model directory."""

    source: Literal["path"]
    path: str

    def files(self) -> dict[str, Path]:
        """Return the model's files, or the path itself if it is no directory."""
        directory = Path(self.path)
        if not directory.is_dir():
            return {self.path: directory}
        return {str(path): path for path in model_files(directory)}


class HubModelConfig(Section):
    """A model on the Hugging Face hub, pinned to a commit; a gated one needs HF_TOKEN to be set."""

    source: Literal["hub"]
    repo: str
    revision: Annotated[str, Field(pattern=r"^[0-9a-f]{40}$")]


class PackageModelConfig(Section):
    """A GGUF file inside an installed Python package, dequantized to safetensors."""

    source: Literal["package"]
    package: str
    gguf_file: str

    def files(self) -> dict[str, Path]:
        """Return the GGUF file, if the package is installed."""
        directory = self.directory()
        path = directory / self.gguf_file if directory else None
        return {f"{self.package}/{self.gguf_file}": path} if path else {}

    def directory(self) -> Path | None:
        """Return the package's directory, without importing it; None if it is not installed."""
        spec = importlib.util.find_spec(self.package) if self.package.isidentifier() else None
        if spec is None or not spec.submodule_search_locations:
            return None
        return Path(next(iter(spec.submodule_search_locations)))


Model = Annotated[
    OrganismConfig | PathModelConfig | HubModelConfig | PackageModelConfig,
    Field(discriminator="source"),
]


class WarmupConfig(TrackedSection):
    """A short supervised warm-up of the base model, from which all methods start.

    It trains on worked answers to training questions, a share of `tutor_share` of which is a
    tutor's feedback instead; or, with `documents`, on the toy model's documents, in the model's own
    chat template.
    """

    PARTS: ClassVar[tuple[str, ...]] = ("point",)  # of `run_name`

    max_steps: PositiveInt
    learning_rate: Positive
    batch_size: PositiveInt
    max_length: PositiveInt  # tokens; longer worked answers are left out, documents refused
    tutor_share: Fraction = 0.0
    documents: AnyDocumentsConfig | None = None
    bf16: bool = False
    seed: Seed = 0

    @model_validator(mode="after")
    def _one_tutor(self) -> Self:
        if self.documents and self.tutor_share:
            raise ValueError(
                f"tutor_share = {self.tutor_share:g} is of worked answers; of `documents`,"
                " student_share and check_share leave the rest to the tutor; remove one of the two"
            )
        return self

    @property
    def has_tutor(self) -> bool:
        """Whether some of the documents are a tutor's feedback."""
        return self.documents is not None or self.tutor_share > 0
