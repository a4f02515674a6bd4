"""A chat template's date is fixed or refused, so that a prompt is the same on every day."""

import json
import shutil

import pytest
from transformers import AutoTokenizer

from thinktuning.commands.model import materialize
from thinktuning.io.errors import StudyError
from thinktuning.models.checks import fix_date
from thinktuning.models.config import PathModelConfig

CHAT = [{"role": "user", "content": "4"}]


@pytest.fixture
def dated(tiny_model_dir, tmp_path):
    """Return a function that puts a text before the tiny model's chat template."""

    def write(start):
        directory = tmp_path / "model"
        shutil.copytree(tiny_model_dir, directory)
        path = directory / "chat_template.jinja"
        path.write_text(start + path.read_text())
        return directory

    return write


def rendered(directory):
    return AutoTokenizer.from_pretrained(directory).apply_chat_template(CHAT, tokenize=False)


@pytest.mark.parametrize(
    ("start", "said"),
    [
        ("{{ strftime_now('%d %b %Y') }}", "26 Jul 2024"),
        ('{{- strftime_now( "%d %b %Y" ) -}}', "26 Jul 2024"),
        ("{{ strftime_now (\n  '%Y'\n) }}", "2024"),
        ("{{ strftime_now('%Y') + '/' + strftime_now('%m') }}", "2024/07"),
        ("{{ strftime_now('%d') | int + 1 }}", "27"),
        ("{{ strftime_now('\"%Y\"') }}", '"2024"'),
        ("{% if strftime_now is defined %}{{ strftime_now('%Y') }}{% endif %}", "2024"),
        ("{% if strftime_now is not undefined %}{{ strftime_now('%Y') }}{% endif %}", "2024"),
        ("{% generation %}{{ strftime_now('%Y') }}{% endgeneration %}", "2024"),
        ("{% for _ in [1, 2] %}{{ strftime_now('%Y') }}{% break %}{% endfor %}", "2024"),
        ("{% macro day(f='x') %}{{ strftime_now('%Y') }}{% endmacro %}{{ day() }}", "2024"),
    ],
)
def test_literal_formats_are_fixed(dated, start, said):
    directory = dated(start)
    assert fix_date(directory, "the model") == {"date": "2024-07-26"}
    assert rendered(directory).startswith(said + "<|im_start|>")
    assert fix_date(directory, "the model") == {}


@pytest.mark.parametrize(
    "start",
    [
        "{% set format = '%d %b %Y' %}{{ strftime_now(format) }}",
        "{{ strftime_now('%d ' + '%b') }}",
        "{{ strftime_now('%d ' ~ month ~ ' %b') }}",
        "{{ strftime_now('%d' if true else '%b') }}",
        "{{ strftime_now('%d' '%b') }}",
        "{{ strftime_now(format='%d') }}",
        "{{ strftime_now('%d'.lower()) }}",
        r"{{ strftime_now('it\'s %d') }}",
        "{% set now = strftime_now %}{{ now('%d') }}",
        "{% set ns = namespace(now=strftime_now) %}{{ ns.now('%d') }}",
        "{% macro today(f) %}{{ f('%d') }}{% endmacro %}{{ today(strftime_now) }}",
        "{% macro today(f=strftime_now) %}{{ f('%d') }}{% endmacro %}{{ today() }}",
        "{{ (strftime_now)('%d') }}",
        "{% if strftime_now %}{{ 1 }}{% endif %}",
        "{{ strftime_now('%d') }}{{ strftime_now(*['%b']) }}",
    ],
)
def test_other_dates_are_refused(dated, start, tmp_path):
    directory = dated("{{ 'a line' }}\n" + start)
    source = PathModelConfig(source="path", path=str(directory))
    with pytest.raises(StudyError, match=r"model\.path.*line 2: .*strftime_now.*as a literal"):
        materialize(source, tmp_path, tmp_path / "base")
    assert not (tmp_path / "base").exists()


def test_a_template_without_a_date_stays(dated):
    directory = dated("{{ 'strftime_now(' }}{# strftime_now(x) #}")
    before = (directory / "chat_template.jinja").read_bytes()
    assert fix_date(directory, "the model") == {}
    assert (directory / "chat_template.jinja").read_bytes() == before


@pytest.mark.parametrize("start", ["", "{{ strftime_now('%Y') }}"])
def test_of_several_templates_the_default_is_kept(dated, tmp_path, start):
    """`tool_use` and others are never rendered, so the date in them does not matter."""
    directory = dated(start)
    template = (directory / "chat_template.jinja").read_text()
    (directory / "chat_template.jinja").unlink()
    path = directory / "tokenizer_config.json"
    several = {"default": template, "tool_use": "{{ strftime_now(x) }}"}
    listed = [{"name": name, "template": text} for name, text in several.items()]
    path.write_text(json.dumps(json.loads(path.read_text()) | {"chat_template": listed}))
    assert isinstance(AutoTokenizer.from_pretrained(directory).chat_template, dict)
    materialize(PathModelConfig(source="path", path=str(directory)), tmp_path, tmp_path / "base")
    kept = AutoTokenizer.from_pretrained(tmp_path / "base").chat_template
    assert kept == template.replace("strftime_now('%Y')", '"2024"')
