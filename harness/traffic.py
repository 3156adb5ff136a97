"""Clients that never retry, so that they see each failure."""

from __future__ import annotations

import http.client
import threading
import time
from collections.abc import Callable

from harness.waiting import PATIENCE

#: seconds between a client's requests
PAUSE = 0.01


class Traffic:
    """Threads that send requests to a gateway all the time; half of them use a new connection for each."""

    def __init__(self, port: int, keeping: int = 16, coming: int = 16) -> None:
        self.failures: list[str] = []
        #: seconds that each answer has taken
        self.times: list[float] = []
        self._port = port
        self._over = threading.Event()
        clients = [self._keep] * keeping + [self._come] * coming
        self._threads = [threading.Thread(target=self._run, args=[client]) for client in clients]

    def __enter__(self) -> Traffic:
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, client: Callable[[], None]) -> None:
        while not self._over.is_set():
            try:
                client()
            except (OSError, http.client.HTTPException) as error:
                self.failures.append(repr(error))

    def _keep(self) -> None:
        connection = self._connection()
        try:
            while not self._over.wait(PAUSE):
                self._ask(connection)
        finally:
            connection.close()

    def _come(self) -> None:
        self._over.wait(PAUSE)
        connection = self._connection()
        try:
            self._ask(connection)
        finally:
            connection.close()

    def _connection(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self._port, timeout=PATIENCE)

    def _ask(self, connection: http.client.HTTPConnection) -> None:
        began = time.monotonic()
        connection.request("GET", "/livez")
        answer = connection.getresponse()
        body = answer.read()
        self.times.append(time.monotonic() - began)
        if answer.status != 200:
            self.failures.append(f"{answer.status} {body!r}")
