"""The time that `gateway status` takes for a person."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import measure, servers
from bench.measure import Sample
from bench.report import Figure, Result, Row

NAME = "gateway status / click and a socket"


def run(quick: bool) -> Result:
    if importlib.util.find_spec("cli.commands.status") is None:
        return Result(skipped="there is no `gateway status` yet")
    with tempfile.TemporaryDirectory() as place, servers.gateway(Path(place)) as gateway:
        status = [str(Path(sys.executable).with_name("gateway")), "status"]
        plain = [sys.executable, str(servers.ROOT / "bench" / "bare" / "click_socket.py"), str(gateway.port)]
        env = servers.environment(Path(place))
        for command in (status, plain):
            _time(command, env)
        slices = measure.pairs(
            lambda: _time(status, env), lambda: _time(plain, env), 1 if quick else 25, lambda a, b: a / b
        )
    ratio = Sample.of(one / two for one, two in measure.halves(slices))
    ours, theirs = Sample.of(slices[::2]).median, Sample.of(slices[1::2]).median
    return Result(
        figures=[Figure(name=NAME, sample=ratio, unit="x", reach=1.25)],
        notes=[f"`gateway status` {ours * 1000:.0f} ms, plain {theirs * 1000:.0f} ms; {len(slices) // 2} pairs."],
    )


def _time(command: Sequence[str], env: Mapping[str, str]) -> float:
    began = time.perf_counter()
    subprocess.run(command, env=env, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL, check=True, timeout=30)
    return time.perf_counter() - began


ROW = Row(
    title="Status",
    setup="The total time of `gateway status` with a running gateway, and of `bench/bare/click_socket.py`, which"
    " imports click and asks the same gateway for `/health` over a socket.",
    run=run,
)
