"""`extends`: a study merged into another one, and the whole study printed."""

import copy

import pytest
import yaml
from edited_study import ROOT, STUDIES

from thinktuning.io.errors import StudyError
from thinktuning.study.merging import merge
from thinktuning.study.reading import (
    laid_over,
    lay_over,
    load_study,
    parse_study,
    placed,
    read_values,
    resolved_yaml,
)


@pytest.fixture
def write(tmp_path):
    """Write studies that extend each other; default.yaml is the repository's config.yaml."""
    (tmp_path / "default.yaml").write_text((ROOT / "config.yaml").read_text())

    def written(name, text):
        (tmp_path / name).write_text(text)
        return tmp_path / name

    return written


def test_mappings_merge_and_everything_else_replaces():
    base = {"a": {"b": 1, "c": [1, 2], "d": {"e": 2}}, "f": 3}
    override = {"a": {"c": [4], "d": None}, "g": {"h": 5}}
    merged = merge(base, override)
    assert merged == {"a": {"b": 1, "c": [4], "d": None}, "f": 3, "g": {"h": 5}}
    assert base == {"a": {"b": 1, "c": [1, 2], "d": {"e": 2}}, "f": 3}


def test_another_source_replaces_its_section():
    base = {"model": {"source": "hub", "repo": "a/b", "revision": "c"}}
    assert merge(base, {"model": {"source": "path", "path": "d"}}) == {
        "model": {"source": "path", "path": "d"}
    }
    assert merge(base, {"model": {"revision": "e"}})["model"]["repo"] == "a/b"


def test_another_type_of_algorithm_keeps_the_shared_keys():
    base = {"type": "thinktuning", "mask": "teacher", "schedule": {"init": 0.4}, "aas": {}}
    at = ("algorithm",)
    assert merge(base, {"type": "sft", "keep": "right"}, at) == {
        "type": "sft",
        "mask": "teacher",
        "schedule": {"init": 0.4},
        "keep": "right",
    }
    assert merge(base, {"type": "grpo"}, at) == {"type": "grpo"}
    assert merge(base, {"type": "none_such"}, at) == {"type": "none_such"}  # `Study` refuses it


@pytest.mark.parametrize(
    ("present", "named", "expected"),
    [
        (["a", "b"], [], ["a", "b"]),
        (["a", "b"], ["c"], ["a", "b", "c"]),
        (["a", "b"], ["a"], ["a", "b"]),  # changing an entry does not move it
        (["a", "b"], ["c", "b"], ["a", "c", "b"]),
        (["a", "b"], ["d", "c", "a"], ["d", "c", "a", "b"]),
        (["a", "b"], ["b", "c", "a", "d"], ["c", "a", "b", "d"]),
    ],
)
def test_where_new_entries_go(present, named, expected):
    assert placed(present, named) == expected


def test_null_removes_a_method_or_a_task_and_empties_an_optional_section():
    base = {"methods": {"a": {"label": "A"}, "b": {}}, "tasks": {"t": {}}, "warmup": {"x": 1}}
    override = {"methods": {"a": None, "c": {}}, "warmup": None}
    assert lay_over(base, override, "base.yaml") == {
        "methods": {"b": {}, "c": {}},
        "tasks": {"t": {}},
        "warmup": None,
    }


@pytest.mark.parametrize(
    ("sweep", "expected"),
    [
        ({"points": {"a": None}}, {"points": {"b": {"model.seed": 1}}}),
        (
            {"points": {"a": {"model.seed": 2}}},
            {"points": {"a": {"model.seed": 2}, "b": {"model.seed": 1}}},
        ),
        (
            {"points": None, "axes": {"seed": {"key": "model.seed", "values": [3]}}},
            {"axes": {"seed": {"key": "model.seed", "values": [3]}}},
        ),
        (None, None),
    ],
)
def test_null_removes_points_and_axes_of_a_sweep(sweep, expected):
    base = {"sweep": {"points": {"a": {"model.seed": 0}, "b": {"model.seed": 1}}}}
    before = copy.deepcopy(base)
    assert lay_over(base, {"sweep": sweep}, "base") == {"sweep": expected}
    assert base == before
    axes = {
        "axes": {"x": {"key": "model.seed", "values": [1]}, "y": {"key": "seed", "values": [1]}}
    }
    assert lay_over({"sweep": axes}, {"sweep": {"axes": {"y": None}}}, "base") == {
        "sweep": {"axes": {"x": {"key": "model.seed", "values": [1]}}}
    }


def test_null_in_a_first_layer_removes_nothing():
    """Snakemake's path says then what `validate` does."""
    first = {"methods": {"a": None, "b": {}}, "tasks": None, "sweep": {"axes": {"x": None}}}
    assert laid_over([("one", first)]) == first
    assert laid_over([("one", {"a": 1}), ("two", None)]) == {"a": 1}
    layers = [("one", {"methods": {"a": {}, "b": {}}}), ("two", {"methods": {"a": None}})]
    assert laid_over([*layers, ("--config", {"name": "c"})]) == {"methods": {"b": {}}, "name": "c"}
    with pytest.raises(StudyError, match=r"--config: methods\.d: .* one has .*choose from a, b"):
        laid_over([layers[0], ("--config", {"methods": {"d": None}})])
    with pytest.raises(StudyError, match="one: expected a mapping of keys, found NoneType"):
        laid_over([("one", None), ("two", {})])


