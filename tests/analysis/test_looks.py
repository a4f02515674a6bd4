"""Colors and lines of methods: the same in all studies, and different within one."""

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from thinktuning.analysis.looks import COLORS, LINES, OTHERS, PALETTE, color, looks
from thinktuning.study.reading import parse_study, read_values

STUDIES = sorted((Path(__file__).parents[2] / "studies").glob("*.yaml"))
names = st.from_regex(r"[a-z][a-z0-9_]{0,12}", fullmatch=True)
methods = st.lists(st.sampled_from(sorted(COLORS)) | names, unique=True)


@given(methods, names)
def test_another_method_changes_no_color(study, other):
    before, after = looks(study), looks([other, *study])
    assert {name: after[name].color for name in study} == {
        name: look.color for name, look in before.items()
    }
    assert all(look.color == color(name) in PALETTE for name, look in before.items())


@given(methods)
def test_the_order_of_methods_changes_nothing(study):
    assert looks(study) == looks(study[::-1])


@given(st.lists(st.sampled_from(sorted(COLORS)), unique=True), names)
def test_another_name_leaves_the_known_ones_as_they_are(study, other):
    if other not in COLORS:
        assert {name: looks([*study, other])[name] for name in study} == looks(study)


def test_the_methods_of_a_shipped_study_look_different():
    for path in STUDIES:
        study = parse_study(read_values(path), str(path))
        found = looks(study.methods)
        assert len({(look.color, look.line) for look in found.values()}) == len(found), path.name


def test_a_variant_has_the_color_of_what_it_varies():
    assert color("grpo_lr_1e4") == color("grpo") != color("grpo_tokens_lr_1e4")
    assert color("grpo_tokens_lr_1e4") == color("grpo_tokens")
    found = looks(["grpo", "grpo_lr_1e4", "grpo_lr_1e3"])
    assert [look.line for look in found.values()] == [LINES[0], LINES[2], LINES[1]]


def test_a_method_of_ones_own_is_not_taken_for_one_that_all_studies_have():
    usual = {color(name) for name in ("zero_shot", "zero_shot_reflect", "grpo", "thinktuning")}
    assert not usual & {*OTHERS}
    assert color("mine") in OTHERS


def test_an_index_gives_a_color_of_the_palette():
    assert [color(i) for i in range(8)] == [*PALETTE, PALETTE[0]]
