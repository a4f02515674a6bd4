"""A reward function that is called once per completion."""

import functools

import pytest

from thinktuning.grading.once import GradedOnce, graded_once


class Lengths:
    """Scores a completion by its length, and logs."""

    def __init__(self):
        self.calls = []

    def __call__(self, prompts, completions, completion_ids, log_extra=None, **columns):
        self.calls.append((list(completions), columns))
        if log_extra:
            log_extra("upper", [text.upper() for text in completions])
        return [float(len(text)) if text else None for text in completions]


@pytest.fixture
def logged():
    return {}


def ask(once, texts, logged=None, **columns):
    if logged is not None:
        columns["log_extra"] = logged.__setitem__
    return once(
        prompts=["?"] * len(texts),
        completions=texts,
        completion_ids=[list(text.encode()) for text in texts],
        **columns,
    )


def test_only_new_rows_reach_the_function():
    function = Lengths()
    once = GradedOnce(function)
    state = object()
    assert ask(once, ["a", "bb", ""], answer=[1, 2, 3], trainer_state=state) == [1.0, 2.0, None]
    assert ask(once, ["a", "bbb", ""], answer=[1, 2, 3], trainer_state=state) == [1.0, 3.0, None]
    assert ask(once, ["a", "bb", ""], answer=[1, 2, 3], trainer_state=state) == [1.0, 2.0, None]
    assert function.calls == [
        (["a", "bb", ""], {"answer": [1, 2, 3], "trainer_state": state}),
        (["bbb"], {"answer": [2], "trainer_state": state}),
    ]


def test_the_same_text_in_another_row_is_scored_again():
    function = Lengths()
    ask(GradedOnce(function), ["a", "a"], answer=["x", "y"])
    assert function.calls == [(["a", "a"], {"answer": ["x", "y"]})]


def test_a_new_batch_starts_with_an_empty_cache(logged):
    function = Lengths()
    once = GradedOnce(function)
    ask(once, ["a"], logged)
    once.forget()
    logged.clear()
    ask(once, ["a", "b"], logged)
    assert [completions for completions, _ in function.calls] == [["a"], ["a", "b"]]
    assert logged == {"upper": ["A", "B"]}


def test_extra_columns_have_the_values_of_the_scored_completions(logged):
    once = GradedOnce(Lengths())
    ask(once, ["a", "b"], logged)
    assert logged == {"upper": ["A", "B"]}
    ask(once, ["a", "bc"], logged)
    assert logged == {"upper": ["A", "BC"]}
    ask(once, ["a", "b"], logged)  # the feedback was removed again
    assert logged == {"upper": ["A", "B"]}


async def awaited(**_):
    return []


class Awaited:
    async def __call__(self, **_):
        return []

    async def method(self, **_):
        return []

    def plain(self, **_):
        return []


class Model:
    def forward(self):
        return None

    def __call__(self):
        return None


@pytest.mark.parametrize(
    "function",
    [awaited, Awaited(), Awaited().method, functools.partial(awaited, x=1), Model()],
    ids=["function", "object", "method", "partial", "model"],
)
def test_async_functions_and_reward_models_are_not_wrapped(function):
    assert graded_once(function) is function


@pytest.mark.parametrize(
    "function", [lambda **_: [], Awaited().plain, functools.partial(Lengths()), Lengths()]
)
def test_plain_functions_are_wrapped(function):
    once = graded_once(function)
    assert isinstance(once, GradedOnce) and once.function is function


def test_the_name_is_kept():
    assert graded_once(ask).__name__ == "ask"
    assert graded_once(Lengths()).__name__ == "Lengths"
