"""The gateway behind nginx and Caddy, with the examples of the page about remote access, word for word."""

from __future__ import annotations

import asyncio
import http.client
import json
import re
import shutil
import socket
import ssl
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from harness.command_line import Shell
from harness.live_gateway import Live, call
from harness.waiting import until_sync
from tests.support import ports
from tests.support.certificates import Authority, Pair

PAGE = Path(__file__).parents[2] / "docs" / "operations" / "remote-access.md"
#: seconds that the agent is silent, where the page allows an hour
SILENCE_SECONDS = 2.5


def read_example(language: str, containing: str = "") -> str:
    """Return an example of the page."""
    found = [
        text for text in re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.DOTALL) if containing in text
    ]
    assert len(found) == 1
    return str(found[0])


def replace_once(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, old
    return text.replace(old, new)


def write_nginx(directory: Path, pair: Pair, gateway: int, port: int, example: str) -> list[str]:
    """Write a whole configuration around the example; return the command."""
    example = replace_once(example, "listen 443 ssl", f"listen 127.0.0.1:{port} ssl")
    example = replace_once(example, "/etc/letsencrypt/live/gate.example/fullchain.pem", str(pair.certificate))
    example = replace_once(example, "/etc/letsencrypt/live/gate.example/privkey.pem", str(pair.key))
    example = replace_once(example, "127.0.0.1:18790", f"127.0.0.1:{gateway}")
    kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    places = "".join(f"{kind}_temp_path {directory}/{kind};\n" for kind in kinds)
    file = directory / "nginx.conf"
    file.write_text(
        f"daemon off; pid {directory}/pid; error_log {directory}/error.log; worker_processes 1;\n"
        + f"events {{}}\nhttp {{ access_log off;\n{places}{example}}}\n"
    )
    return ["nginx", "-p", str(directory), "-c", str(file), "-e", str(directory / "error.log")]


def write_caddy(directory: Path, pair: Pair, gateway: int, port: int, example: str) -> list[str]:
    served = f"https://gate.example:{port} {{\n    bind 127.0.0.1\n    tls {pair.certificate} {pair.key}\n"
    example = replace_once(example, "gate.example {\n", served)
    example = replace_once(example, "127.0.0.1:18790", f"127.0.0.1:{gateway}")
    file = directory / "Caddyfile"
    file.write_text(f"{{\n    admin off\n    auto_https disable_redirects\n    skip_install_trust\n}}\n{example}")
    return ["caddy", "run", "--config", str(file), "--adapter", "caddyfile"]


WRITERS: dict[str, tuple[str, Callable[..., list[str]]]] = {
    "nginx": ("nginx", write_nginx),
    "caddy": ("caddyfile", write_caddy),
}


class Site:
    """A gateway, and a proxy in front of it that is reached as gate.example."""

    def __init__(self, live: Live, port: int, authority: Authority) -> None:
        self.live = live
        self.authority = authority
        self.url = f"https://gate.example:{port}"

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> Any:
        return call(self.url, method, path, body, token=self.live.token, **options)


@pytest.fixture(scope="module", autouse=True)
def _resolve() -> Iterator[None]:
    """Let gate.example be this machine, for the calls of the tests."""
    resolve = socket.getaddrinfo

    def find(host: Any, *words: Any, **options: Any) -> Any:
        return resolve("127.0.0.1" if host == "gate.example" else host, *words, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket, "getaddrinfo", find)
        yield


@pytest.fixture(scope="module", params=list(WRITERS))
def site(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    name = request.param
    if shutil.which(name) is None:
        pytest.skip(f"{name} is not installed")
    language, write = WRITERS[name]
    with start_site(tmp_path_factory.mktemp(name), name, write, read_example(language)) as made:
        yield made


class start_site:  # noqa: N801 a context manager
    """Starts a gateway with the page's settings, and a proxy with an example."""

    def __init__(self, directory: Path, name: str, write: Callable[..., list[str]], example: str) -> None:
        self._directory, self._name, self._write, self._example = directory, name, write, example

    def __enter__(self) -> Site:
        authority, port = Authority(self._directory / "authority"), ports.free()
        pair = authority.sign("gate", "DNS:gate.example")
        self._patch = pytest.MonkeyPatch()
        self._patch.setenv("SSL_CERT_FILE", str(authority.file))
        settings = json.loads(read_example("json", "trusted_proxies"))
        settings["gateway"]["public_url"] = f"https://gate.example:{port}"
        self._live = Live(self._directory / "home", settings)
        self._live.home.chmod(0o700)
        self._live.start()
        inside = self._directory / "proxy"
        inside.mkdir()
        inside.chmod(0o755)
        command = self._write(inside, pair, self._live.port, port, self._example)
        own = {"HOME": str(inside), "XDG_DATA_HOME": str(inside), "XDG_CONFIG_HOME": str(inside)}
        with (inside / "output").open("wb") as out:
            self._proxy = subprocess.Popen(command, env={**self._live.env, **own}, stdout=out, stderr=out)
        site = Site(self._live, port, authority)
        until_sync(lambda: self._is_ready(site), f"{self._name} answers: {(inside / 'output').read_text()}")
        return site

    def _is_ready(self, site: Site) -> bool:
        assert self._proxy.poll() is None
        try:
            return bool(site.call("GET", "/readyz").status == 200)
        except OSError:
            return False

    def __exit__(self, *_: object) -> None:
        self._proxy.terminate()
        self._proxy.wait(60)
        self._live.close()
        self._patch.undo()


def test_a_task_is_answered_through_it(site: Site) -> None:
    told = site.call("POST", "/api/agent", {"message": "Hello"})

    assert told.body["reply"] == "echo: Hello"


def test_an_answer_appears_while_it_is_written(site: Site) -> None:
    prompt = f"@@ words 5 {SILENCE_SECONDS / 2}"
    connection = http.client.HTTPSConnection("gate.example", int(site.url.rpartition(":")[2]), timeout=60)
    headers = {"Authorization": f"Bearer {site.live.token}", "Content-Type": "application/json"}
    connection.request(
        "POST", "/api/agent", json.dumps({"message": prompt}), {**headers, "Accept": "text/event-stream"}
    )
    response = connection.getresponse()
    seen: list[float] = []
    while line := response.readline():
        if line.startswith(b"event: text"):
            seen.append(time.monotonic())
    connection.close()

    assert len(seen) >= 5
    assert seen[-1] - seen[0] > SILENCE_SECONDS / 2  # they did not come all at once


def test_a_run_that_is_silent_for_long_is_answered(site: Site) -> None:
    told = site.call("POST", "/api/agent", {"message": f"@@ sleep {SILENCE_SECONDS}\n@@ say done"})

    assert told.status == 200
    assert told.body["reply"] == "done"


def test_a_large_file_goes_through(site: Site) -> None:
    content = bytes(25_000_000)

    made = upload(site, content)["file"]
    path = f"/api/files/{made['id']}"

    assert made["size"] == len(content)
    assert len(site.call("GET", path).body) == len(content)


def upload(site: Site, content: bytes) -> Any:
    request = urllib.request.Request(
        f"{site.url}/api/files?name=large.bin",
        data=content,
        headers={"Authorization": f"Bearer {site.live.token}", "Content-Type": "application/octet-stream"},
    )
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.loads(response.read())


async def test_a_websocket_goes_through(site: Site) -> None:
    ticket = site.call("POST", "/api/tickets").body["ticket"]
    context = ssl.create_default_context(cafile=str(site.authority.file))

    async with (
        aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context, resolver=Loopback())) as session,
        session.ws_connect(f"{site.url}/api/ws?ticket={ticket}", headers={"Origin": site.url}) as socket_,
    ):
        assert not socket_.closed
        await asyncio.to_thread(site.call, "POST", "/api/agent", {"message": "Hello"})
        message = await socket_.receive(timeout=60)
        assert message.type is aiohttp.WSMsgType.TEXT


