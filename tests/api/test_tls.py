"""HTTPS by the gateway itself: certificates that are renewed, and clients that are slow or no clients."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import socket
import ssl
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from gateway.errors import ConfigError
from gateway.security.key_pair import lacks_name, load_key_pair
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import until_sync
from tests.support.certificates import Authority, LiveTls, Pair


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(autouse=True)
def _trust(authority: Authority, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(authority.file))


@pytest.fixture
def pair(authority: Authority, tmp_path: Path) -> Pair:
    """A copy of a certificate, which the test may replace."""
    mine = Pair(tmp_path / "cert.pem", tmp_path / "key.pem")
    signed = authority.sign("first")
    signed.copy_to(mine)
    return mine


@pytest.fixture
def secure(tmp_path: Path, pair: Pair) -> Iterator[LiveTls]:
    limits = {"header_seconds": 10, "stall_seconds": 2, "connections": 20}
    live = LiveTls(tmp_path / "home", pair, {"limits": limits})
    live.home.chmod(0o700)
    live.start()
    yield live
    live.close()


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[LiveTls]:
    """A gateway for the tests that change nothing about it."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(authority.file))
        live = LiveTls(tmp_path_factory.mktemp("shared"), authority.sign("shared"), {"limits": {"stall_seconds": 2}})
        live.home.chmod(0o700)
        live.start()
        yield live
        live.close()


def trusting(authority: Authority) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=str(authority.file))


def open_connection(live: LiveTls, authority: Authority) -> ssl.SSLSocket:
    return trusting(authority).wrap_socket(
        socket.create_connection(("127.0.0.1", live.port), timeout=60), server_hostname="localhost"
    )


def read_serial(live: LiveTls, authority: Authority) -> str:
    with open_connection(live, authority) as connection:
        found = connection.getpeercert()
        assert found is not None
        return str(found["serialNumber"])


def test_the_commands_of_this_machine_talk_tls_with_their_gateway(shared: LiveTls, tmp_path: Path) -> None:
    shell = Shell(shared.env, tmp_path)

    told = shell("status", "--json").json

    assert told["url"] == shared.url
    assert told["work"] is not None
    assert shell("agent", "Hello").out == "echo: Hello\n"
    assert shell("dashboard", "--print").out.startswith(f"{shared.url}/#code=")
    assert "https://127.0.0.1" in shared.output.read_text()


def test_a_browser_gets_a_cookie_for_https_only(shared: LiveTls) -> None:
    code = shared.call("POST", "/api/dashboard/codes").body["code"]
    headers = {"X-Moongate-Dashboard": "1", "Origin": shared.url, "Sec-Fetch-Site": "same-origin"}

    signed = shared.call("POST", "/api/dashboard/sign-in", {"code": code}, headers=headers)

    assert signed.status == 200
    assert "; Secure" in signed.headers["Set-Cookie"]


async def test_a_websocket_is_served(shared: LiveTls, authority: Authority) -> None:
    ticket = shared.call("POST", "/api/tickets").body["ticket"]
    connector = aiohttp.TCPConnector(ssl=trusting(authority))

    async with (
        aiohttp.ClientSession(connector=connector) as session,
        session.ws_connect(f"{shared.url}/api/ws?ticket={ticket}") as opened,
    ):
        await asyncio.to_thread(shared.call, "POST", "/api/agent", {"message": "Hello"})
        message = await opened.receive(timeout=60)

    assert message.type is aiohttp.WSMsgType.TEXT


def test_nothing_older_than_tls_1_2_is_spoken(shared: LiveTls, authority: Authority) -> None:
    old = trusting(authority)
    with warnings.catch_warnings(action="ignore", category=DeprecationWarning):
        old.minimum_version, old.maximum_version = ssl.TLSVersion.MINIMUM_SUPPORTED, ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")

    with (
        pytest.raises(ssl.SSLError),
        socket.create_connection(("127.0.0.1", shared.port), timeout=60) as plain,
        old.wrap_socket(plain, server_hostname="localhost"),
    ):
        pass


