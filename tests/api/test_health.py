"""`/health`, `/livez`, `/readyz`, `/metrics`."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

import gateway
from gateway.api import backup_health, readiness
from gateway.backup.status import BackupFailure, BackupStatus
from gateway.errors import GatewayError, StorageFull, Unavailable
from harness.waiting import PATIENCE
from tests.api.client import Answer, ask, done, head, raw, read, submit, token
from tests.support.inprocess import TOKEN, Serving, serving


async def test_health_is_in_the_shape_of_the_seed(moongate: Serving) -> None:
    answer = await ask(moongate, "GET", "/health")

    assert (answer.status, answer.body["status"]) == (200, "healthy")
    assert answer.body["uptime"] in range(int(PATIENCE))
    assert (answer.body["version"], answer.body["instance"]) == (gateway.__version__, "test-instance")
    assert answer.body["checks"] == {"store": "ok"}


# --- who is told what -------------------------------------------------------------------------

#: what everyone is told, and what callers on the gateway's own machine are told in addition
FOR_THE_WORLD = {"status", "uptime", "version"}
FOR_THIS_MACHINE = FOR_THE_WORLD | {"ok", "packs", "model", "tasks", "instance", "generation", "agent"}
FOR_HOLDERS = FOR_THIS_MACHINE | {"checks"}


async def told(served: Serving, bearer: str | None, *lines: str, host: str = "localhost") -> set[str]:
    """Return the names of what `GET /health` tells."""
    answer = read(await raw(served, head("GET /health", *lines, host=host, bearer=bearer)))
    assert answer.status == 200
    return set(answer.body)


@pytest.mark.parametrize("bearer", [None, "", "wrong"])
async def test_a_caller_on_this_machine_needs_no_token_for_what_the_seeds_read(
    moongate: Serving, bearer: str | None
) -> None:
    assert await told(moongate, bearer) == FOR_THIS_MACHINE


async def test_checks_are_told_to_who_has_a_token(moongate: Serving) -> None:
    reader = await token(moongate, "monitor", "read")

    assert await told(moongate, TOKEN) == await told(moongate, reader) == FOR_HOLDERS


@pytest.mark.parametrize(
    "line",
    [
        "X-Forwarded-For: 192.0.2.7",
        "X-Forwarded-For: 127.0.0.1",
        "Forwarded: for=127.0.0.1",
        "Via: 1.1 proxy",
        "X-Real-IP: 127.0.0.1",
        "X-Forwarded-Proto: https",
    ],
)
async def test_what_a_proxy_on_this_machine_passes_on_is_from_elsewhere(moongate: Serving, line: str) -> None:
    assert await told(moongate, None, line) == await told(moongate, "wrong", line) == FOR_THE_WORLD
    assert await told(moongate, TOKEN, line) == FOR_HOLDERS


async def test_behind_a_trusted_proxy_the_client_s_address_decides(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", {"gateway": {"trusted_proxies": ["127.0.0.1"]}}) as served:
        assert await told(served, None, "X-Forwarded-For: 192.0.2.7") == FOR_THE_WORLD
        assert await told(served, None, "X-Forwarded-For: 127.0.0.1, 192.0.2.7") == FOR_THE_WORLD
        assert await told(served, None, "X-Forwarded-For: 127.0.0.1") == FOR_THIS_MACHINE
        assert await told(served, None, "Forwarded: for=192.0.2.7") == FOR_THE_WORLD
        assert await told(served, None) == FOR_THIS_MACHINE  # a command on this machine


async def test_a_gateway_that_listens_everywhere_knows_its_own_machine(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", {"gateway": {"host": "::"}}) as served:  # IPv4 callers are ::ffff:127.0.0.1
        assert await told(served, None) == FOR_THIS_MACHINE


async def test_an_address_of_this_machine_is_no_foreign_one(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        try:
            probe.connect(("192.0.2.1", 9))  # sends nothing: the system chooses the address that it would send from
        except OSError:
            pytest.skip("this machine has only loopback")
        own = probe.getsockname()[0]
    async with serving(tmp_path / "home", {"gateway": {"host": own}}) as served:
        reader, writer = await asyncio.open_connection(own, served.port)
        writer.write(head("GET /health", bearer=None))
        answer = read(await reader.read())
        writer.close()

    assert set(answer.body) == FOR_THIS_MACHINE


async def test_a_caller_from_elsewhere_is_told_that_it_is_not_ready_but_not_why(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def check() -> None:
        raise StorageFull

    monkeypatch.setattr(moongate.engine, "check_writable", check)
    answer = read(await raw(moongate, head("GET /readyz", "X-Forwarded-For: 192.0.2.7", bearer=None)))

    assert (answer.status, answer.message) == (503, "The gateway cannot do this now.")


async def test_with_mode_none_health_tells_all(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", {"gateway": {"auth": {"mode": "none"}}}) as served:
        assert await told(served, None) == FOR_HOLDERS


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz", "/api/tasks", "/metrics", "/openapi.json"])
async def test_head_is_get_without_the_body(moongate: Serving, path: str) -> None:
    got, headed = await ask(moongate, "GET", path), await ask(moongate, "HEAD", path)

    assert (headed.status, headed.body) == (200, "")
    assert headed.headers["Content-Type"] == got.headers["Content-Type"]


@pytest.mark.parametrize(
    ("trouble", "said"),
    [
        (StorageFull("the disk of /secret/place is full"), "the disk is full."),
        (Unavailable("the database /secret/place cannot be used"), "the database cannot be written; the log says why."),
    ],
)
async def test_a_disk_that_refuses_is_told_to_everyone_without_its_paths(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch, trouble: GatewayError, said: str
) -> None:
    async def check() -> None:
        raise trouble

    monkeypatch.setattr(moongate.engine, "check_writable", check)
    health, ready, alive = [await ask(moongate, "GET", path) for path in ("/health", "/readyz", "/livez")]

    assert (health.status, health.body["status"], health.body["checks"]) == (200, "degraded", {"store": said})
    assert (ready.status, ready.code, ready.message) == (503, "UNAVAILABLE", said)
    assert int(ready.headers["Retry-After"]) >= 1
    assert alive.status == 200


async def test_a_disk_that_hangs_does_not_hang_the_probe(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(moongate.engine, "check_writable", asyncio.Event().wait)
    monkeypatch.setattr(readiness, "STORAGE_CHECK_TIMEOUT_SECONDS", 0.05)

    assert (await ask(moongate, "GET", "/readyz")).code == "UNAVAILABLE"


async def test_a_hundred_probes_ask_the_disk_once(moongate: Serving, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readiness, "STORAGE_ANSWER_LIFETIME_SECONDS", PATIENCE)
    asked: list[Any] = []

    async def check() -> None:
        asked.append(None)
        await asyncio.sleep(0)

    monkeypatch.setattr(moongate.engine, "check_writable", check)
    answers: list[Answer] = await asyncio.gather(*(ask(moongate, "GET", "/readyz") for _ in range(100)))

    assert {answer.status for answer in answers} == {200}
    assert len(asked) == 1


async def test_a_hundred_strangers_cost_one_look_at_the_last_backups(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(backup_health, "BACKUP_ANSWER_LIFETIME_SECONDS", PATIENCE)
    reads: list[Path] = []

    def read_status(home: Path) -> BackupStatus:
        reads.append(home)
        return BackupStatus(last_failure=BackupFailure(1, "no room"))

    monkeypatch.setattr(backup_health, "read_backup_status", read_status)
    answers = await asyncio.gather(*(told(moongate, None) for _ in range(100)))
    assert (answers, len(reads)) == ([FOR_THIS_MACHINE] * 100, 1)

    assert (await ask(moongate, "GET", "/health")).body["backup"]["error"] == "no room"
    assert len(reads) == 2, "who has a token is told what is so now"


async def test_a_gateway_that_closes_is_not_ready_but_lives(moongate: Serving) -> None:
    moongate.context.closing.set()
    ready, alive = await ask(moongate, "GET", "/readyz"), await ask(moongate, "GET", "/livez")

    assert (ready.status, alive.status) == (503, 200)
    assert ready.headers["Connection"] == alive.headers["Connection"] == "close"


async def test_metrics_count_what_ran(moongate: Serving) -> None:
    for message in ("hi", "hi", "@@ fail"):
        await done(moongate, (await submit(moongate, message))["id"])
    answer = await ask(moongate, "GET", "/metrics")

    assert answer.headers["Content-Type"].startswith("text/plain")
    for line in (
        'moongate_runs_ended_total{status="succeeded"} 2.0',
        'moongate_runs_ended_total{status="failed"} 1.0',
        'moongate_runs{status="queued"} 0.0',
        'moongate_agent_runs{agent="main"} 0.0',
        "moongate_sessions 3.0",
        "moongate_files_bytes 0.0",
    ):
        assert line in answer.body.splitlines()
