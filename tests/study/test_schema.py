"""The JSON schema of a study: it agrees with what `validate` takes, and with its committed copy."""

import copy
import json
import re
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pages import ROOT

from thinktuning.io.errors import StudyError
from thinktuning.study.reading import lay_over, load_study, parse_study, read_values
from thinktuning.study.schema import schema_text

TEXT = schema_text()
SCHEMA = json.loads(TEXT)
VALIDATOR = jsonschema.Draft7Validator(SCHEMA)
STUDIES = [ROOT / "config.yaml", *sorted((ROOT / "studies").glob("*.yaml"))]
BY_NAME = {path.stem: yaml.safe_load(path.read_text()) for path in STUDIES}
DEFAULT = BY_NAME["config"]
FREE = ("params", "chat_template_kwargs", "published", "expected")  # any keys, or any numbers
EXTENDING = sorted(name for name, values in BY_NAME.items() if "extends" in values)


def accepts(values: Any) -> bool:
    """Tell whether the schema accepts a study file's values."""
    return VALIDATOR.is_valid(values)


def is_study(values: Any) -> bool:
    """Tell whether `thinktuning validate` accepts them."""
    try:
        if "extends" in values:
            base = read_values(ROOT / "studies" / values["extends"])
            override = {key: value for key, value in values.items() if key != "extends"}
            values = lay_over(base, override, "base")
        parse_study(values, "study")
    except StudyError:
        return False
    return True


def changed(values: Any, where: tuple[Any, ...], value: Any) -> Any:
    """Return values with one of them replaced; `...` removes it."""
    values = copy.deepcopy(values)
    place = values
    for key in where[:-1]:
        place = place[key]
    if value is ...:
        del place[where[-1]]
    else:
        place[where[-1]] = value
    return values


