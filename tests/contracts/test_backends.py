"""Every backend keeps the contract."""

from __future__ import annotations

import sys

import pytest

from tests.contracts import subjects
from tests.contracts.backends import BackendContract

posix = pytest.mark.skipif(sys.platform == "win32", reason="the scripted agent uses signals and fork")


class TestEcho(BackendContract):
    subject = subjects.Echo()


class TestOpenAI(BackendContract):
    subject = subjects.OpenAI()


@posix
class TestCommandText(BackendContract):
    subject = subjects.CommandText()


@posix
class TestCommandLines(BackendContract):
    subject = subjects.CommandLines()
