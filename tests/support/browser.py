"""Debian's Chromium on the dashboard of a real gateway, by Playwright: https://playwright.dev/python/docs/api/class-page.

One Chromium serves all tests of a worker. Each test gets contexts of its own: it shares no cookies, storage or cache.
"""

from __future__ import annotations

import fnmatch
import itertools
import os
import re
from collections import Counter
from typing import Any, Protocol
from urllib.parse import urlsplit

import aiohttp
import pytest
from playwright.async_api import (
    Browser,
    BrowserContext,
    ConsoleMessage,
    Page,
    Request,
    Response,
    WebError,
    expect,
)

from harness.chromium import find_chromium
from harness.waiting import PATIENCE

#: milliseconds that Playwright waits for what a test expects
_PATIENCE_MS = PATIENCE * 1000
#: what Chromium says on the console about an answer or its absence: the requests themselves are watched
_TOLD_BY_REQUESTS = re.compile(r"Failed to load resource: ")
#: what the console says when a page cannot be reached
_LOST = re.compile(
    r"net::ERR_(INTERNET_DISCONNECTED|CONNECTION_\w+|EMPTY_RESPONSE|INCOMPLETE_CHUNKED_ENCODING|NETWORK_\w+)"
)


class Served(Protocol):
    """A gateway that answers: `Serving` and `Live` are such."""

    @property
    def url(self) -> str: ...

    @property
    def token(self) -> str: ...


def require_chromium() -> str:
    """Return the path of Chromium; without it, skip the test.

    Raises:
        Failed: all tests must run.
    """
    found = find_chromium(headless=True)
    if found is None:
        reason = "no Chromium: apt install chromium-headless-shell, or set MOONGATE_TEST_CHROMIUM to the program"
        (pytest.fail if os.environ.get("MOONGATE_TEST_ALL") else pytest.skip)(reason)
    return str(found)