def test_a_renewed_certificate_is_served_while_open_connections_go_on(
    secure: LiveTls, authority: Authority, pair: Pair, tmp_path: Path
) -> None:
    before = read_serial(secure, authority)
    kept = http.client.HTTPSConnection("localhost", secure.port, timeout=60, context=trusting(authority))
    kept.request("GET", "/livez")
    kept.getresponse().read()

    authority.sign("second").copy_to(pair)
    until_sync(lambda: read_serial(secure, authority) != before, "the new certificate is served")

    kept.request("GET", "/livez")  # on the connection of the old certificate
    assert kept.getresponse().read() == b'{"status":"ok"}'
    kept.close()
    assert Shell(secure.env, tmp_path)("agent", "Hello").out == "echo: Hello\n"
    assert secure.logged("tls.renewed")


def test_a_bad_new_pair_is_kept_out_and_told_until_it_is_good(
    secure: LiveTls, authority: Authority, pair: Pair
) -> None:
    before = read_serial(secure, authority)

    pair.key.write_bytes(authority.sign("other").key.read_bytes())
    until_sync(lambda: secure.health["status"] == "degraded", "it is told")
    assert "tls" in secure.health["checks"]
    assert "is not the one of the certificate" in secure.health["checks"]["tls"]
    assert read_serial(secure, authority) == before
    assert secure.wait_logged("tls.refused")

    authority.sign("third").copy_to(pair)
    until_sync(lambda: secure.health["status"] == "healthy", "it is good again")
    assert read_serial(secure, authority) != before


def test_a_restart_and_a_kill_keep_the_commands_working(secure: LiveTls, tmp_path: Path) -> None:
    shell = Shell(secure.env, tmp_path)

    assert shell("restart").code == 0
    secure.kill()
    assert shell("status").code == 3
    secure.start()

    assert shell("agent", "Hello").out == "echo: Hello\n"


def test_a_gateway_that_goes_back_to_plain_http_is_found(secure: LiveTls, tmp_path: Path) -> None:
    shell = Shell(secure.env, tmp_path)
    config = json.loads(secure.config.read_text())
    secure.stop()
    del config["gateway"]["tls"]
    secure.config.write_text(json.dumps(config))

    assert shell("start").code == 0
    assert shell("status", "--json").json["url"].startswith("http://")
    assert shell("agent", "Hello").out == "echo: Hello\n"


def test_https_goes_on_and_off_with_a_restart(pair: Pair, tmp_path: Path) -> None:
    live = Live(tmp_path / "home")
    live.home.chmod(0o700)
    shell, config = Shell(live.env, tmp_path), json.loads(live.config.read_text())
    live.start()
    try:
        for tls in ({"cert": str(pair.certificate), "key": str(pair.key)}, {}):
            config["gateway"]["tls"] = tls
            live.config.write_text(json.dumps(config))
            assert shell("restart").code == 0
            assert shell("agent", "Hello").out == "echo: Hello\n"
            assert shell("status", "--json").json["url"].startswith("https:" if tls else "http:")
    finally:
        live.close()


def test_a_restart_that_fails_leaves_the_certificate_that_is_served(
    secure: LiveTls, pair: Pair, tmp_path: Path
) -> None:
    shell, config = Shell(secure.env, tmp_path), json.loads(secure.config.read_text())
    config["gateway"]["tls"] = {"cert": str(tmp_path / "missing.pem")}
    secure.config.write_text(json.dumps(config))

    refused = shell("restart")

    assert refused.code == 1
    assert "gateway.tls.cert: cannot read" in refused.err
    assert shell("agent", "Hello").out == "echo: Hello\n"


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (lambda pair: pair.key.chmod(0o644), "other users may read or change"),
        (lambda pair: pair.key.write_text("nothing"), "are not a certificate and its key"),
        (lambda pair: pair.key.unlink(), "gateway.tls.key: cannot read"),
        (lambda pair: pair.certificate.unlink(), "gateway.tls.cert: cannot read"),
    ],
)
def test_a_pair_that_cannot_be_used_is_refused_before_the_start(
    pair: Pair, tmp_path: Path, spoil: Any, said: str
) -> None:
    live = LiveTls(tmp_path / "home", pair)
    spoil(pair)

    checked = Shell(live.env, tmp_path)("config", "check")

    assert checked.code == 78
    assert said in checked.err


