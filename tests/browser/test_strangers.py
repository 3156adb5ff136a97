"""What pages of others, files of others and texts of others do in the browser of someone who is signed in: nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from aiohttp import web
from playwright.async_api import Browser, expect

from harness.pictures import make_png
from tests.api.client import ask, submit
from tests.support.browser import Dashboard
from tests.support.inprocess import Serving, serving

#: an override of the direction: what follows is shown from right to left
OVERRIDE = "\N{RIGHT-TO-LEFT OVERRIDE}"

#: tries to read and to change things of another gateway; a page of another port gets the cookies of this host, too
TRY_EVERYTHING = """async ([url, picture]) => {
    const results = {};
    const attempt = async (name, act) => { results[name] = await act().catch((error) => error.name); };
    const ask = (path, more) => fetch(url + path, { credentials: 'include', ...more });
    const blind = { method: 'POST', mode: 'no-cors', body: '{"input": "evil"}' };
    const headers = { 'X-Moongate-Dashboard': '1', 'Content-Type': 'application/json' };
    const opens = (one) => new Promise((resolve, reject) => {
        one.onopen = one.onload = () => resolve('open');
        one.onerror = () => { one.close?.(); reject(new TypeError()); };
    });
    await attempt('read', async () => (await ask('/api/tasks')).status);
    await attempt('write', async () => (await ask('/api/tasks', { ...blind, headers, mode: 'cors' })).status);
    await attempt('write blindly', async () => (await ask('/api/tasks', blind)).type);
    await attempt('sign out blindly', async () => (await ask('/api/dashboard/sign-out', blind)).type);
    await attempt('socket', () => opens(new WebSocket(`${url.replace('http', 'ws')}/api/ws`)));
    await attempt('stream', () => opens(new EventSource(`${url}/api/events`, { withCredentials: true })));
    await attempt('picture', () => opens(Object.assign(new Image(), { src: `${url}/api/files/${picture}` })));
    return results;
}"""

#: frames some addresses, and waits until each has come, or what Chromium shows in its place
FRAME = """async (urls) => {
    await Promise.all(urls.map((src) => new Promise((onload) =>
        document.body.append(Object.assign(document.createElement('iframe'), { src, onload })))));
}"""


@asynccontextmanager
async def other_site() -> AsyncIterator[str]:
    """Serve an empty page on another port of this host, and return its address."""

    async def show(_: web.Request) -> web.Response:
        return web.Response(text="<!doctype html><title>x</title><body>", content_type="text/html")

    app = web.Application()
    app.router.add_get("/", show)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}/"
    finally:
        await runner.cleanup()


async def test_a_page_of_another_port_reads_and_changes_nothing(
    moongate: Serving, chromium: Browser, dashboard: Dashboard
) -> None:
    picture = await upload_picture(moongate)
    context = await chromium.new_context()  # its console is full of refusals
    try:
        await dashboard.sign_in(context, moongate)
        async with other_site() as address:
            page = await context.new_page()
            await page.goto(address)
            results = await page.evaluate(TRY_EVERYTHING, [moongate.url, picture])
            await page.evaluate(FRAME, [f"{moongate.url}/", f"{moongate.url}/api/tasks"])
            await expect(page.locator("iframe")).to_have_count(2)
            framed = [frame.url for frame in page.frames if frame.url.startswith(moongate.url)]
        mine = await context.new_page()
        await mine.goto(f"{moongate.url}/api/me")
        me = json.loads(await mine.inner_text("body"))
    finally:
        await context.close()

    # An opaque answer may be anything; what follows shows that it was a refusal.
    assert {results.pop("write blindly"), results.pop("sign out blindly")} == {"opaque"}
    assert set(results.values()) == {"TypeError"}, results
    assert framed == []
    assert me["signed_in"] == "cookie"
    assert (await ask(moongate, "GET", "/api/tasks")).body["tasks"] == []


@pytest.mark.parametrize(
    ("name", "declared", "content"),
    [
        (
            "x.svg",
            "image/svg+xml",
            "<svg xmlns='http://www.w3.org/2000/svg'><script>document.title='broken'</script></svg>",
        ),
        ("x.html", "text/html", "<script>document.title='broken'</script>"),
        ("x.xhtml", "application/xhtml+xml", "<html xmlns='http://www.w3.org/1999/xhtml'><script>1</script></html>"),
        ("x.png", "image/png", "<script>document.title='broken'</script>"),
        ("x.pdf", "application/pdf", "%PDF-1.4"),
    ],
)
async def test_a_file_that_could_carry_a_script_is_saved_and_never_opened(
    moongate: Serving, dashboard: Dashboard, name: str, declared: str, content: str
) -> None:
    sent = {"Authorization": f"Bearer {moongate.token}", "Content-Type": declared}
    async with moongate.client.post(f"/api/files?name={name}", data=content.encode(), headers=sent) as answer:
        file = (await answer.json())["file"]
    page = await dashboard(moongate)

    async with page.expect_download() as saved:
        await page.evaluate("(id) => { location.href = `/api/files/${id}`; }", file["id"])

    assert (await saved.value).suggested_filename
    assert await page.title() != "broken"


async def test_a_file_is_not_kept_for_who_signs_out(moongate: Serving, chromium: Browser, dashboard: Dashboard) -> None:
    file = await upload_picture(moongate)
    look = "async (id) => (await fetch(`/api/files/${id}`)).status"
    leave = "fetch('/api/dashboard/sign-out', { method: 'POST', headers: { 'X-Moongate-Dashboard': '1' } })"
    context = await chromium.new_context()  # the page is refused what it asks for afterwards
    try:
        await dashboard.sign_in(context, moongate)
        page = await context.new_page()
        await page.goto(moongate.url)
        before = await page.evaluate(look, file)
        await page.evaluate(leave)
        after = await page.evaluate(look, file)
    finally:
        await context.close()

    assert (before, after) == (200, 401)


async def upload_picture(moongate: Serving) -> str:
    sent = {"Authorization": f"Bearer {moongate.token}", "Content-Type": "image/png"}
    async with moongate.client.post("/api/files?name=x.png", data=make_png("x"), headers=sent) as answer:
        return str((await answer.json())["file"]["id"])


async def test_what_an_agent_asks_is_shown_in_the_order_in_which_it_is_written(
    tmp_path: Path, dashboard: Dashboard
) -> None:
    agents = {"list": [{"id": "main", "backend": "echo", "script": True, "permissions": "ask"}]}
    async with serving(tmp_path / "home", {"agents": agents}) as served:
        task = await submit(served, f"@@ ask remove {OVERRIDE}sgol dlo")
        page = await dashboard(served)

        await expect(page.locator(".permission-what")).to_have_text("remove \N{REPLACEMENT CHARACTER}sgol dlo")
        await page.goto(f"{served.url}/#/runs/{task['id']}")
        await expect(page.locator(".permission-what")).to_have_text("remove \N{REPLACEMENT CHARACTER}sgol dlo")
        assert OVERRIDE not in await page.locator("#content").inner_text()
        await dashboard.close()


@pytest.mark.parametrize("place", ["runs", "deliveries"])
async def test_an_address_of_a_page_leads_requests_to_no_other_path(
    moongate: Serving, dashboard: Dashboard, place: str
) -> None:
    """Else a link could show an agent's file as a run, whose markup is trusted and whose buttons do anything."""
    page = await dashboard(moongate)
    asked: list[str] = []
    page.on("request", lambda request: asked.append(request.url.removeprefix(moongate.url)))

    for made_up in ("..%2Fme", "%252e%252e%2Fme%3F", "..%5Cme%23"):
        await page.goto("about:blank")
        await page.goto(f"{moongate.url}/#/{place}/{made_up}")
        await expect(page.get_by_role("heading", level=1)).not_to_be_empty()  # by then it has asked

    assert asked.count("/api/me") == 3  # a page that is opened asks who is signed in
    assert [path for path in asked if path.startswith("/api/me") and path != "/api/me"] == []
