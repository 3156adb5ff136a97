"""Why a gateway that was to start did not, in its own words: of its log, else of what it printed."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator

from cli import output
from cli.instance import Place
from cli.service.manager import Manager
from gateway import log_reader, paths
from gateway.errors import GatewayError

#: log events that say under `error` why a start went wrong
_ENDS = ("generation.failed", "generation.crashed")
#: lines at the end of the log that are looked through
_LINES = 50


class Reason:
    """What has been said since this was made."""

    def __init__(self, instance: Place, manager: Manager) -> None:
        self._instance = instance
        self._manager = manager
        self._since = time.time()

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """Have an error say what the gateway said, where the manager would only say that it failed."""
        try:
            yield
        except GatewayError as error:
            words = self._logged() or self._manager.printed(self._since)
            if not words:
                raise
            raise type(error)(words, remedy=error.remedy) from error

    def _logged(self) -> str:
        since = output.rfc3339(int(self._since * 1000))
        with contextlib.suppress(OSError):
            for line in reversed(log_reader.tail(paths.log_file(self._instance.home, self._instance.config), _LINES)):
                with contextlib.suppress(ValueError, AttributeError, RecursionError):
                    record = json.loads(line)
                    if record.get("event") in _ENDS and str(record.get("time")) >= since:
                        return str(record.get("error"))
        return ""
