"""The dashboard in Chromium: its size, how soon it can be used, and whether it stays quick with 100,000 runs."""

from __future__ import annotations

import asyncio
import tempfile
import time
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import aiohttp
from playwright.async_api import Browser, BrowserContext, Page

from bench import servers
from bench.measure import Sample
from bench.report import Figure, Result, Row
from drills.much import fill_store, make_spec
from harness.chromium import find_chromium, open_chromium

#: milliseconds that a page may take
PAGE_PATIENCE = 60_000
#: changes a second, and seconds of them
CHANGES, SECONDS = 500, 5
#: changes that one run of an echo agent makes: queued, running, succeeded
_CHANGES_OF_RUN = 3

#: tells when the page can be used: it has its heading and what it loads, and is told of changes
_WATCH = """
globalThis.tasks = [];
const note = (list) => tasks.push(...list.getEntries().map(({ duration }) => duration));
new PerformanceObserver(note).observe({ type: 'longtask' });
globalThis.ready = new Promise((resolve) => {
 const look = () => {
  const isReady = document.querySelector('h1')?.textContent && document.querySelector('#content')?.firstElementChild
    && !document.querySelector('#content .loading') && document.querySelector('SELECTOR');
  if (isReady) resolve(performance.now());
  else requestAnimationFrame(look);
 };
 look();
});
"""

_LIST = """() => new Promise((resolve) => {
  const began = performance.now();
  const look = () => document.querySelector('.table .rows [role=row]') ? resolve(performance.now() - began)
    : requestAnimationFrame(look);
  document.querySelector('.menu a[href="#/runs"]').click();
  look();
})"""


