"""A disk that is full, refuses, or cannot be written to: nothing is acknowledged that is not on it.

The full and the read-only disk are small file systems in memory, mounted where only this process and
its children see them.
"""

from __future__ import annotations

import json
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from drills import Figures, Impossible, client
from harness.live_gateway import Live
from harness.waiting import PATIENCE

_TEXT = "x" * 20_000


def full(directory: Path) -> Figures:
    """Fill the disk under a gateway at work."""
    return _in_private(_full, directory)


def read_only(directory: Path) -> Figures:
    """Start on a disk that cannot be written to, and on one that has no room for a database."""
    return _in_private(_read_only, directory)


def refusing(directory: Path) -> Figures:
    """Have the system refuse every write to a file, while the gateway is at work."""
    if sys.platform != "linux":
        raise Impossible("another process's limits can be set on Linux only")
    live = Live(directory / "home")
    try:
        live.start()
        serving = live.generation.pid
        before = resource.prlimit(serving, resource.RLIMIT_FSIZE)
        taken = [client.accepted(live, f"@@ words 200 0.01\n@@ say {number}") for number in range(3)]
        client.wait_for(live, taken[0], "running", "succeeded")
        resource.prlimit(serving, resource.RLIMIT_FSIZE, (0, before[1]))
        refused = _refused(live, taken)
        client.until(lambda: live.call("GET", "/readyz").status == 503, "it says that it takes nothing")
        assert live.call("GET", "/health").body["status"] == "degraded"
        resource.prlimit(serving, resource.RLIMIT_FSIZE, before)
        return _went_on(live, live.home / "data", taken, refused)
    finally:
        live.close()


# --- on a file system of our own --------------------------------------------------------------


def _full(directory: Path) -> Figures:
    disk = _mounted(directory / "disk", "8m")
    live = Live(directory / "home", {"data": {"directory": str(disk)}})
    try:
        live.start()
        filler = _fill(disk / "filler", leave=1_000_000)
        taken: list[str] = []
        while (answer := client.task(live, _TEXT)).status == 202:
            taken.append(answer.body["task"]["id"])
        assert answer.status in (503, 507), answer
        _fill(disk / "filler-2", leave=0)
        refused = _refused(live, taken)
        filler.unlink()
        (disk / "filler-2").unlink()
        return _went_on(live, disk, taken, refused)
    finally:
        live.close()


def _read_only(directory: Path) -> Figures:
    disk = _mounted(directory / "disk", "4m")
    live = Live(directory / "home", {"data": {"directory": str(disk)}})
    try:
        run = client.accepted(live.start(), "hello")
        client.wait_for(live, run, "succeeded")
        assert live.stop() == 0
        _run("mount", "-o", "remount,ro", str(disk))
        _does_not_start(live)
        _run("mount", "-o", "remount,rw", str(disk))
        assert client.show(live.start(), run)["status"] == "succeeded"
        assert live.stop() == 0
    finally:
        live.close()
    small = _mounted(directory / "small", "16k")
    cramped = Live(directory / "cramped", {"data": {"directory": str(small)}})
    _does_not_start(cramped)
    assert not (small / "moongate.db").exists()
    return {"exit code on a read-only disk, and on one that is too small": 78}


def _does_not_start(live: Live) -> None:
    """See that a gateway says which database it cannot use."""
    process = live.start(wait=False).process
    assert process is not None
    assert process.wait(PATIENCE) == 78
    said = live.output.read_text()
    assert "moongate.db" in said
    assert "Traceback" not in said


def _refused(live: Live, taken: list[str]) -> int:
    """See that a gateway without a disk takes nothing, says so, and still can be read; counts refusals."""
    statuses = [client.task(live, _TEXT).status for _ in range(5)]
    assert set(statuses) <= {503, 507}, statuses
    assert live.call("GET", "/livez").status == 200
    for run in taken[:3]:
        assert live.call("GET", f"/api/tasks/{run}").status == 200
    assert live.call("GET", "/api/tasks").status == 200
    return len(statuses)


def _went_on(live: Live, disk: Path, taken: list[str], refused: int) -> Figures:
    """See that a gateway goes on by itself, and that it has exactly what it said it had."""
    began = time.monotonic()

    def take() -> str | None:
        answer = client.task(live, "after")
        return str(answer.body["task"]["id"]) if answer.status == 202 else None

    taken = [*taken, client.until(take, "it takes work again")]
    for run in taken:
        assert client.wait_for(live, run, "succeeded", "failed", "cancelled")["status"] == "succeeded"
    took = time.monotonic() - began
    assert live.stop() == 0
    assert client.rows(disk / "moongate.db", "PRAGMA integrity_check") == [("ok",)]
    assert {run for (run,) in client.rows(disk / "moongate.db", "SELECT id FROM runs")} == set(taken)
    return {"taken": len(taken), "refused at least": refused, "all done, s after there was room": round(took, 2)}


def _fill(file: Path, leave: int) -> Path:
    """Take all space of a file system but so many bytes."""
    with file.open("wb", buffering=0) as filler:
        space = os.statvfs(file.parent)
        for size in (space.f_bavail * space.f_frsize - leave, *([4096] * 16 if not leave else [])):
            try:
                filler.write(b"\0" * size)
            except OSError:
                break
    return file


# --- mounting ---------------------------------------------------------------------------------

_HELD: dict[str, Callable[[Path], Figures]] = {"_full": _full, "_read_only": _read_only}


def _in_private(held: Callable[[Path], Figures], directory: Path) -> Figures:
    """Hold a drill in a process with mounts of its own."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Impossible("a small file system can be mounted by root on Linux only")
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode != 0:
        raise Impossible("this system allows no private mounts")
    root = Path(__file__).parents[1]
    command = ["unshare", "-m", sys.executable, "-m", "drills.disk", held.__name__, str(directory)]
    done = subprocess.run(command, check=False, capture_output=True, text=True, cwd=root, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _mounted(directory: Path, size: str) -> Path:
    directory.mkdir()
    _run("mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(directory))
    return directory


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)


if __name__ == "__main__":
    sys.stdout.write(json.dumps(_HELD[sys.argv[1]](Path(sys.argv[2]))) + "\n")
