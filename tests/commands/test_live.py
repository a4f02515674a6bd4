"""The logger plugin against its interface's own tests, and `--quiet`."""

import logging
from pathlib import Path

import pytest
from snakemake_interface_logger_plugins.common import LogEvent
from snakemake_interface_logger_plugins.tests import MockOutputSettings, TestLogHandlerBase

from thinktuning.commands.jobs_view import JobsView
from thinktuning.commands.live import LogHandler


class TestLive(TestLogHandlerBase):
    """Snakemake's tests of plugins."""

    __test__ = True

    def get_log_handler_cls(self) -> type[LogHandler]:
        return LogHandler

    def get_log_handler_settings(self) -> None:  # type: ignore[override]
        return None

    def _create_handler(self) -> LogHandler:
        handler = super()._create_handler()
        handler.handleError = lambda record: pytest.fail(f"not handled: {record}")
        self.handler = handler
        return handler

    def teardown_method(self) -> None:
        self.handler.close()


def record(event: LogEvent | None, text: str, **fields: object) -> logging.LogRecord:
    made = logging.LogRecord("snakemake", logging.INFO, "here", 1, text, (), None)
    vars(made).update(fields, event=event)
    return made


def test_with_quiet_nothing_is_counted(capsys: pytest.CaptureFixture[str]) -> None:
    settings = MockOutputSettings()
    settings.quiet = {"rules"}
    handler = LogHandler(settings, None)
    handler.emit(record(LogEvent.RUN_INFO, "Job stats: 3", stats={"train": 3}))
    handler.emit(record(None, "Building DAG of jobs..."))
    handler.close()
    assert capsys.readouterr().err == "Job stats: 3\nBuilding DAG of jobs...\n"


def test_a_sweeps_page_stands_for_those_of_its_points() -> None:
    view = JobsView()
    rules = {"report": "results/a/report/index.html", "sweep": "results/report/index.html"}
    for i, (rule, page) in enumerate({**rules, "other": "results/x.txt"}.items()):
        view.add({"jobid": i, "rule_name": rule, "output": [page]}, Path("/d"))
        if i == 1:
            assert view.pages == [Path("/d/results/a/report/index.html")]
        view.finish(i)
    assert view.pages == [Path("/d/results/report/index.html")]