def test_silent_connections_count_and_end_with_the_deadline_of_a_header(secure: LiveTls) -> None:
    silent = [socket.create_connection(("127.0.0.1", secure.port), timeout=60) for _ in range(20)]
    try:
        with pytest.raises(OSError, match=r"reset|EOF|closed|violation"):
            secure.call("GET", "/livez")  # all places are taken
        assert silent[0].recv(1) == b""
    finally:
        for each in silent:
            each.close()
    until_sync(lambda: _is_answering(secure), "there is room again")


def _is_answering(live: LiveTls) -> bool:
    try:
        return live.call("GET", "/livez").status == 200
    except OSError:
        return False


def test_plain_http_on_the_port_gets_no_answer(shared: LiveTls) -> None:
    with socket.create_connection(("127.0.0.1", shared.port), timeout=60) as plain:
        plain.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert b"HTTP" not in plain.recv(1000)

    assert shared.call("GET", "/livez").status == 200


def test_a_large_file_goes_up_and_down_whole(shared: LiveTls, tmp_path: Path) -> None:
    shell, content = Shell(shared.env, tmp_path), os.urandom(25_000_000)
    (tmp_path / "large.bin").write_bytes(content)

    sent = shell("files", "add", "large.bin", "--json").json
    id_ = sent["files"][0]["id"]
    (tmp_path / "large.bin").unlink()
    assert shell("files", "get", id_, "--output", str(tmp_path / "back.bin")).code == 0

    assert (tmp_path / "back.bin").read_bytes() == content


def test_a_client_that_reads_nothing_is_dropped_and_a_slow_one_gets_all(
    shared: LiveTls, authority: Authority, tmp_path: Path
) -> None:
    (tmp_path / "large.bin").write_bytes(bytes(25_000_000))
    sent = Shell(shared.env, tmp_path)("files", "add", "large.bin", "--json").json
    id_ = sent["files"][0]["id"]
    request = (
        f"GET /api/files/{id_} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {shared.token}\r\n"
        "Connection: close\r\n\r\n"
    ).encode()

    with open_connection(shared, authority) as idle, open_connection(shared, authority) as slow:
        idle.sendall(request)
        slow.sendall(request)
        size = 0
        while piece := slow.recv(1 << 20):
            size += len(piece)
        until_sync(lambda: _count_connections(shared) <= 1, "the idle one is dropped")

    assert size > 25_000_000


def _count_connections(live: LiveTls) -> int:
    """Return how many connections the serving process has, apart from the listener."""
    import psutil

    found = psutil.Process(live.generation.pid).net_connections("tcp")
    return len([one for one in found if one.status == psutil.CONN_ESTABLISHED])


def test_a_certificate_alone_is_told_to_lack_its_key(pair: Pair) -> None:
    pair.certificate.chmod(0o644)

    with pytest.raises(ConfigError, match=r"gateway\.tls\.key is not set") as caught:
        load_key_pair(pair.certificate, pair.certificate)

    assert """gateway config set gateway.tls '{"cert": "FILE", "key": "FILE"}'""" in str(caught.value)


def test_a_name_that_the_certificate_lacks_is_found(authority: Authority) -> None:
    made = authority.sign("named", "DNS:gate.example,DNS:*.lan.example,IP:192.0.2.7")
    loaded = load_key_pair(made.certificate, made.key)

    assert not any(lacks_name(loaded, name) for name in ("gate.example", "a.lan.example", "192.0.2.7"))
    assert all(lacks_name(loaded, name) for name in ("example", "other.example", "a.b.lan.example", "192.0.2.8", "::1"))
