"""A function that a study names: found, refused with a reason, and made of these files."""

import importlib
import json
import os
import subprocess
import sys

import pytest

from thinktuning.io import functions

REWARD = "def brevity(completions, **kwargs):\n    return [0.0 for _ in completions]\n"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """An empty working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    return tmp_path


def write(directory, modules):
    """Write modules: path without .py -> text."""
    for name, text in modules.items():
        path = directory / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)


def test_a_function_is_found_in_the_working_directory(here, tmp_path_factory, monkeypatch):
    inner = "def f(record, **_):\n    return record\n"
    write(here, {"rewards": REWARD, "package/inner": inner})
    assert functions.function("rewards:brevity")(completions=["a", "b"]) == [0.0, 0.0]
    assert functions.function("package.inner:f")(3) == 3
    other = tmp_path_factory.mktemp("other")
    write(other, {"rewards": REWARD.replace("0.0", "1.0")})
    monkeypatch.chdir(other)  # a module of the same name, in another directory
    assert functions.function("rewards:brevity")(completions=["a"]) == [1.0]
    assert list(functions.files("rewards:brevity").values()) == [other / "rewards.py"]


def test_local_modules_hide_no_installed_ones_from_later_imports(here):
    write(here, {"rewards": REWARD})
    before = list(sys.path)
    functions.function("rewards:brevity")
    assert sys.path == [*before, str(here)]
    assert functions.function("json:dumps") is json.dumps


@pytest.mark.parametrize(
    ("modules", "reference", "message"),
    [
        ({}, "rewards.py", "'rewards.py' is not of the form module:function"),
        ({}, "a/b:f", "'a/b:f' is not of the form module:function"),
        ({}, "rewards:f", "there is no module rewards: neither rewards.py in "),
        ({"rewards": REWARD}, "rewards:brevty", "no function 'brevty'; did you mean rewards:brev"),
        ({"rewards": "f = 3\n"}, "rewards:f", "rewards:f is a int; name a function"),
        ({"rewards": "class F: pass\n"}, "rewards:F", "rewards:F is a class; name a function"),
        ({"rewards": "async def f(): pass\n"}, "rewards:f", "rewards:f is async; name a plain"),
        ({"rewards": "def f(:\n"}, "rewards:f", "cannot be imported: SyntaxError: "),
        ({"rewards": "1 / 0\n"}, "rewards:f", r"ZeroDivisionError: division by zero \(.*:1\)"),
        ({"rewards": "exit(3)\n"}, "rewards:f", "module rewards cannot be imported: SystemExit: 3"),
        ({"rewards": "import nope\n"}, "rewards:f", "imported: ModuleNotFoundError: No module na"),
        ({"random": REWARD}, "random:brevity", r"random in .* has the name of another module \(.*"),
        ({"peft": REWARD}, "peft:brevity", r"peft in .* has the name of another module \(.*/peft/"),
    ],
)
def test_what_is_no_function_is_refused(here, modules, reference, message):
    write(here, modules)
    with pytest.raises(ValueError, match=message):
        functions.function(reference)


@pytest.mark.parametrize(
    ("definition", "missing"),
    [
        ("def f(completions, answer, **kwargs): ...", {"answer"}),
        ("def f(*, completions, words, answer=None, **kwargs): ...", {"words"}),
        ("class F:\n    def __call__(self, prompts, **_): ...\nf = F()", set()),
        ("import functools\nf = functools.partial(lambda a, b, **k: 1, b=2)", {"a"}),
        ("def f(completions): ...", None),
        ("def f(completions, /, **kwargs): ...", None),
        ("f = lambda *completions: 1", None),
        ("f = type", None),
    ],
)
def test_a_signature_is_checked(here, definition, missing):
    write(here, {"rewards": definition + "\n"})
    if missing is None:
        with pytest.raises(ValueError, match=r"rewards:f (cannot be called|is a class)"):
            functions.required("rewards:f", {"prompts", "completions"}, "def NAME(**kwargs)")
    else:
        given = {"prompts", "completions"}
        assert functions.required("rewards:f", given, "def NAME(**kwargs)") == missing


def test_the_files_are_those_that_the_module_imports_from_beside_it(here):
    modules = {
        "rewards": "import json\nfrom lib import words\nimport thinktuning.io.files\n"
        "def f(**_):\n    from other import late\n",
        "lib/__init__": "",
        "lib/words": "from .deep.inner import x\n",
        "lib/deep/inner": "x = 1\n",
        "other": "late = 1\nif late > 1:\n    import broken\n",
        "broken": "def (\n",
        "unused": "",
    }
    write(here, modules)
    expected = ["rewards.py", "lib/__init__.py", "lib/words.py", "lib/deep/inner.py", "other.py"]
    found = functions.files("rewards:f")
    assert sorted(found) == sorted([*expected, "broken.py"])
    assert all(path == here / name for name, path in found.items())


def test_the_files_of_an_installed_package_are_its_own(here, monkeypatch):
    site = here / "lib/site-packages"
    core = "import graders.more\nimport single\n" + REWARD
    write(site, {"graders/__init__": "", "graders/core": core})
    write(site, {"graders/more": "import json\n", "single": ""})
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    names = ["graders/__init__.py", "graders/core.py", "graders/more.py"]
    assert sorted(functions.files("graders.core:brevity")) == names


def test_the_command_finds_a_function_where_it_is_called(here):
    """Its own directory is that of the script, not the working directory."""
    write(here, {"rewards": REWARD})
    code = "from thinktuning.io.functions import files; print(*files('rewards:brevity').values())"
    env = {key: value for key, value in os.environ.items() if key != "PYTHONSAFEPATH"}
    command = [sys.executable, "-I", "-c", f"import sys; sys.path[:0] = {sys.path!r}; {code}"]
    done = subprocess.run(command, cwd=here, env=env, capture_output=True, text=True)
    assert done.stdout.strip() == str(here / "rewards.py"), done.stderr


def test_a_module_that_only_snakemake_finds_is_refused(here, tmp_path_factory, monkeypatch):
    """It puts the Snakefile's directory on its own path, not on that of jobs."""
    workflow = tmp_path_factory.mktemp("workflow")
    write(workflow, {"beside": REWARD})
    (workflow / "Snakefile").touch()
    monkeypatch.syspath_prepend(str(workflow))
    with pytest.raises(ValueError, match=f"beside the Snakefile, where its jobs .* {here}, or add"):
        functions.function("beside:brevity")
    monkeypatch.setenv("PYTHONPATH", f"{workflow}{os.pathsep}/elsewhere")
    assert functions.function("beside:brevity")
