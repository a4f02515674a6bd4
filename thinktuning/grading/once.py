"""Score each completion of a batch once, even if its score is requested several times."""

import functools
import inspect
from collections.abc import Callable, Sequence
from typing import Any

RewardFunction = Callable[..., Sequence[float | None]]
Key = tuple[int, tuple[int, ...]]  # row of the batch, token IDs of the completion


class GradedOnce:
    """A TRL reward function that caches its scores within a batch.

    A taught batch is scored twice: the student's own completions, then the completions to train on,
    most of which are the same. The function is only called with rows that it has not scored yet, so
    it must score each completion independently. What it logs with `log_metric` covers only those
    rows; what it logs with `log_extra` is passed on for all rows.
    """

    def __init__(self, function: RewardFunction) -> None:
        self.function = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.forget()

    def forget(self) -> None:
        """Clear the cache, before a new batch."""
        self._scores: dict[Key, float | None] = {}
        self._extra: dict[str, dict[Key, Any]] = {}

    def __call__(
        self,
        prompts: Sequence[Any],
        completions: Sequence[Any],
        completion_ids: Sequence[Sequence[int]],
        **columns: Any,
    ) -> list[float | None]:
        """Return a score for each completion; None means no score."""
        keys = [(i, tuple(ids)) for i, ids in enumerate(completion_ids)]
        new = [i for i, key in enumerate(keys) if key not in self._scores]
        log_extra = columns.get("log_extra")
        if new:
            rows = {
                name: [value[i] for i in new]
                if isinstance(value, list) and len(value) == len(keys)
                else value
                for name, value in columns.items()
            }
            if log_extra:
                rows["log_extra"] = lambda name, values: self._extra.setdefault(name, {}).update(
                    zip((keys[i] for i in new), values, strict=True)
                )
            scores = self.function(
                prompts=[prompts[i] for i in new],
                completions=[completions[i] for i in new],
                completion_ids=[completion_ids[i] for i in new],
                **rows,
            )
            self._scores.update(zip((keys[i] for i in new), scores, strict=True))
        if log_extra:
            for name, values in self._extra.items():
                log_extra(name, [values.get(key) for key in keys])
        return [self._scores[key] for key in keys]


def graded_once(function: Any) -> Any:
    """Wrap a plain reward function; reward models and async functions are returned as they are."""
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    is_async = any(map(inspect.iscoroutinefunction, (inner, type(inner).__call__)))
    return function if is_async or hasattr(inner, "forward") else GradedOnce(function)
