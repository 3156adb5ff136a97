"""Debian's Chromium, driven by Playwright: https://playwright.dev/python/docs/api/class-browser."""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from playwright.async_api import Browser, async_playwright

from harness.waiting import PATIENCE

#: the same browser without windows, in a package of its own: it takes about a third less of the processor
_HEADLESS = "chromium-headless-shell"
_NAMES = ("chromium", "chromium-browser", "google-chrome")
_SWITCHES = [
    "--no-sandbox",  # containers often have no user namespaces; it opens only our own pages
    "--disable-gpu",
]


def find_chromium(*, headless: bool = False) -> str | None:
    """Return the path of Chromium, from the environment (`MOONGATE_TEST_CHROMIUM`) or PATH.

    Args:
        headless: prefer the one that has no windows.
    """
    names = (_HEADLESS, *_NAMES) if headless else (*_NAMES, _HEADLESS)
    return os.environ.get("MOONGATE_TEST_CHROMIUM") or next(filter(None, map(shutil.which, names)), None)


@asynccontextmanager
async def open_chromium(program: str) -> AsyncIterator[Browser]:
    """Start Chromium. It ends when this process does, however that ends: it reads from a pipe that closes then."""
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=program, args=_SWITCHES, timeout=PATIENCE * 1000)
        try:
            yield browser
        finally:
            await browser.close()
