"""The headline on terminals of several widths."""

import io
import re

import pytest
from answered_study import ONE_SEED, run_compare, study
from rich.console import Console

from thinktuning.analysis.headline import print_headline
from thinktuning.study.jobs import to_json


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    directory = tmp_path_factory.mktemp("results")
    run_compare(directory, study([0]), ONE_SEED)
    (directory / "tables/config.json").write_text(to_json(study([0])))
    return directory


@pytest.mark.parametrize(("width", "in_one_line"), [(60, False), (120, True), (None, True)])
def test_no_interval_is_cut(results, width, in_one_line):
    out = io.StringIO()
    terminal = {"width": width, "force_terminal": True} if width else {}
    print_headline(Console(file=out, color_system=None, **terminal), results)
    table, page = out.getvalue().split("The page: ")
    assert page == (results / "report/index.html").as_uri() + "\n"
    intervals = re.findall(r"\[[\d.+-]+, [\d.+-]+\]", table)
    assert len(intervals) == 5 and "\u2026" not in table  # two accuracies, a difference, two rates
    assert all(bool(re.search(rf"\d {re.escape(i)}", table)) == in_one_line for i in intervals)
    assert max(map(len, table.splitlines())) <= (width or 140)
