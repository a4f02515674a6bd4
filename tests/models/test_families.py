"""Every task family: its questions, derivations and bands, and how a study names it."""

import json
import random
import subprocess
import sys

import pytest
import reasoning_gym
import yaml
from edited_study import ROOT, edited, refusal
from hypothesis import given, settings
from hypothesis import strategies as st
from worked import equations, last_result, num_wrong

from thinktuning.data.config import ReasoningGymConfig
from thinktuning.data.sources import load_rows
from thinktuning.grading.answers import parse_gold, verify
from thinktuning.models import families
from thinktuning.models.mixture import START, generated
from thinktuning.study.reading import load_study, parse_study

EVERY = pytest.mark.parametrize("name", families.names())
KNOWN = ["chain_sum", "leg_counting", "products"]


def bands(name):
    return [START, *families.load(name).bands]


def draw(name, band, seed):
    """Return an item of a family's band and its generator."""
    source = generated(name, band, seed, 1)
    return source[0], source


def test_the_families_of_the_folder():
    assert set(KNOWN) <= set(families.names())
    for name in families.names():
        assert families.of_generator(families.load(name).generator) is families.load(name)
    assert families.of_generator("basic_arithmetic") is None


@EVERY
@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31), data=st.data())
def test_derivations_are_right(name, seed, data):
    """Each equation by Python's own arithmetic, the value by the generator's checker."""
    item, source = draw(name, data.draw(st.sampled_from(bands(name))), seed)
    problem = families.problem(name, "", item)
    found = families.derivation(problem)
    assert equations(found.text) and num_wrong(found.text) == 0
    assert last_result(found.text) == found.value == problem.value
    assert source.score_answer(str(found.value), item) == 1
    assert problem.question == item["question"]
    if name != "leg_counting":
        assert eval(problem.expression) == found.value


@EVERY
@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**31), data=st.data())
def test_a_wrong_derivation_has_one_wrong_step_and_follows_from_it(name, seed, data):
    item, _ = draw(name, data.draw(st.sampled_from(bands(name))), seed)
    problem = families.problem(name, "", item)
    found = families.wrong_derivation(problem, random.Random(seed))
    assert num_wrong(found.text) == 1
    assert last_result(found.text) == found.value
    results = {result for _, result, _ in equations(found.text)}
    if name == "chain_sum":  # each step starts where the last one ended
        lefts = [left.split()[0] for left, _, _ in equations(found.text)]
        ends = [str(result) for _, result, _ in equations(found.text)]
        assert lefts[1:] == ends[:-1]
    elif name in KNOWN:  # a sum adds what was written before
        for left, _, _ in equations(found.text):
            a, sign, b = left.split(" ")
            assert sign == "*" or {int(a), int(b)} <= results


@EVERY
def test_the_checker_accepts_right_answers_and_refuses_wrong_ones(name):
    """The grader's kind `number`, as for every family."""
    family, rng = families.load(name), random.Random(0)
    assert 0 not in family.slips
    for band in bands(name):
        item, source = draw(name, band, 7)
        gold = parse_gold(item["answer"], "number")
        value = families.problem(name, band, item).value
        assert verify(str(value), gold, "number")
        wrong = value + rng.choice(family.slips)
        assert not verify(str(wrong), gold, "number")
        assert source.score_answer(str(wrong), item) < 1


@EVERY
def test_bands_do_not_overlap(name):
    """By what the generator says about each item: how many terms, digits or animals it has."""
    seen = {}
    for band in bands(name):
        items = list(generated(name, band, 0, 200))
        sizes = {
            json.dumps({k: v for k, v in item["metadata"].items() if k.startswith(("num_", "n_"))})
            for item in items
        }
        questions = {item["question"] for item in items}
        for other, (other_sizes, other_questions) in seen.items():
            assert not sizes & other_sizes, (band, other)
            assert not questions & other_questions
        seen[band] = (sizes, questions)


@EVERY
def test_its_generator_asks_the_questions_of_a_data_source(name):
    """So that `source: reasoning_gym` evaluates the family; the row has the derivation's steps."""
    family = families.load(name)
    for params in family.bands.values():
        spec = ReasoningGymConfig(
            source="reasoning_gym", generator=family.generator, size=5, seed=3, params=dict(params)
        )
        for row in load_rows(spec, "number", "train", "train"):
            lines = row["solution"].splitlines()
            assert lines[-1].endswith(f"= {row['answer']}")
            assert num_wrong("; ".join(lines)) == 0


