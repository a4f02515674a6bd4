"""The study section `training.budget`: tokens that end a training, given or those of a method."""

from collections.abc import Collection, Mapping
from typing import Self

from pydantic import ConfigDict, Field, model_validator

from thinktuning.io.section import Name, remove
from thinktuning.trainer.config import CURRENCIES, TokenLimits


class BudgetConfig(TokenLimits):
    """Tokens that end a training; of two limits, the one that is reached first.

    `as`: as many generated tokens as that method's run of the same seed; `scored_as`: as many
    scored ones. `thinktuning.trainer.config` says what counts.
    """

    model_config = ConfigDict(serialize_by_alias=True)

    as_: Name | None = Field(default=None, alias="as")
    scored_as: Name | None = None

    @model_validator(mode="after")
    def _one_each(self) -> Self:
        for currency, (key, method) in self._named().items():
            if method and getattr(self, currency) is not None:
                raise ValueError(
                    f"{currency} = {getattr(self, currency)} and {key} = {method} limit the same"
                    f" tokens; {remove('one of them')}"
                )
        return self

    def _named(self) -> dict[str, tuple[str, str | None]]:
        return {"tokens": ("as", self.as_), "scored_tokens": ("scored_as", self.scored_as)}

    def references(self) -> dict[str, str]:
        """Return currency -> the method whose run it is limited by."""
        return {currency: method for currency, (_, method) in self._named().items() if method}

    def resolved(self, tokens: Mapping[str, int]) -> Self:
        """Return this section with the tokens of the runs that it refers to, by currency."""
        return self.model_copy(update=dict(tokens))

    def text(self) -> str:
        """Return the limits in words."""
        named = [f"as many {CURRENCIES[c]} as {m}" for c, m in self.references().items()]
        given = [f"{n:,} {CURRENCIES[c]}" for c, n in self.limits().items()]
        return " or ".join(named + given)


def check_references(
    budgets: Mapping[str, BudgetConfig], methods: Collection[str], trained: Collection[str]
) -> None:
    """Refuse budgets that refer to what has no training, or to each other.

    Args:
        budgets: trained method -> its budget, for those that have one.
        methods: all methods of the study.
        trained: those that train.

    Raises:
        ValueError: names the method and its key.
    """
    for method, budget in budgets.items():
        for key, other in budget._named().values():
            where = f"methods.{method}.training.budget.{key} names {other!r}, which"
            if other and other not in methods:
                raise ValueError(f"{where} is not among the methods {list(methods)}")
            if other and other not in trained:
                raise ValueError(f"{where} is not trained; name one of {list(trained)}")
        if path := _cycle(budgets, [method]):
            raise ValueError(
                f"methods.{method}.training.budget: the budgets {' -> '.join(path)} refer to each"
                " other, so that none could be trained first; give one of them a number"
            )


def _cycle(budgets: Mapping[str, BudgetConfig], path: list[str]) -> list[str] | None:
    """Return a path of references from the last method of `path` back to one of it, if any."""
    found = budgets[path[-1]].references().values() if path[-1] in budgets else []
    for other in found:
        if other in path:
            return [*path[path.index(other) :], other]
        if deeper := _cycle(budgets, [*path, other]):
            return deeper
    return None