def run(quick: bool) -> Result:
    program = find_chromium()
    if program is None:
        return Result(skipped="Chromium is not installed")
    runs, times = (500, 1) if quick else (100_000, 10)
    with tempfile.TemporaryDirectory() as place:
        home = Path(place)
        settings = {"agents": {"list": [{"id": name, "backend": "echo"} for name in ("main", "other")]}}
        specs = [make_spec(number, number % max(1, runs // 10)) for number in range(runs)]
        asyncio.run(fill_store(home / "data" / "moongate.db", specs))
        with servers.gateway(home, settings) as gateway:
            return asyncio.run(_measure(f"http://127.0.0.1:{gateway.port}", program, runs, times))


async def _measure(url: str, program: str, runs: int, times: int) -> Result:
    async with open_chromium(program) as browser, aiohttp.ClientSession(url, headers=_BEARER) as client:
        opened = [await _open(browser, client, url, "/", "#content h2") for _ in range(times)]
        listed = await _list(browser, client, url, times)
        scrolled = await _scroll(browser, client, url)
        busy, changes = await _change(browser, client, url, 1 if times == 1 else SECONDS)
    size = max(size for _, size in opened) / 1000
    return Result(
        figures=[
            Figure(name="dashboard: bytes of the first page", sample=Sample.exactly(size), unit="kB", reach=150.0),
            Figure(name="dashboard: ready", sample=Sample.of(ready for ready, _ in opened), unit="ms", reach=1000.0),
            Figure(
                name=f"dashboard: first row of {runs:,} runs",
                sample=Sample.of(listed),
                unit="ms",
                reach=300.0,
            ),
            Figure(name="dashboard: longest task, scrolling", sample=Sample.exactly(scrolled), unit="ms", reach=50.0),
            Figure(
                name=f"dashboard: longest task, {CHANGES} changes/s", sample=Sample.exactly(busy), unit="ms", reach=50.0
            ),
        ],
        notes=[f"{times} times each, with an empty cache. {changes:,.0f} changes a second came while it was watched."],
    )


_BEARER = {"Authorization": f"Bearer {servers.TOKEN}"}


async def _sign_in(browser: Browser, client: aiohttp.ClientSession, url: str, selector: str) -> BrowserContext:
    async with client.post("/api/dashboard/codes") as answer:
        code = (await answer.json())["code"]
    context = await browser.new_context(viewport={"width": 1440, "height": 900})
    context.set_default_timeout(PAGE_PATIENCE)
    own = {"X-Moongate-Dashboard": "1"}
    assert (await context.request.post(f"{url}/api/dashboard/sign-in", data={"code": code}, headers=own)).ok
    await context.add_init_script(_WATCH.replace("SELECTOR", selector))
    return context


async def _open(
    browser: Browser, client: aiohttp.ClientSession, url: str, path: str, selector: str
) -> tuple[float, int]:
    """Return the milliseconds until a page can be used, and the bytes of its files over the wire."""
    context = await _sign_in(browser, client, url, selector)
    page = await context.new_page()
    network = await context.new_cdp_session(page)
    files: dict[str, bool] = {}
    sizes: list[tuple[str, int]] = []

    def note_response(told: Any) -> None:
        files[told["requestId"]] = not urlsplit(told["response"]["url"]).path.startswith("/api/")

    network.on("Network.responseReceived", note_response)
    network.on("Network.loadingFinished", lambda told: sizes.append((told["requestId"], told["encodedDataLength"])))
    await network.send("Network.enable")
    ready = await _wait_ready(page, f"{url}/#{path}")
    await context.close()
    return ready, sum(size for request, size in sizes if files.get(request))


async def _list(browser: Browser, client: aiohttp.ClientSession, url: str, times: int) -> list[float]:
    """Return the milliseconds from a press on the menu to the first row of the list."""
    context = await _sign_in(browser, client, url, "#content h2")
    page = await context.new_page()
    await _wait_ready(page, f"{url}/#/")
    found = []
    for _ in range(times):
        found.append(float(await page.evaluate(_LIST)))
        await page.evaluate("location.hash = '#/agents'")
        await page.wait_for_selector(".table", state="detached")
    await context.close()
    return found


async def _wait_ready(page: Page, to: str) -> float:
    await page.goto(to)
    return float(await page.evaluate("ready"))


async def _scroll(browser: Browser, client: aiohttp.ClientSession, url: str) -> float:
    """Return the milliseconds of the longest task while the list is scrolled; 0 if none took 50."""
    context = await _sign_in(browser, client, url, ".table .rows [role=row]")
    page = await context.new_page()
    await _wait_ready(page, f"{url}/#/runs")
    await page.evaluate("tasks.length = 0")
    await page.mouse.move(700, 500)
    for _ in range(100):
        await page.mouse.wheel(0, 800)
        await page.evaluate("new Promise(requestAnimationFrame)")
    longest = float(await page.evaluate("Math.max(0, ...tasks)"))
    await context.close()
    return longest


async def _change(browser: Browser, client: aiohttp.ClientSession, url: str, seconds: int) -> tuple[float, float]:
    """Return the milliseconds of the longest task while runs come and end, and the changes a second that there were."""
    context = await _sign_in(browser, client, url, ".table .rows [role=row]")
    page = await context.new_page()
    await _wait_ready(page, f"{url}/#/runs")
    await page.evaluate("tasks.length = 0")
    began, made = time.monotonic(), 0

    async def submit() -> None:
        async with client.post("/api/tasks", json={"input": "a change"}) as answer:
            assert answer.status == 202

    while (passed := time.monotonic() - began) < seconds:
        due = round(passed * CHANGES / _CHANGES_OF_RUN) - made
        await asyncio.gather(*(submit() for _ in range(min(due, 50))))
        made += min(due, 50)
        await asyncio.sleep(0.02)
    rate = made * _CHANGES_OF_RUN / (time.monotonic() - began)
    longest = float(await page.evaluate("Math.max(0, ...tasks)"))
    await context.close()
    return longest, rate


ROW = Row(
    title="Dashboard",
    setup="Debian's Chromium, 1440 by 900, on loopback, with an empty cache. Ready: from the start of the navigation"
    " to the frame in which the page shows what it loads. Tasks: of the page's main thread, of at least 50 ms.",
    run=run,
)
