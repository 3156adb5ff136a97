"""`/api/render` and `?render=html`: Markdown as HTML over HTTP."""

from __future__ import annotations

import asyncio
import gc
import threading
import tracemalloc

import pytest

from gateway.api import rendered_texts
from gateway.api.markup import MAX_MARKUP_CHARACTERS
from gateway.api.rendered_texts import RenderedTexts, measure_kept_text
from gateway.errors import Unavailable
from tests.api.client import ask, done, submit, token
from tests.support.inprocess import Serving


async def test_a_reader_may_render_a_text(moongate: Serving) -> None:
    reader = await token(moongate, "r", "read")
    answer = await ask(moongate, "POST", "/api/render", {"text": "*a* <script>"}, token=reader)

    assert (answer.status, answer.body) == (200, {"html": "<p><em>a</em> &lt;script&gt;</p>\n"})


async def test_an_empty_text_is_empty_html(moongate: Serving) -> None:
    assert (await ask(moongate, "POST", "/api/render", {"text": ""})).body == {"html": ""}


async def test_a_text_that_is_too_long_is_refused(moongate: Serving) -> None:
    answers = [
        await ask(moongate, "POST", "/api/render", {"text": "a" * length})
        for length in (MAX_MARKUP_CHARACTERS, MAX_MARKUP_CHARACTERS + 1, 1 << 20)
    ]

    assert [answer.status for answer in answers] == [200, 400, 413]
    assert "text" in answers[1].message


async def test_the_answer_of_a_task_is_rendered_if_asked(moongate: Serving) -> None:
    task = await done(moongate, (await submit(moongate, "**a**"))["id"])
    plain = (await ask(moongate, "GET", f"/api/tasks/{task['id']}")).body
    shown = (await ask(moongate, "GET", f"/api/tasks/{task['id']}?render=html")).body

    assert shown == {**plain, "result_html": "<p>echo: <strong>a</strong></p>\n"}
    assert "result_html" not in plain


async def test_an_answer_that_is_missing_or_too_long_has_no_html(moongate: Serving) -> None:
    failed, long = [
        await done(moongate, (await submit(moongate, text))["id"])
        for text in ("@@ fail", "a" * (MAX_MARKUP_CHARACTERS + 1))
    ]
    shown = [(await ask(moongate, "GET", f"/api/tasks/{one['id']}?render=html")).body for one in (failed, long)]

    assert [one["result_html"] for one in shown] == [None, None]


async def test_only_html_can_be_asked_for(moongate: Serving) -> None:
    task = await submit(moongate, "a")
    answer = await ask(moongate, "GET", f"/api/tasks/{task['id']}?render=pdf")

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert "render" in answer.message


async def test_a_text_is_rendered_once(monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []
    monkeypatch.setattr(rendered_texts, "render_markup", lambda text: rendered.append(text) or text.upper())
    texts = RenderedTexts(max_kept=sum(map(measure_kept_text, ["A", "", "B"])))

    assert await texts.render_texts(["a", None, "a", ""]) == ["A", None, "A", ""]
    assert await texts.render_texts(["b", "a"]) == ["B", "A"]
    assert rendered == ["a", "", "b"]
    await texts.render_texts(["ccc"])  # there is no room for all: what was used last stays
    await texts.render_texts(["a"])
    await texts.render_texts(["b"])
    assert rendered == ["a", "", "b", "ccc", "b"]


async def test_many_short_texts_take_no_more_memory_than_long_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered_texts, "render_markup", lambda text: f"<p>{text}</p>")
    room = 100_000
    texts = RenderedTexts(max_kept=room)
    tracemalloc.start()
    try:
        for first in range(0, 5_000, 100):
            await texts.render_texts([str(first + number) for number in range(100)])
        gc.collect()
        kept, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert kept < 2 * room
    assert texts._kept


async def test_an_answer_that_takes_long_has_the_rest_as_text(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendered_texts, "MAX_ANSWER_CPU_SECONDS", 0.0)

    assert await RenderedTexts().render_texts(["a", "b"]) == ["<p>a</p>\n", None]


async def test_texts_are_rendered_one_after_another_also_when_a_client_has_gone(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    loop, began, go_on = asyncio.get_running_loop(), asyncio.Event(), threading.Event()

    def wait(text: str) -> str:
        loop.call_soon_threadsafe(began.set)
        assert go_on.wait(30)
        return text

    monkeypatch.setattr(rendered_texts, "render_markup", wait)
    texts = RenderedTexts()
    gone = asyncio.create_task(texts.render_texts(["a"]))
    await began.wait()
    gone.cancel()
    await asyncio.wait([gone])
    monkeypatch.setattr(rendered_texts, "MAX_RENDER_WAIT_SECONDS", 0.01)
    with pytest.raises(Unavailable, match="too many texts wait"):
        await texts.render_texts(["b"])
    monkeypatch.undo()
    go_on.set()

    assert await texts.render_texts(["**b**"]) == ["<p><strong>b</strong></p>\n"]
