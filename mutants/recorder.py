"""A plugin of pytest that notes of each test its outcome, its seconds, the lines of the gateway that it executes, and
whether it starts Python programs, which may execute any line.

It writes one file for each process that ran tests, as JSON, into the directory $MUTANTS_RECORDS.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import coverage
import pytest

_lines = coverage.Coverage(data_file=None, source=["gateway"], config_file=False)  # in memory: tests fill disks
_seconds: dict[str, float] = {}
_failed: set[str] = set()
_starting: set[str] = set()
_running = ""


def _note_process(event: str, arguments: tuple[Any, ...]) -> None:
    if event == "subprocess.Popen" and sys.prefix in str(arguments):
        _starting.add(_running)


def pytest_sessionstart() -> None:
    _lines.start()
    sys.addaudithook(_note_process)


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[None]:
    global _running
    _running = item.nodeid
    _lines.switch_context(item.nodeid)
    return (yield)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    _seconds[report.nodeid] = _seconds.get(report.nodeid, 0.0) + report.duration
    if report.failed:
        _failed.add(report.nodeid)


def pytest_sessionfinish() -> None:
    _lines.stop()
    with warnings.catch_warnings(action="ignore"):  # the process that only hands out tests executes nothing
        data = _lines.get_data()
    record = {
        "seconds": _seconds,
        "failed": sorted(_failed),
        "starting": sorted(_starting),
        "executed": {file: data.contexts_by_lineno(file) for file in data.measured_files()},
    }
    (Path(os.environ["MUTANTS_RECORDS"]) / str(os.getpid())).write_text(json.dumps(record), encoding="utf-8")
