"""Finds out why a gateway did not start: from its log, or else from what it printed."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

from cli import output
from cli.instance import Instance
from cli.service.manager import ServiceManager
from gateway import log_reader, paths
from gateway.errors import GatewayError

#: log events whose field `error` says why a start failed
_FAILURE_EVENTS = ("generation.failed", "generation.crashed")
#: lines at the end of the log that are searched
_MAX_LOG_LINES = 50


class StartFailure:
    """Explains the failure of a start that begins when this object is made."""

    def __init__(self, instance: Instance, manager: ServiceManager) -> None:
        self._instance = instance
        self._manager = manager
        self._since = time.time()

    @contextlib.contextmanager
    def explain_errors(self) -> Iterator[None]:
        """Replace the message of an error with the gateway's own; a manager only says that the start failed."""
        try:
            yield
        except GatewayError as error:
            words = self._read_logged_error() or self._manager.read_printed_line(self._since)
            if not words:
                raise
            raise type(error)(words, remedy=error.remedy) from error

    def _read_logged_error(self) -> str:
        since = output.format_rfc3339(int(self._since * 1000))
        with contextlib.suppress(OSError):
            for line in reversed(
                log_reader.read_last_lines(paths.log_file(self._instance.home, self._instance.config), _MAX_LOG_LINES)
            ):
                with contextlib.suppress(ValueError, AttributeError, RecursionError):
                    record = json.loads(line)
                    if record.get("event") in _FAILURE_EVENTS and str(record.get("time")) >= since:
                        return str(record.get("error"))
        return ""
