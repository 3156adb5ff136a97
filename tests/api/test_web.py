"""The files of the dashboard."""

from __future__ import annotations

import re

import pytest

from gateway.api import web_files
from tests.support.inprocess import Serving


async def test_the_first_page_and_all_that_it_names_need_no_token(moongate: Serving) -> None:
    stranger = {"Authorization": "Bearer wrong"}
    page = await (await moongate.client.get("/", headers=stranger)).text()
    named = re.findall(r'(?:href|src)="(/ui/[^"]+)"', page)
    assert len(named) > 10
    for address in named:
        answer = await moongate.client.get(address, headers=stranger)
        assert answer.status == 200, address
        assert answer.headers["Cache-Control"] == "public, max-age=31536000, immutable"


async def test_a_page_may_load_nothing_from_elsewhere_and_no_string_becomes_markup(moongate: Serving) -> None:
    headers = (await moongate.client.get("/")).headers
    policy = headers["Content-Security-Policy"]
    assert policy.startswith("default-src 'none'; script-src 'self'; style-src 'self';")
    assert "unsafe" not in policy
    assert "require-trusted-types-for 'script'" in policy
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert headers["Referrer-Policy"] == "no-referrer"


async def test_a_browser_that_has_the_first_page_gets_it_only_after_a_change(moongate: Serving) -> None:
    first = await moongate.client.get("/")
    assert first.headers["Cache-Control"] == "no-cache"
    again = await moongate.client.get("/", headers={"If-None-Match": first.headers["ETag"]})
    assert (again.status, await again.read()) == (304, b"")
    other = await moongate.client.get("/", headers={"If-None-Match": '"other"'})
    assert other.status == 200


@pytest.mark.parametrize("path", ["main.js", "core/html.js", "../config.py", "index.html", "core", ".%2e/config.py"])
async def test_files_of_another_version_or_outside_are_not_there(moongate: Serving, path: str) -> None:
    assert (await moongate.client.get(f"/ui/0123456789abcdef/{path}")).status == 404
    version = web_files.load_web_files().version
    inside = path in ("main.js", "core/html.js")
    assert ((await moongate.client.get(f"/ui/{version}/{path}")).status == 200) is inside


async def test_a_client_that_does_not_unpack_gets_the_plain_text(moongate: Serving) -> None:
    address = f"/ui/{web_files.load_web_files().version}/main.js"
    plain = await moongate.client.get(address, headers={"Accept-Encoding": "identity"})
    assert "Content-Encoding" not in plain.headers
    packed = await moongate.client.get(address)
    assert await packed.read() == await plain.read() == (web_files.WEB_DIRECTORY / "main.js").read_bytes()


def test_the_first_page_is_small_enough() -> None:
    files = web_files.load_web_files().files
    eager = [name for name in files if name.partition("/")[0] in ("core", "parts", "strings") or "/" not in name]
    styles = ["style/base.css", "style/parts.css"]
    assert sum(len(files[name].compressed) for name in {*eager, *styles}) < 150_000