class Dashboard:
    """Opens the dashboard of gateways, and notes what must not happen there.

    These are troubles: an error or a warning on the console (a violation of the Content-Security-Policy is one), an
    exception that nothing caught, a request to another host, an answer from 400 on, no answer.
    """

    def __init__(self, browser: Browser) -> None:
        self._browser = browser
        self._contexts: list[BrowserContext] = []
        self._hosts: set[str] = set()
        self._strangers: set[str] = set()
        self._expected: Counter[tuple[int, str]] = Counter()
        self._possible: set[tuple[int, str]] = set()
        self._may_lose_connection = False
        self._names = itertools.count(1)
        self.troubles: list[str] = []

    async def __call__(self, served: Served, path: str = "/", *, scope: str = "admin", **options: Any) -> Page:
        """Return a page of a browser that is signed in, as soon as it is shown.

        Args:
            path: what comes after the `#`, such as `/runs?status=failed`.
            scope: of the token that signs in.
            options: of the context, such as `color_scheme="dark"` or `viewport={"width": 390, "height": 844}`.
        """
        context = await self.make_context(served, **options)
        await self.sign_in(context, served, scope)
        page = await context.new_page()
        await page.goto(f"{served.url}/#{path}")
        await expect(page.locator("#content")).to_be_visible()
        return page

    async def make_context(self, served: Served, **options: Any) -> BrowserContext:
        """Return a browser that nobody has signed in."""
        self._hosts.add(urlsplit(served.url).netloc)
        context = await self._browser.new_context(**{"reduced_motion": "reduce", "timezone_id": "UTC", **options})
        self._contexts.append(context)
        context.set_default_timeout(_PATIENCE_MS)
        context.on("console", self._note_console)
        context.on("weberror", self._note_exception)
        context.on("request", self._note_request)
        context.on("response", self._note_response)
        context.on("requestfailed", self._note_failure)
        return context

    async def sign_in(self, context: BrowserContext, served: Served, scope: str = "admin") -> None:
        """Give a browser the cookie that a one-time code is traded for."""
        code = await make_code(served, scope, f"browser-{next(self._names)}")
        own = {"X-Moongate-Dashboard": "1"}
        answer = await context.request.post(f"{served.url}/api/dashboard/sign-in", data={"code": code}, headers=own)
        assert answer.ok, await answer.text()

    def expect_refusals(self, status: int, path: str = "*", times: int = 1) -> None:
        """Let so many answers of this test be refusals. They must come, too: the test fails if they do not.

        Args:
            path: of the requests, with `*` for any characters.
        """
        self._expected[status, path] += times

    def allow_refusals(self, status: int, path: str) -> None:
        """Let such answers be refusals, if they come: what is asked for may be gone a moment before."""
        self._possible.add((status, path))

    def allow_stranger(self, host: str) -> None:
        """Let pages of another host be opened; what goes wrong on them does not matter, but what they are answered."""
        self._hosts.add(host)
        self._strangers.add(host)

    def expect_lost_connection(self) -> None:
        """Let requests of this test stay without an answer: its gateway or its network goes away."""
        self._may_lose_connection = True

    async def close(self) -> None:
        """Close all pages."""
        for context in self._contexts:
            await context.close()

    def check(self) -> None:
        """Fail if something happened that must not, or if an expected refusal did not come."""
        missed = [f"no answer {status} from {path}" for (status, path), n in self._expected.items() for _ in range(n)]
        assert not (self.troubles + missed), "\n".join(["", *self.troubles, *missed])

    def _note_console(self, message: ConsoleMessage) -> None:
        if message.type not in ("error", "warning") or _TOLD_BY_REQUESTS.match(message.text):
            return
        if message.page is not None and urlsplit(message.page.url).netloc in self._strangers:
            return
        if not (self._may_lose_connection and _LOST.search(message.text)):
            self.troubles.append(f"console {message.type}: {message.text} ({message.location.get('url', '')})")

    def _note_exception(self, error: WebError) -> None:
        self.troubles.append(f"not caught: {error.error}")

    def _note_request(self, request: Request) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob", "about") and parts.netloc not in self._hosts:
            self.troubles.append(f"request to another host: {request.url}")

    def _note_response(self, response: Response) -> None:
        if response.status < 400:
            return
        for (status, path), left in self._expected.items():
            if left and status == response.status and fnmatch.fnmatch(urlsplit(response.url).path, path):
                self._expected[status, path] -= 1
                return
        asked = urlsplit(response.url).path
        if not any(status == response.status and fnmatch.fnmatch(asked, path) for status, path in self._possible):
            self.troubles.append(f"{response.status} from {response.request.method} {response.url}")

    def _note_failure(self, request: Request) -> None:
        reason = request.failure or ""
        if urlsplit(request.frame.url).netloc in self._strangers:
            return
        # A page that is left or closed aborts what it no longer needs.
        if "net::ERR_ABORTED" not in reason and not self._may_lose_connection:
            self.troubles.append(f"no answer to {request.method} {request.url}: {reason}")


async def make_code(served: Served, scope: str = "admin", name: str = "browser") -> str:
    """Return a one-time code that signs a browser in with a scope."""
    async with aiohttp.ClientSession(served.url) as client:

        async def post(path: str, bearer: str, body: Any) -> Any:
            async with client.post(path, json=body, headers={"Authorization": f"Bearer {bearer}"}) as answer:
                assert answer.status == 201, await answer.text()
                return await answer.json()

        bearer = served.token
        if scope != "admin":
            bearer = (await post("/api/tokens", bearer, {"name": name, "scope": scope}))["token"]
        return str((await post("/api/dashboard/codes", bearer, None))["code"])


async def shown(page: Page, name: str) -> None:
    """Wait until a page with this heading is shown, with what it has loaded."""
    await expect(page.get_by_role("heading", level=1, name=name, exact=True)).to_be_visible()
    await expect(page.locator("#content .loading")).to_have_count(0)
