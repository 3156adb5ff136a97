"""Agents that misbehave in every way: each run ends, no process is left, and the gateway works as before."""

from __future__ import annotations

import time
from pathlib import Path

import psutil

from drills import Figures, client, crash
from harness.live_gateway import Live

#: seconds that an agent may work, and that its end may take after that; ten times as long is a failure
TIMEOUT, ENDING = 2.0, 5.0
#: megabytes by which the gateway may grow
GROWTH = 30.0

_STUBBORN = "trap '' TERM HUP INT; (trap '' TERM HUP INT; while :; do sleep 1; done) & while :; do sleep 1; done"


def agents(directory: Path, megabytes: int = 50, *, strict: bool = False) -> Figures:
    """Run each agent once, all at the same time, and check what is left.

    Args:
        megabytes: output of each agent that writes too much.
        strict: whether to check the time and the memory.
    """
    scripts = {
        "hangs": "sleep 600",
        "stubborn": _STUBBORN,
        "crashes": "kill -9 $$",
        "garbage": "head -c 100000 /dev/urandom",
        "line": "head -c 10000000 /dev/zero | tr '\\0' x",
        "flood": f"yes | head -c {megabytes}000000",
        "noise": f"yes | head -c {megabytes}000000 >&2",
    }
    work = directory / "work"
    made = [crash.shell(work, script, name, timeout=TIMEOUT) for name, script in scripts.items()]
    live = Live(directory / "home", {"agents": {"list": [crash.shell(work, "cat", "well"), *made]}})
    try:
        live.start()
        _works(live)
        serving = psutil.Process(live.generation.pid)
        before, began = serving.memory_info().rss, time.monotonic()
        runs = {name: client.accepted(live, "Hello", agentId=name) for name in scripts}
        ended = {name: client.wait_for(live, run, "succeeded", "failed") for name, run in runs.items()}
        took, grown = time.monotonic() - began, (serving.memory_info().rss - before) / 1e6
        _works(live)
        client.until(lambda: not _left(work), "none of their processes is left")
        assert live.generation.pid == serving.pid, "the serving process was replaced"
        assert live.stop() == 0
    finally:
        live.close()
    for name in ("hangs", "stubborn"):
        assert ended[name]["outcome"] == "timeout", ended[name]
    assert ended["crashes"]["status"] == "failed", ended["crashes"]
    assert took < (TIMEOUT + ENDING) * (1 if strict else 10), took
    assert not strict or grown < GROWTH, grown
    return {"agents": len(scripts), "all ended after s": round(took, 1), "grown MB": round(grown)}


def _works(live: Live) -> None:
    run = client.accepted(live, "Hello", agentId="well")
    assert client.wait_for(live, run, "succeeded", "failed")["result"].strip() == "Hello"


def _left(work: Path) -> list[int]:
    """Return the PIDs of processes with this work directory."""
    return [one.pid for one in psutil.process_iter(["cwd"]) if one.info["cwd"] == str(work)]
