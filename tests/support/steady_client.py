"""A client that submits tasks all the time, and later asks what became of them. Needs nothing but Python.

python steady_client.py URL TOKEN-FILE FILE submit    until FILE.stop exists; FILE gets each id that was accepted
python steady_client.py URL TOKEN-FILE FILE check     waits for the ends; prints the ids of those that were lost
"""

from __future__ import annotations

import http.client
import json
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

#: seconds to wait for the end of a task
END_SECONDS = 60.0
#: statuses that stay
ENDED = ("succeeded", "failed", "cancelled")


class Client:
    def __init__(self, url: str, token: str) -> None:
        self._url, self._token = url, token

    def call(self, method: str, path: str, body: Mapping[str, Any] | None = None, key: str = "") -> Any:
        """Return the answer; None while the gateway does not answer."""
        headers = {"Authorization": f"Bearer {self._token}", "Content-Type": "application/json"}
        data = json.dumps(body).encode() if body is not None else None
        request = urllib.request.Request(self._url + path, data, headers, method=method)
        if key:
            request.add_header("Idempotency-Key", key)
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                return json.load(answer)
        except urllib.error.HTTPError as error:
            if error.code < 500 and error.code != 429:
                raise  # it will never be accepted
            return None
        except (OSError, http.client.HTTPException):
            return None

    def submit_all(self, accepted: Path) -> None:
        """Submit tasks until told to stop; each again, with its key, until it is accepted."""
        number = 0
        with accepted.open("a") as told:
            while not accepted.with_suffix(".stop").exists():
                text = f"task {number}" if number % 5 else f"@@ sleep 1\n@@ say task {number}"
                answer = self.call("POST", "/api/tasks", {"input": text}, key=f"steady-{number}")
                if answer is None:
                    time.sleep(0.05)
                    continue
                told.write(f"{answer['task']['id']} {number}\n")
                told.flush()
                number += 1

    def read_task(self, identifier: str) -> dict[str, Any]:
        """Return a task; empty while the gateway does not answer."""
        answer = self.call("GET", f"/api/tasks/{identifier}") or {}
        return dict(answer.get("task", {}))

    def find_lost(self, accepted: Path) -> list[str]:
        """Return what is wrong with the accepted tasks, after they have had time to end."""
        lost = []
        deadline = time.monotonic() + END_SECONDS
        for line in accepted.read_text().splitlines():
            identifier, number = line.split()
            task = self.read_task(identifier)
            while task.get("status") not in ENDED and time.monotonic() < deadline:
                time.sleep(0.05)
                task = self.read_task(identifier)
            if task.get("status") != "succeeded" or f"task {number}" not in str(task.get("result")):
                lost.append(f"{identifier}: {task}")
        return lost


def main(url: str, token_file: str, file: str, action: str) -> None:
    client, accepted = Client(url, Path(token_file).read_text().strip()), Path(file)
    if action == "submit":
        client.submit_all(accepted)
    else:
        print("\n".join(client.find_lost(accepted)), end="")


if __name__ == "__main__":
    main(*sys.argv[1:])
