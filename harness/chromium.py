"""Debian's Chromium, driven by Playwright: https://playwright.dev/python/docs/api/class-browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

from harness.waiting import PATIENCE

_NAMES = ("chromium", "chromium-browser", "google-chrome")
_SWITCHES = [
    "--no-sandbox",  # containers often have no user namespaces; it opens only our own pages
    "--disable-gpu",
]


def find_chromium() -> str | None:
    """Return the path of Chromium, from the environment (`MOONGATE_TEST_CHROMIUM`) or PATH."""
    return os.environ.get("MOONGATE_TEST_CHROMIUM") or next(filter(None, map(shutil.which, _NAMES)), None)


@asynccontextmanager
async def open_chromium(program: str) -> AsyncIterator[Browser]:
    """Start Chromium. It ends when this process does, however that ends: it reads from a pipe that closes then."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=_SWITCHES, timeout=PATIENCE * 1000)
        try:
            yield browser
        finally:
            await browser.close()