class Loopback(aiohttp.abc.AbstractResolver):
    """Resolves every name to this machine."""

    async def resolve(self, host: str, port: int = 0, family: Any = socket.AF_INET) -> list[Any]:
        return [{"hostname": host, "host": "127.0.0.1", "port": port, "family": socket.AF_INET, "proto": 0, "flags": 0}]

    async def close(self) -> None: ...


def test_a_browser_signs_in_with_a_cookie_for_https_only(site: Site, tmp_path: Path) -> None:
    address = Shell(site.live.env, tmp_path)("dashboard", "--print").out.strip()
    code = address.partition("#code=")[2]
    headers = {"X-Moongate-Dashboard": "1", "Origin": site.url, "Sec-Fetch-Site": "same-origin"}

    signed = call(site.url, "POST", "/api/dashboard/sign-in", {"code": code}, token=None, headers=headers)
    cookie = signed.headers["Set-Cookie"]
    asked = call(site.url, "GET", "/api/me", token=None, headers={**headers, "Cookie": cookie.partition(";")[0]})

    assert address.startswith(f"{site.url}/#code=")
    assert "; Secure" in cookie
    assert asked.body["signed_in"] == "cookie"


def test_a_page_of_another_site_is_refused(site: Site) -> None:
    assert site.call("GET", "/api/me", headers={"Origin": "https://evil.example"}).status == 403


def test_without_the_long_timeout_of_the_page_nginx_would_give_up(tmp_path: Path) -> None:
    if shutil.which("nginx") is None:
        pytest.skip("nginx is not installed")
    example = replace_once(read_example("nginx"), "proxy_read_timeout 1h;", "proxy_read_timeout 1s;")

    with start_site(tmp_path, "nginx", write_nginx, example) as site:
        told = site.call("POST", "/api/agent", {"message": f"@@ sleep {SILENCE_SECONDS}\n@@ say done"})

    assert told.status == 504
