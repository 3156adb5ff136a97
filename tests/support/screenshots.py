"""`python -m tests.support.screenshots [NAME...]`: pictures of the dashboard's pages, into docs/images/.

Each is NAME-{light,dark}-{390,1440}.png with at most 256 colours, which makes it small. They show the showcase.
"""

from __future__ import annotations

import asyncio
import base64
import struct
import sys
import tempfile
import zlib
from collections.abc import Mapping
from pathlib import Path

from playwright.async_api import Browser, BrowserContext, Page, expect

from harness.chromium import open_chromium
from tests.support.browser import Dashboard, require_chromium
from tests.support.dashboard_pages import PHONE, ROWS, SCREEN, PageRow, find_address, wait_complete
from tests.support.inprocess import Serving
from tests.support.showcase import open_showcase

IMAGES = Path(__file__).parents[2] / "docs" / "images"
#: pictures of pages that are not named as their module
_NAMES = {
    "/chat": "",
    "/board": "",
    "/fleet": "",
    "/schedules/:id": "schedule",
    "/deliveries/:id": "delivery",
    "/agents/:id": "agent",
}
#: maps each pixel to the nearest of the most frequent colours; returns base64 of RGB triples and of one byte a pixel
_REDUCE = """async (png) => {
  const bitmap = await createImageBitmap(await (await fetch(`data:image/png;base64,${png}`)).blob());
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height).getContext('2d');
  canvas.drawImage(bitmap, 0, 0);
  const pixels = new Uint32Array(canvas.getImageData(0, 0, bitmap.width, bitmap.height).data.buffer);
  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  const palette = [...counts].sort((a, b) => b[1] - a[1]).slice(0, 256).map(([pixel]) => pixel);
  const parts = (pixel) => [pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255];
  const colours = palette.map(parts);
  const nearest = new Map(palette.map((pixel, n) => [pixel, n]));
  const find = (pixel) => {
    const [r, g, b] = parts(pixel);
    let best = 0, least = Infinity;
    colours.forEach(([x, y, z], n) => {
      const far = 2 * (r - x) ** 2 + 4 * (g - y) ** 2 + 3 * (b - z) ** 2;
      if (far < least) [best, least] = [n, far];
    });
    nearest.set(pixel, best);
    return best;
  };
  const bytes = Uint8Array.from(pixels, (pixel) => nearest.get(pixel) ?? find(pixel));
  const encode = (data) => {
    let text = '';
    for (let n = 0; n < data.length; n += 32768) text += String.fromCharCode(...data.subarray(n, n + 32768));
    return btoa(text);
  };
  return [bitmap.width, bitmap.height, encode(Uint8Array.from(colours.flat())), encode(bytes)];
}"""


async def take_pictures(wanted: list[str]) -> None:
    """Take the pictures with these names, or all."""
    IMAGES.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as home:
        async with open_showcase(Path(home)) as served, open_chromium(require_chromium()) as browser:
            for scheme in ("light", "dark"):
                for size in (SCREEN, PHONE):
                    dashboard = Dashboard(browser)
                    context = await dashboard.make_context(served, viewport=size, color_scheme=scheme)
                    pictures = await _take(served, dashboard, context, wanted)
                    for name, png in pictures.items():
                        small = await _reduce(browser, png)
                        (IMAGES / f"{name}-{scheme}-{size['width']}.png").write_bytes(small)
                        print(f"{name}-{scheme}-{size['width']}.png: {len(small):,} bytes", flush=True)
                    await dashboard.close()
                    for trouble in dashboard.troubles:
                        print(trouble, file=sys.stderr)


async def _take(
    served: Serving, dashboard: Dashboard, context: BrowserContext, wanted: list[str]
) -> Mapping[str, bytes]:
    """Return pictures as PNG, by name."""
    page = await context.new_page()
    pictures = {}
    if not wanted or "sign-in" in wanted:
        dashboard.expect_refusals(401, "/api/me")
        await page.goto(served.url)
        await expect(page.get_by_role("heading", level=1)).to_be_visible()
        pictures["sign-in"] = await page.screenshot()
    await dashboard.sign_in(context, served)
    for row in ROWS:
        name = _NAMES.get(row.pattern, row.name)
        if name and (not wanted or name in wanted):
            pictures[name] = await _take_page(served, page, row)
    return pictures


async def _take_page(served: Serving, page: Page, row: PageRow) -> bytes:
    await page.goto("about:blank")  # so that the next one is loaded as a whole
    await page.goto(f"{served.url}/#{await find_address(served, row)}", wait_until="networkidle")
    await wait_complete(page)
    await page.evaluate("document.activeElement?.blur()")
    return await page.screenshot()


async def _reduce(browser: Browser, png: bytes) -> bytes:
    """Return a PNG of at most 256 colours: https://www.w3.org/TR/png-3/."""
    page = await browser.new_page()
    width, height, palette, indexes = await page.evaluate(_REDUCE, base64.b64encode(png).decode())
    await page.close()
    rows = base64.b64decode(indexes)
    lines = b"".join(b"\0" + rows[at : at + width] for at in range(0, width * height, width))
    chunks = [
        (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)),
        (b"PLTE", base64.b64decode(palette)),
        (b"IDAT", zlib.compress(lines, 9)),
        (b"IEND", b""),
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


if __name__ == "__main__":
    asyncio.run(take_pictures(sys.argv[1:]))
