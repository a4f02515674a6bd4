"""Large imports run without the garbage collector, which is as before afterwards."""

import gc
import sys

import pytest

from thinktuning.io.modules import load_modules

WATCHING = "import gc\nwas_enabled = gc.isenabled()\n"


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return a function that writes a module on the path."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(name, text):
        (tmp_path / f"{name}.py").write_text(text)
        return name

    yield write
    gc.unfreeze()


def test_nothing_is_collected_during_the_import(module):
    load_modules(module("watching", WATCHING))
    assert not sys.modules["watching"].was_enabled
    assert gc.isenabled()
    assert gc.get_freeze_count() > 0


def test_a_failed_import_leaves_the_collector_on(module):
    with pytest.raises(ModuleNotFoundError, match="nothing_of_this_name"):
        load_modules(module("broken", "import nothing_of_this_name"))
    assert gc.isenabled()


def test_a_collector_that_was_off_stays_off(module):
    gc.disable()
    try:
        load_modules(module("quiet", WATCHING))
        assert not gc.isenabled()
    finally:
        gc.enable()
