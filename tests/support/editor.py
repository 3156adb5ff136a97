"""An editor that speaks ACP to `gateway acp`: the official TypeScript SDK, in `editor.mjs`, driven from here."""

from __future__ import annotations

import itertools
import json
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from gateway.process import identity
from harness.waiting import PATIENCE, until_sync
from tests.support import installed

_PROGRAM = Path(__file__).with_name("editor.mjs")


class Editor:
    """One editor and its `gateway acp`. Leaving it ends both as a killed editor does."""

    def __init__(self, env: Mapping[str, str], cwd: Path) -> None:
        node, sdk = installed.program("node"), installed.program("acp-sdk")
        self.cwd = cwd
        self._process = subprocess.Popen(
            [node, str(_PROGRAM), sdk, sys.executable, "-m", "cli.main", "acp"],
            env=dict(env),
            cwd=cwd,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        self._ids = itertools.count(1)
        self._lines: queue.Queue[dict[str, Any]] = queue.Queue()
        #: all that the program has printed, in its order
        self.seen: list[dict[str, Any]] = []
        self._errors: list[str] = []
        self._readers = [
            threading.Thread(target=self._read_output, daemon=True),
            threading.Thread(target=self._read_errors, daemon=True),
        ]
        for reader in self._readers:
            reader.start()
        self.pid: int = self.wait_for(lambda line: "pid" in line)["pid"]

    def __enter__(self) -> Editor:
        return self

    def __exit__(self, *exc: object) -> None:
        agent = identity.identify_process(self.pid)
        self._process.kill()
        self._process.wait(PATIENCE)
        if agent is not None:
            until_sync(lambda: not identity.is_alive(agent), "the closed pipe ends it")
        for reader in self._readers:
            reader.join(PATIENCE)
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            assert pipe is not None
            pipe.close()

    def send(self, method: str, **params: Any) -> int:
        """Send a request without waiting. Returns its id."""
        id_ = next(self._ids)
        self._write(id=id_, method=method, params=params)
        return id_

    def notify(self, method: str, **params: Any) -> None:
        self._write(method=method, params=params)

    def answer(self, number: int, result: Any) -> None:
        """Answer a request of the agent."""
        self._write(answer=number, result=result)

    def fail(self, number: int) -> None:
        """Answer a request of the agent with an error."""
        self._write(fail=number)

    def abort(self, id_: int) -> None:
        """Give up a request."""
        self._write(abort=id_)

    def wait_answer(self, id_: int) -> dict[str, Any]:
        """Return the answer to a request: its result or its error."""
        return self.wait_for(lambda line: line.get("id") == id_)

    def request(self, method: str, **params: Any) -> Any:
        """Return the result of a request."""
        answer = self.wait_answer(self.send(method, **params))
        assert "result" in answer, answer
        return answer["result"]

    def refuse(self, method: str, **params: Any) -> dict[str, Any]:
        """Return the error of a request."""
        answer = self.wait_answer(self.send(method, **params))
        assert "error" in answer, answer
        error: dict[str, Any] = answer["error"]
        return error

    def initialize(self, **capabilities: Any) -> dict[str, Any]:
        result: dict[str, Any] = self.request("initialize", protocolVersion=1, clientCapabilities=capabilities)
        return result

    def new_session(self) -> str:
        return str(self.request("session/new", cwd=str(self.cwd), mcpServers=[])["sessionId"])

    def prompt(self, session: str, text: str) -> int:
        return self.send("session/prompt", sessionId=session, prompt=[{"type": "text", "text": text}])

    def load(self, session: str) -> dict[str, Any]:
        result: dict[str, Any] = self.request("session/load", sessionId=session, cwd=str(self.cwd), mcpServers=[])
        return result

    def updates(self, kind: str) -> list[dict[str, Any]]:
        """Return the updates of one kind that have come."""
        return [line["update"] for line in self.seen if line.get("update", {}).get("sessionUpdate") == kind]

    def text(self, kind: str = "agent_message_chunk") -> str:
        """Return the text of the updates of one kind."""
        return "".join(update["content"]["text"] for update in self.updates(kind))

    @property
    def errors(self) -> str:
        """Return what the programs wrote to standard error."""
        return "".join(self._errors)

    def wait_for(self, fits: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
        """Return the first line that fits, also one that has come before."""
        for line in self.seen:
            if fits(line):
                return line
        while True:
            line = self._lines.get(timeout=PATIENCE)
            self.seen.append(line)
            assert "ended" not in line, f"the editor has ended: {self.errors}"
            if fits(line):
                return line

    def _write(self, **message: Any) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(message) + "\n")
        self._process.stdin.flush()

    def _read_output(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put({"ended": True})

    def _read_errors(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            self._errors.append(line)
