"""A certificate on a share that does not answer does not stop the event loop."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from gateway.api import certificate_watch
from gateway.api.certificate_watch import CertificateWatch
from harness.waiting import PATIENCE


async def test_files_are_looked_at_in_a_thread_and_one_look_at_a_time(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    begun, answer = threading.Event(), threading.Event()
    looks: list[int] = []

    def look(file: Path) -> object:
        looks.append(threading.get_ident())
        begun.set()
        answer.wait(PATIENCE)
        return None

    monkeypatch.setattr(certificate_watch, "_describe_file", look)
    monkeypatch.setattr(certificate_watch, "CERTIFICATE_POLL_SECONDS", 0.001)
    watch = object.__new__(CertificateWatch)
    watch._files = Path("cert.pem"), Path("key.pem")
    watch._seen, watch._refusal = (None, None), ""
    watching = asyncio.create_task(watch.watch_files())
    try:
        assert await asyncio.to_thread(begun.wait, PATIENCE)
        await asyncio.sleep(0.02)
        assert len(looks) == 1
        assert threading.get_ident() not in looks
    finally:
        answer.set()
        watching.cancel()