def test_derivations_of_other_parameters_do_not_stop_the_data_stage():
    """A user's own parameters of the generator, outside of the bands."""
    for params in ({"allow_negation": True, "max_terms": 3}, {"max_digits": 5, "min_terms": 1}):
        source = reasoning_gym.create_dataset("products", size=100, seed=0, **params)
        spec = ReasoningGymConfig(
            source="reasoning_gym", generator="products", size=100, seed=0, params=params
        )
        rows = load_rows(spec, "number", "train", "train")
        assert [row["answer"] for row in rows] == [item["answer"] for item in source]
        assert not any(num_wrong(row.get("solution", "")) for row in rows)


def test_exact_derivations():
    def derive(name, expression):
        return families.load(name).derive(expression, lambda result: result)

    assert derive("chain_sum", "4 - 1 - 7") == ("4 - 1 = 3 - 7 = -4.", -4)
    assert derive("products", "23 * 45") == (
        "20 * 40 = 800; 3 * 40 = 120; 800 + 120 = 920; 20 * 5 = 100; 920 + 100 = 1020;"
        " 3 * 5 = 15; 1020 + 15 = 1035.",
        1035,
    )
    assert derive("products", "7 * 0") == ("7 * 0 = 0.", 0)
    assert derive("products", "4 * 7 * 3") == (
        "4 * 7 = 28; 20 * 3 = 60; 8 * 3 = 24; 60 + 24 = 84.",
        84,
    )
    assert derive("products", "4 * 0 * 30") == ("4 * 0 = 0; 0 * 30 = 0.", 0)
    assert derive("leg_counting", "3 bees, 1 crab") == (
        "3 bees: 3 * 6 = 18; 1 crab: 1 * 10 = 10; 18 + 10 = 28.",
        28,
    )


def test_families_are_found_without_reasoning_gym():
    code = "import sys; from thinktuning.models import families as f; [*map(f.load, f.names())];"
    code += "print({'reasoning_gym', 'torch', 'numpy'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (
            {"sudoku": {"share": 1}},
            "model.families.sudoku: no such task family; choose from "
            + ", ".join(families.names()),
        ),
        ({"products": {"share": 0.5}}, "the shares of families add up to 0.5; make it 1"),
        ({}, "the shares of families add up to 0; make it 1"),
        ({"products": {"share": 0}}, "products.share: Input should be greater than 0"),
        (
            {"products": {"share": 1, "bands": ["easy", "easier"]}},
            "families.products.bands names ['easier']; choose from easy, hard, longer",
        ),
        ({"products": {"share": 1, "bands": ["easy"] * 2}}, "repeat; list each band once"),
        ({"products": {"share": 1, "bands": []}}, "bands: List should have at least 1 item"),
        ({"products": {"share": 1, "band": ["easy"]}}, "unknown key; did you mean `bands`?"),
        ([], "model.families: Input should be a valid dictionary"),
    ],
)
def test_what_is_no_family_is_refused(given, expected):
    assert expected in refusal("model.families", given)


def test_a_study_with_families_resolves_to_a_job_with_them():
    section = {"products": {"share": 0.5, "bands": ["hard", "easy"]}, "chain_sum": {"share": 0.5}}
    study = parse_study(edited("model.families", section), "study.yaml")
    assert study.model.bands() == {
        "products": ["easy", "hard"],  # in the family's order
        "chain_sum": ["easy", "hard", "longer"],
    }
    assert study.model.model_dump()["families"]["products"]["share"] == 0.5


def test_the_study_of_families_asks_their_bands():
    study = load_study(ROOT / "studies" / "families.yaml")
    assert sorted(study.model.families) == KNOWN
    asked = {}
    for task in study.tasks.values():
        asked.setdefault(task.data.generator, []).append(task.data.params)
    assert asked == {
        families.load(name).generator: list(map(dict, families.load(name).bands.values()))
        for name in KNOWN
    }
    assert yaml.safe_load((ROOT / "config.yaml").read_text())["model"]["families"] is None