def test_a_study_of_three_lines(write):
    study = load_study(write("mine.yaml", "extends: default.yaml\nname: mine\nseeds: [7]\n"))
    default = load_study(ROOT / "config.yaml")
    assert (study.name, study.seeds) == ("mine", [7])
    assert study.model_copy(update={"name": default.name, "seeds": default.seeds}) == default


def test_studies_extend_each_other(write):
    write("one.yaml", "extends: default.yaml\nname: one\ntraining: {max_steps: 14, beta: 0.1}\n")
    two = load_study(write("two.yaml", "extends: one.yaml\nname: two\ntraining: {max_steps: 18}\n"))
    assert (two.name, two.training.max_steps, two.training.beta) == ("two", 18, 0.1)
    assert two.training.num_generations == 8


def test_the_path_is_relative_to_the_study(write, tmp_path):
    (tmp_path / "sub").mkdir()
    path = write("sub/mine.yaml", "extends: ../default.yaml\nname: mine\n")
    assert load_study(path).name == "mine"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "extends: none.yaml\n",
            r"mine\.yaml: extends: there is no file .*none\.yaml; the path",
        ),
        ("extends: mine.yaml\n", r"makes this study extend itself \(mine.yaml -> mine.yaml\)"),
        ("extends: loop.yaml\n", r"loop\.yaml: extends: mine.yaml makes this study extend itself"),
        ('extends: "a\\0b"\n', r"extends: there is no file .*a.b; the path"),
        ("extends: [a, b]\n", r"extends: expected the path of a study, found \['a', 'b'\]"),
        ("extends: list.yaml\n", r"list\.yaml: expected a mapping of keys, found list"),
        ("extends: broken.yaml\n", r"broken\.yaml: is not valid YAML"),
        ("extends: default.yaml\nnmae: x\n", r"nmae: unknown key; did you mean `name`"),
        ("extends: default.yaml\nguidance: {enabled: false}\n", r"guidance: .*type: grpo"),
        ("extends: default.yaml\nalgorithm: {type: gpro}\n", r"algorithm\.type: should be one of"),
        ("extends: default.yaml\nmethods: {grpo: null}\n", r"names \['grpo'\], not among methods"),
        (
            "extends: default.yaml\ntasks: {chain_sum_lng: null}\n",
            r"mine\.yaml: tasks\.chain_sum_lng: null .*default\.yaml has no .*`chain_sum_long`",
        ),
        ("extends: default.yaml\nmethods: {none: null}\n", r"choose from zero_shot, .*thinktuning"),
        ("extends: default.yaml\nsweep: {axes: {a: null}}\n", r"sweep\.axes\.a: .*; remove this"),
    ],
)
def test_an_invalid_extending_study_is_refused(write, text, message):
    write("loop.yaml", "extends: mine.yaml\n")
    write("list.yaml", "- a\n")
    write("broken.yaml", "a: [\n")
    with pytest.raises(StudyError, match=message):
        load_study(write("mine.yaml", text))


def test_a_link_to_itself_is_no_study(tmp_path):
    (tmp_path / "mine.yaml").symlink_to("mine.yaml")
    with pytest.raises(StudyError, match=r"mine\.yaml: cannot be read \(Too many levels"):
        load_study(tmp_path / "mine.yaml")


def test_a_number_as_a_key_of_a_sweep_is_refused_when_merged(write):
    point = "sweep: {points: {a: {1: {b: 1}}}}\n"
    write("one.yaml", f"extends: default.yaml\n{point}")
    with pytest.raises(StudyError, match=r"sweep\.points\.a: the key 1 is not text"):
        load_study(write("mine.yaml", f"extends: one.yaml\n{point}"))


@pytest.mark.parametrize("path", STUDIES, ids=lambda path: path.stem)
def test_the_printed_study_reads_back_as_the_same_study(path):
    study = load_study(path)
    printed = yaml.safe_load(resolved_yaml(study))
    assert parse_study(printed, "printed") == study
    assert "extends" not in printed


def test_the_repositorys_studies_only_list_what_they_change():
    """No key of an extending study repeats the value that it would have anyway."""

    def repeated(base, override, where=""):
        for key, value in override.items():
            if isinstance(value, dict) and isinstance(base.get(key), dict):
                yield from repeated(base[key], value, f"{where}{key}.")
            elif key in base and base[key] == value:
                yield where + key

    extending = [path for path in STUDIES if "extends:" in path.read_text()]
    assert len(extending) >= 6
    for path in extending:
        own = yaml.safe_load(path.read_text())
        base = read_values(path.parent / own["extends"])
        assert list(repeated(base, own)) == [], path


def test_of_two_studies_one_is_run(write):
    """Merged, they would be the methods and tasks of both, under the name of the second."""
    study = read_values(ROOT / "studies/smallest.yaml")
    other = read_values(write("mine.yaml", "extends: default.yaml\nname: mine\n"))
    changed = laid_over([("a", study), ("b", {"name": "b", "seeds": [7]}), ("c", None)])
    assert (changed["name"], changed["seeds"]) == ("b", [7])
    with pytest.raises(StudyError, match=r"^b is a study of its own, .* over a, .* `extends`"):
        laid_over([("a", study), ("b", other)])
    with pytest.raises(StudyError, match=r"^--config: extends: name the study .* --configfile"):
        laid_over([("a", study), ("--config", {"extends": "mine.yaml"})])
    with pytest.raises(StudyError, match=r"^b: expected a mapping of keys, found list"):
        laid_over([("a", study), ("b", ["seeds"])])
