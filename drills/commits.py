"""Seen from the operating system: no request is acknowledged before its commit has reached the disk."""

from __future__ import annotations

import re
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from drills import Figures, Impossible, ProgramMissing, client
from harness.live_gateway import Live

REQUESTS = 20

_CALL = re.compile(r"^(\d+)\s+(?:<\.\.\. )?(\w+)(.*)$")


def no_answer_before_its_sync(directory: Path) -> Figures:
    """Watch the gateway's system calls while it accepts tasks."""
    if sys.platform != "linux" or shutil.which("strace") is None:
        raise ProgramMissing("strace is not installed")
    trace = directory / "trace"
    live = Live(directory / "home").start()
    try:
        watching = subprocess.Popen(
            ["strace", "-f", "-y", "-s", "32", "-o", str(trace), "-e", "trace=fdatasync,fsync,sendto,recvfrom,write",
             "-p", str(live.generation.pid)],
            stderr=subprocess.PIPE,
            text=True,
        )  # fmt: skip
        try:
            assert watching.stderr is not None
            said = watching.stderr.readline()
            if "attached" not in said:
                raise Impossible(f"strace cannot watch here: {said.strip()}")
            for number in range(REQUESTS):
                client.accepted(live, f"number {number}", run_at="2099-01-01T00:00:00Z")
        finally:
            watching.send_signal(signal.SIGINT)
            watching.communicate(timeout=60)
    finally:
        live.close()
    answers = _judge(trace.read_text().splitlines())
    assert answers == REQUESTS
    return {"requests": REQUESTS, "answers before their sync": 0}


def _judge(calls: list[str]) -> int:
    """Check the calls in the order of time; return how many requests were acknowledged."""
    syncing: dict[str, bool] = {}
    synced, answers = False, 0
    for line in calls:
        found = _CALL.match(line)
        if found is None:
            continue
        thread, call, rest = found.groups()
        if call in ("fdatasync", "fsync"):
            syncing[thread] = syncing.get(thread, False) or "moongate.db" in rest
            if "unfinished" not in rest:
                synced = synced or syncing.pop(thread)
        elif '"POST /api/tasks' in rest:
            synced = False
        elif '"HTTP/1.1 202' in rest:
            assert synced, f"answered before its commit was on disk: {line}"
            answers += 1
    return answers