def places(values: Any, where: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Return the path of every value in a study."""
    if not isinstance(values, dict):
        return []
    return [p for key, v in values.items() for p in ((*where, key), *places(v, (*where, key)))]


def extending(text: str) -> Any:
    """Return a study that extends the default one."""
    return {"extends": "../config.yaml"} | yaml.safe_load(text)


def test_the_committed_schema_is_what_the_command_prints() -> None:
    jsonschema.Draft7Validator.check_schema(SCHEMA)
    committed = (ROOT / "workflow/schemas/config.schema.json").read_text(encoding="utf-8")
    assert committed == TEXT, "thinktuning schema > workflow/schemas/config.schema.json"


@pytest.mark.parametrize("path", [*STUDIES, ROOT / ".test/config/config.yaml"], ids=str)
def test_each_shipped_study_names_the_schema_and_agrees_with_it(path: Path) -> None:
    first, *_ = path.read_text(encoding="utf-8").splitlines()
    (name,) = re.fullmatch(r"# yaml-language-server: \$schema=(\S+)", first).groups()
    assert (path.parent / name).resolve() == ROOT / "workflow/schemas/config.schema.json"
    VALIDATOR.validate(yaml.safe_load(path.read_text(encoding="utf-8")))
    resolved = load_study(path).model_dump()
    VALIDATOR.validate(resolved)  # what `validate --resolved` prints


@pytest.mark.parametrize("name", sorted(BY_NAME))
def test_an_unknown_key_is_refused_wherever_it_is(name: str) -> None:
    values = BY_NAME[name]
    mappings = [()] + [p for p in places(values) if not set(p) & {*FREE, "sweep"}]
    checked = 0
    for where in mappings:
        place = values
        for key in where:
            place = place[key]
        if isinstance(place, dict):
            assert not accepts(changed(values, (*where, "no_such_key"), 1)), where
            checked += 1
    assert checked


@pytest.mark.parametrize("key", SCHEMA["definitions"]["Study"]["required"])
def test_a_complete_study_needs_its_sections_and_an_extending_one_does_not(key: str) -> None:
    assert not accepts(changed(DEFAULT, (key,), ...))
    assert not is_study(changed(DEFAULT, (key,), ...))
    assert accepts(extending(f"{key}: {json.dumps(DEFAULT[key])}"))
    assert accepts(extending("name: mine"))


@pytest.mark.parametrize(
    "text",
    [
        "methods: {grpo: null, mine: {training: {budget: {as: thinktuning}}}}",
        "methods: {mine: {train: false, prompt: {suffix: ' Check.'}}}",
        "methods: {mine: {algorithm: {type: sdpo, top_k: null}, teacher: {batch_size: 4}}}",
        "tasks: {chain_sum_long: null, chain_sum: {num_samples: 2, data: {size: 4}}}",
        "comparison: {published: null, expected: null}",
        "training: {learning_rate: '1e-4', max_steps: 8, budget: {tokens: 1000, scored_as: grpo}}",
        "training: {save_steps: null, lora: {r: 8}}",
        "training: {extra: null}",
        "training: {extra: {epsilon_high: 1e-1, generation_kwargs: {typical_p: null, own: 1}}}",
        "warmup: null",
        "model: {source: path, path: here}",
        "data: {train: {limit: 3, path: x.jsonl, source: jsonl}}",
        "sweep: {axes: {steps: {key: model.max_steps, values: [250, 500]}}}",
        "sweep: {axes: {a: {key: methods.grpo.training.max_steps, values: {few: 8, many: 16}}}}",
        "sweep: {axes: {a: {key: data.train.params.max_terms, values: [4]}}}",
        "sweep: {points: {one: {model.max_steps: 2, training.lora: null}, b: {model: {seed: 1}}}}",
        "sweep: {axes: {a: {points: {one: {teacher.behaviors.self_conflict: 2}}}}}",
        "evaluation: {model_args: {dtype: float32}, temperature: null, batch_size: auto}",
    ],
)  # fmt: skip
def test_what_an_extending_study_may_say(text: str) -> None:
    VALIDATOR.validate(extending(text))


@pytest.mark.parametrize(
    "text",
    [
        "seed: [0]",
        "methods: {mine: {training: {max_stepz: 8}}}",
        "methods: {mine: {trainings: {max_steps: 8}}}",
        "methods: {mine: {algorithm: {mask: teacher, gamma: 0.1}}}",  # of two algorithms
        "methods: {mine: {algorithm: {type: grpo, mask: teacher}}}",
        "methods: {Mine: {}}",
        "methods: {mine: {training: null}}",
        "tasks: {mine: {lm_eval: thinktuning_nothing}}",
        "data: {train: {source: jsonl, size: 4}}",
        "data: null",
        "training: {max_steps: null}",
        "training: {budget: {token: 1000}}",
        "training: {budget: {as_: grpo}}",
        "training: {learning_rate: fast}",
        "training: {learning_rate: ' 1e-4 '}",
        "training: {reward: rew}",
        "training: {extra: {epsilon_high: wide}}",
        "training: {extra: {generation_kwargs: {min_new_tokens: many}}}",
        "training: {lr_scheduler_type: cosine, extra: {lr_scheduler_kwargs: {num_cycle: 2}}}",
        "evaluation: {model_args: {chat_template: x}}",
        "evaluation: {batch_size: 0}",
        "resources: {train: {gpus: 2}}",
        "sweep: {axes: {steps: {key: model.max_stepz, values: [250]}}}",
        "sweep: {axes: {steps: {key: seeds, values: [[0], [1]]}}}",
        "sweep: {axes: {a: {key: methods.grpo.training.max_stepz, values: [8]}}}",
        "sweep: {points: {one: {model.max_stepz: 250}}}",
        "sweep: {points: {one: {model.max_steps: many}}}",
        "sweep: {points: {One: {model.max_steps: 250}}}",
        "sweep: {figures: {}}",
    ],
)
def test_what_an_extending_study_may_not_say(text: str) -> None:
    values = extending(text)
    assert not accepts(values)
    assert not is_study(values)


VALUES = st.sampled_from(
    [
        *(..., None, True, 0, 1, 3, -1, 0.5, 1e9, "x", "1e-4", "auto", "off", [], [1], ["grpo"]),
        *({}, {"as": "grpo"}, {"tokens": 9}, {"r": 8}, {"dtype": "bfloat16"}, {"type": "sft"}),
    ]
)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_the_schema_refuses_nothing_that_validate_takes(data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(["config", "llama3", *EXTENDING]))
    where = data.draw(st.sampled_from(places(BY_NAME[name])))
    values = changed(BY_NAME[name], where, data.draw(VALUES))
    if "extends" in BY_NAME[name] and values.get("extends") != BY_NAME[name]["extends"]:
        return
    if not accepts(values):
        assert not is_study(values), (name, where)


def test_keys_are_described_by_the_comments_of_the_default_study_and_by_docstrings() -> None:
    definitions = SCHEMA["definitions"]
    training = definitions["PartialTrainingConfig"]["properties"]
    assert training["max_steps"]["description"] == "optimizer steps"
    kind = definitions["SFTAlgorithmConfig"]["properties"]["type"]["description"]
    assert kind.startswith("thinktuning | grpo") and kind.endswith("(docs/distillation.md)")
    sources = [
        definitions[n]["properties"]["source"] for n in ("OrganismConfig", "PathModelConfig")
    ]
    assert "toy model" in sources[0]["description"] and "description" not in sources[1]
    count = definitions["RFTAlgorithmConfig"]["properties"]["count"]["description"]
    assert count == "which right completions are imitated."
    assert definitions["Study"]["properties"]["data"]["description"].startswith("The training")
