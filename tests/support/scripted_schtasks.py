"""A `schtasks` that keeps state, and fails on request: `scripted_schtasks.py STATE /VERB …`.

`STATE/state.json` holds the state that Task Scheduler would have; a test writes there what must happen. With "real",
a task runs its command; without it, a process that only looks like a gateway, with a record in its lock file.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

from gateway import paths
from gateway.process import identity
from gateway.supervisor.record import Record
from tests.support.windows import windows_words

SPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
_STAND_IN = [sys.executable, "-c", "import time; time.sleep(600)", "--environment"]
_STAND_IN += ["MOONGATE_SERVICE_MARKER=taskscheduler"]


def text_of(task: str, element: str) -> str:
    found = ElementTree.fromstring(task.partition("?>")[2]).find(f".//{SPACE}{element}")
    assert found is not None
    return found.text or ""


def run(task: str, state: dict[str, Any]) -> int:
    """Start a task's command in the environment of its user; return the PID."""
    said = [text_of(task, "Command"), *windows_words(text_of(task, "Arguments"))]
    process = subprocess.Popen(
        said if state["real"] else _STAND_IN,
        cwd=text_of(task, "WorkingDirectory"),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    process.returncode = 0
    if not state["real"]:
        lock = paths.lock_file(paths.state_directory(os.environ), paths.config_file(os.environ))
        paths.make_private_directory(lock.parent)
        lock.write_bytes(record_of(process.pid).encode_line())
    return process.pid


def record_of(pid: int) -> Record:
    """Return the record of a gateway with this PID, with a port where nothing answers."""
    who = identity.identify_process(pid)
    assert who is not None
    return Record(pid, 1, "", who.started, who.boot, "an-instance", "127.0.0.1", 1, "1")


def end(state: dict[str, Any]) -> None:
    """End the process of a task at once, as Windows does."""
    with contextlib.suppress(ProcessLookupError):
        if state["pid"]:
            os.kill(state["pid"], signal.SIGKILL)
    state["pid"] = 0


def obey(words: list[str], state: dict[str, Any]) -> tuple[int, str]:
    """Return the exit code and the output."""
    tasks = state["tasks"]
    match words:
        case ["/create", "/tn", name, "/xml", file, "/f"]:
            tasks[name] = Path(file).read_bytes().decode("utf-16")
            return 0, "ERFOLGREICH: Der geplante Task wurde erfolgreich erstellt."
        case [_, "/tn", name, *_] if name not in tasks:
            return 1, "FEHLER: Das System kann die angegebene Datei nicht finden."
        case ["/query", "/tn", name, "/xml"]:
            return 0, tasks[name]
        case ["/run", "/tn", name]:
            state["pid"] = run(tasks[name], state)
            return 0, "ERFOLGREICH"
        case ["/end", "/tn", _]:
            end(state)
            return 0, "ERFOLGREICH"
        case ["/delete", "/tn", name, "/f"]:
            del tasks[name]
            return 0, "ERFOLGREICH"
    return 1, f"FEHLER: Ungültige Syntax {words}"


def main(place: Path, words: list[str]) -> int:
    file = place / "state.json"
    state = json.loads(file.read_text())
    if state["fails_at"] == words[0]:
        state["fails_at"] = ""
        code, said = 1, "FEHLER: Zugriff verweigert"
    else:
        code, said = obey(words, state)
    if words[0] != "/query":
        state["asked"].append(" ".join(words))
    file.write_text(json.dumps(state))
    print(said, file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2:]))
