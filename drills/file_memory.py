"""The memory of the serving process while large files come and go."""

from __future__ import annotations

import random
import sys
import threading
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import psutil

from drills import Figures, Impossible, files
from harness import file_client
from harness.file_client import hash_content
from harness.live_gateway import Live

#: bytes of a large file
SIZE = 20_000_000
#: how many of them come at once
TOGETHER = 64
#: megabytes of memory that one large file may take, in or out, and that all those that come at once may take
ONE, ALL = 8.0, 128.0


def stays_small(directory: Path, together: int = 16, strict: bool = False) -> Figures:
    """Upload and download a large file, then many at once, and look at the peak of the memory meanwhile.

    Args:
        strict: whether the limits count.
    """
    if sys.platform != "linux":
        raise Impossible("the peak of another process's memory can be set back on Linux only")
    live = Live(directory / "home", files.AGENTS)
    dice = random.Random("moon")  # noqa: S311 no secret
    try:
        live.start()
        serving = live.generation.pid
        for number in range(20):  # loads what is loaded at first use
            file_client.download(live, _upload(live, dice.randbytes(1000), f"small-{number}"))
        data = [dice.randbytes(SIZE) for _ in range(2)]
        stored = [""]

        def send() -> None:
            stored[0] = _upload(live, data[0], "in")

        def send_form() -> None:
            _upload(live, data[1], "form", as_form=True)

        def get() -> None:
            assert hash_content(file_client.download(live, stored[0])) == hash_content(data[0])

        figures = {name: _measure(serving, [act]) for name, act in (("in", send), ("form", send_form), ("out", get))}
        shared = dice.randbytes(SIZE - 8)
        many = [partial(_upload_variant, live, shared, number) for number in range(together)]
        figures[f"{together} in"] = _measure(serving, many)
        figures[f"{together} out"] = _measure(serving, [get] * together)
        assert live.stop() == 0
    finally:
        live.close()
    if strict:
        assert max(figures["in"], figures["form"], figures["out"]) <= ONE, figures
        assert max(figures.values()) <= ALL, figures
    return {f"MB more, {name}": round(megabytes, 1) for name, megabytes in figures.items()}


def _upload(live: Live, data: bytes, name: str, *, as_form: bool = False) -> str:
    answer = file_client.upload(live, data, name, as_form=as_form)
    assert answer.status == 201, answer
    assert answer.body["file"]["sha256"] == hash_content(data)
    return str(answer.body["file"]["id"])


def _upload_variant(live: Live, shared: bytes, number: int) -> None:
    """Upload a file that differs from all others by its end; the memory of the drill has the rest once."""
    length = {"Content-Length": str(len(shared) + 8)}
    status, body = file_client.exchange(live, "POST", "/api/files", [shared, number.to_bytes(8, "big")], length)
    assert status == 201, body


def _measure(pid: int, acts: Sequence[Callable[[], object]]) -> float:
    """Do some things at the same time; return by how many megabytes the memory of a process was larger meanwhile.

    The system notes the peak by itself; see `clear_refs` and `VmHWM` in https://docs.kernel.org/filesystems/proc.html
    """
    Path(f"/proc/{pid}/clear_refs").write_text("5")
    before = psutil.Process(pid).memory_info().rss
    failed: list[BaseException] = []

    def run(act: Callable[[], object]) -> None:
        try:
            act()
        except BaseException as error:
            failed.append(error)

    threads = [threading.Thread(target=run, args=(act,)) for act in acts]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failed == [], failed[:3]
    status = Path(f"/proc/{pid}/status").read_text()
    peak = next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM:"))
    return (peak - before) / 1e6
