"""A disk that is full, fails, or is read-only: nothing is acknowledged that is not on the disk.

The full and the read-only disk are small file systems in memory, mounted so that only this process and
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
    """Fill the disk while the gateway works."""
    return _in_private(_full, directory)


def read_only(directory: Path) -> Figures:
    """Start on a read-only disk, and on one without room for a database."""
    return _in_private(_read_only, directory)


def refusing(directory: Path) -> Figures:
    """Let the system refuse every write to a file while the gateway works."""
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
        client.until(lambda: live.call("GET", "/readyz").status == 503, "it reports that it is not ready")
        assert live.call("GET", "/health").body["status"] == "degraded"
        resource.prlimit(serving, resource.RLIMIT_FSIZE, before)
        return _went_on(live, live.home / "data", taken, refused)
    finally:
        live.close()


# --- on a separate file system ----------------------------------------------------------------


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
    """Check that a gateway names the database that it cannot use."""
    process = live.start(wait=False).process
    assert process is not None
    assert process.wait(PATIENCE) == 78
    said = live.output.read_text()
    assert "moongate.db" in said
    assert "Traceback" not in said


def _refused(live: Live, taken: list[str]) -> int:
    """Check that a gateway without disk space refuses tasks and still answers reads; return the number of refusals."""
    statuses = [client.task(live, _TEXT).status for _ in range(5)]
    assert set(statuses) <= {503, 507}, statuses
    assert live.call("GET", "/livez").status == 200
    for run in taken[:3]:
        assert live.call("GET", f"/api/tasks/{run}").status == 200
    assert live.call("GET", "/api/tasks").status == 200
    return len(statuses)


def _went_on(live: Live, disk: Path, taken: list[str], refused: int) -> Figures:
    """Check that a gateway recovers by itself, and has exactly the tasks that it acknowledged."""
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
    """Fill a file system except for `leave` bytes; return the file that fills it."""
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
    """Run a drill in a process with its own mounts."""
    if sys.platform != "linux" or os.geteuid() != 0:
        raise Impossible("only root on Linux can mount a small file system")
    if subprocess.run(["unshare", "-m", "true"], check=False, capture_output=True).returncode != 0:
        raise Impossible("this system does not allow private mounts")
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
