"""Chats in the browser: nothing that was written is lost, and nothing is asked twice."""

from __future__ import annotations

import asyncio
import json
import re
from pathlib import Path
from typing import Any

import pytest_asyncio
from playwright.async_api import Locator, Page, Route, expect

from harness.pictures import make_png
from tests.support.browser import Dashboard
from tests.support.inprocess import Serving, serving

ASKS = {"id": "main", "backend": "echo", "script": True, "permissions": "ask", "permission_timeout": 600}
HELPER = {"id": "helper", "backend": "echo"}
SESSION = "main:webchat:talk"


@pytest_asyncio.fixture(loop_scope="session")
async def moongate(tmp_path: Path) -> Any:
    """A gateway whose agent asks people, with small limits for files."""
    settings = {"agents": {"list": [ASKS, HELPER]}, "files": {"size": 20_000}}
    async with serving(tmp_path / "home", settings) as served:
        opened = {"channel": "webchat", "chat_id": "talk", "agentId": "main"}
        async with served.client.post("/api/sessions", json=opened) as answer:
            assert answer.ok, await answer.text()
        yield served


async def submit(served: Serving, text: str, session: str = SESSION) -> str:
    """Submit a task by the API, as another client does; return its id."""
    async with served.client.post("/api/tasks", json={"input": text, "session": session}) as answer:
        assert answer.status == 202, await answer.text()
        return str((await answer.json())["task"]["id"])


async def list_inputs(served: Serving) -> list[str]:
    """Return what the agents were asked, the oldest first."""
    async with served.client.get("/api/tasks") as answer:
        return [task["input"] for task in (await answer.json())["tasks"]][::-1]


async def say(page: Page, text: str) -> None:
    """Write a message and send it."""
    await write_field(page).fill(text)
    await write_field(page).press("Enter")


def write_field(page: Page) -> Locator:
    return page.get_by_role("textbox", name="Write a message")


def turn(page: Page, text: str) -> Locator:
    """Return the turn in which a person said a text."""
    return page.locator("article.turn").filter(has=page.locator(".bubble").filter(has_text=text))


async def test_a_new_chat_shows_the_answer_with_its_thoughts_tools_and_rendered_markdown(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate, "/chat")

    await say(page, "@@ think Look first.\n@@ tool bash ls -la\n@@ words 3 0\n@@ say and **bold** words")

    answer = turn(page, "Look first.")
    await expect(answer.locator(".prose strong")).to_have_text("bold")
    await expect(answer).to_contain_text("w0 w1 w2 and bold words")
    await expect(answer.locator(".turn-line")).to_contain_text("tokens")
    await expect(page).to_have_url(re.compile("#/chat/main%3Awebchat%3A"))
    await expect(page.locator(".conversation-row[aria-current]")).to_contain_text("Look first.")
    await answer.get_by_text("Thought").click()
    await expect(answer.locator(".thought")).to_have_text("Look first.")
    await answer.locator("summary").filter(has_text="bash").click()
    await expect(answer.locator(".step-row pre").last).to_have_text("ls -la")

    await page.reload()
    await expect(answer.locator(".prose strong")).to_have_text("bold")
    await answer.get_by_role("button", name="Steps").click()
    await expect(answer.locator("summary").filter(has_text="bash")).to_be_visible()


async def test_a_reload_in_the_middle_shows_the_answer_once_and_goes_on_with_it(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate, f"/chat/{SESSION}")
    await say(page, "@@ words 3 0\n@@ ask go on\n@@ say the rest")
    await expect(page.get_by_role("button", name="Allow", exact=True)).to_be_visible()

    await page.reload()
    await write_field(page).fill("a draft")
    await page.get_by_role("button", name="Allow", exact=True).click()

    answer = turn(page, "go on").locator(".answer")
    await expect(answer).to_contain_text("the rest")
    await expect(answer).to_contain_text("Allowed by")
    assert (await answer.inner_text()).count("w0 w1 w2") == 1
    assert await list_inputs(moongate) == ["@@ words 3 0\n@@ ask go on\n@@ say the rest"]
    await page.reload()
    await expect(write_field(page)).to_have_value("a draft")


async def test_a_question_is_answered_in_the_chat(moongate: Serving, dashboard: Dashboard) -> None:
    fields = [
        {"name": "where", "type": "choice", "options": [{"value": "eu", "label": "Europe"}, {"value": "us"}]},
        {"name": "copies", "type": "integer"},
        {"name": "note", "required": False},
    ]
    page = await dashboard(moongate, f"/chat/{SESSION}")
    await say(page, f"@@ question {json.dumps({'message': 'Where to?', 'fields': fields})}")

    await page.get_by_role("radio", name="Europe").check()
    await page.get_by_role("spinbutton", name="copies").fill("3")
    await page.get_by_role("button", name="Answer", exact=True).click()

    await expect(page.locator(".answer")).to_contain_text('{"where":"eu","copies":3}')


async def test_messages_wait_while_the_agent_works_and_can_be_cancelled(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate, f"/chat/{SESSION}")
    await say(page, "@@ ask begin")
    await expect(page.get_by_role("button", name="Allow", exact=True)).to_be_visible()

    await expect(page.locator(".conversation-row")).to_contain_text("begin")  # it has no title before its first answer

    await say(page, "@@ say the second")
    await say(page, "@@ say the third")
    await expect(turn(page, "the second")).to_contain_text("goes first")
    await turn(page, "the third").get_by_role("button", name="Cancel").click()
    await expect(turn(page, "the third")).to_contain_text("Cancelled")
    await page.get_by_role("button", name="Deny").click()

    await expect(turn(page, "the second").locator(".answer")).to_have_text("the second")


async def test_the_agent_is_stopped_and_asked_again(moongate: Serving, dashboard: Dashboard) -> None:
    page = await dashboard(moongate, f"/chat/{SESSION}")
    await say(page, "@@ say a part\n@@ hang")
    await expect(page.locator(".answer")).to_contain_text("a part")

    await page.get_by_role("button", name="Stop").click()
    await expect(page.locator("article.turn")).to_contain_text("Cancelled")
    await page.get_by_role("button", name="Try again").click()

    await expect(page.locator("article.turn")).to_have_count(2)
    await page.get_by_role("button", name="Stop").click()
    await expect(page.locator("article.turn").last).to_contain_text("Cancelled")


async def test_a_message_whose_answer_is_lost_is_sent_again_and_counts_once(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate, f"/chat/{SESSION}")
    dashboard.expect_lost_connection()
    lost: list[str] = []

    async def lose_answer(route: Route) -> None:
        if route.request.method != "POST" or lost:
            await route.continue_()
            return
        await route.fetch()  # the gateway gets it, the page is not told
        lost.append(route.request.headers["idempotency-key"])
        await route.abort()

    await page.route("**/api/tasks", lose_answer)
    async with page.expect_request(
        lambda one: one.method == "POST" and one.url.endswith("/api/tasks") and bool(lost)
    ) as again:
        await say(page, "only once")

    assert (await again.value).headers["idempotency-key"] == lost[0]
    await expect(page.locator(".answer")).to_have_text("echo: only once")
    await expect(page.locator(".sending")).to_have_count(0)
    await expect(page.locator("article.turn")).to_have_count(1)
    assert await list_inputs(moongate) == ["only once"]


async def test_a_message_that_could_not_be_sent_is_sent_after_the_page_is_loaded_again(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate, f"/chat/{SESSION}")
    dashboard.expect_lost_connection()
    await page.route(
        "**/api/tasks", lambda route: route.abort() if route.request.method == "POST" else route.continue_()
    )
    await say(page, "not lost")
    await expect(page.locator(".sending")).to_contain_text("Not sent yet")

    await page.unroute("**/api/tasks")
    await page.goto(f"{moongate.url}/#/runs")
    await page.reload()
    await expect(page.locator(".runs-table")).to_contain_text("not lost")
    await page.goto(f"{moongate.url}/#/chat/{SESSION}")

    await expect(page.locator(".answer")).to_have_text("echo: not lost")
    assert await list_inputs(moongate) == ["not lost"]


async def test_a_message_that_is_too_old_to_be_sent_safely_waits_for_a_person(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate, f"/chat/{SESSION}")
    store = """session => localStorage.setItem('chat.outbox', JSON.stringify([
        {key: 'k'.repeat(32), session, text: 'of yesterday', files: [], at: Date.now() - 86_400_000, tries: 1}]))"""
    await page.evaluate(store, SESSION)
    await page.reload()

    await expect(page.locator(".sending")).to_contain_text("It is a day old.")
    assert await list_inputs(moongate) == []
    await page.locator(".sending").get_by_role("button", name="Edit and send again").click()
    await expect(write_field(page)).to_have_value("of yesterday")
    await write_field(page).press("Enter")

    await expect(page.locator(".answer")).to_have_text("echo: of yesterday")


async def test_pictures_go_with_a_message_and_what_is_too_large_is_said_before(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate, f"/chat/{SESSION}")
    picture = {"name": "chart.png", "mimeType": "image/png", "buffer": make_png("a chart")}
    large = {"name": "film.bin", "mimeType": "application/octet-stream", "buffer": b"x" * 21_000}

    await page.locator("input[type=file]").set_input_files(files=[large])  # type: ignore[list-item]
    await expect(page.get_by_role("alert")).to_contain_text("film.bin has 21 kB; a file may have at most 20 kB.")
    await page.locator("input[type=file]").set_input_files(files=[picture])  # type: ignore[list-item]
    await expect(page.locator(".attached-file")).to_contain_text(re.compile(r"chart\.png\s*[\d,]+ k?B"))
    await page.reload()
    await say(page, "What is this?")

    shown = turn(page, "What is this?")
    await expect(shown.locator(".bubble img")).to_have_attribute("alt", "chart.png")
    await expect(shown.locator(".answer")).to_contain_text("chart.png")


async def test_a_message_that_is_sent_while_its_file_is_on_the_way_goes_with_it(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate, f"/chat/{SESSION}")
    arrived = asyncio.Event()

    async def hold(route: Route) -> None:
        await arrived.wait()
        await route.continue_()

    await page.route(re.compile(r"/api/files\?"), hold)
    note = {"name": "note.txt", "mimeType": "text/plain", "buffer": b"a note"}
    await page.locator("input[type=file]").set_input_files(files=[note])  # type: ignore[list-item]
    await say(page, "Read this")
    await expect(page.get_by_text("Sent when the files have arrived")).to_be_visible()
    await expect(write_field(page)).to_have_value("Read this")
    assert await list_inputs(moongate) == []
    arrived.set()

    await expect(turn(page, "Read this").locator(".asked .file")).to_contain_text("note.txt")
    await expect(write_field(page)).to_have_value("")
    assert await list_inputs(moongate) == ["Read this"]


async def test_a_message_whose_file_is_not_stored_stays_in_the_field(moongate: Serving, dashboard: Dashboard) -> None:
    page = await dashboard(moongate, f"/chat/{SESSION}")
    refused = json.dumps({"error": {"code": "storage_full", "message": "The disk is full."}})

    async def refuse(route: Route) -> None:
        await route.fulfill(status=507, body=refused, content_type="application/json")

    dashboard.expect_refusals(507, "/api/files*")
    await page.route(re.compile(r"/api/files\?name="), refuse)
    note = {"name": "note.txt", "mimeType": "text/plain", "buffer": b"a note"}
    await page.locator("input[type=file]").set_input_files(files=[note])  # type: ignore[list-item]
    await say(page, "Read this")
    await expect(page.locator(".attached-file")).to_contain_text("The disk is full.")
    await expect(page.get_by_text("Sent when the files have arrived")).to_have_count(0)
    await write_field(page).press("Enter")
    await expect(page.get_by_role("alert").first).to_contain_text("A file was not stored.")
    await expect(write_field(page)).to_have_value("Read this")
    assert await list_inputs(moongate) == []

    await page.get_by_role("button", name="Remove note.txt").click()
    await write_field(page).press("Enter")
    await expect(turn(page, "Read this").locator(".answer")).to_have_text("echo: Read this")


async def test_files_are_dropped_into_the_chat_and_come_back_from_the_agent(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate, f"/chat/{SESSION}")
    drop = """(place) => {
        const carried = new DataTransfer();
        carried.items.add(new File(['a note'], 'note.txt', {type: 'text/plain'}));
        for (const kind of ['dragover', 'drop'])
            place.dispatchEvent(new DragEvent(kind, {dataTransfer: carried, bubbles: true, cancelable: true}));
    }"""
    await page.locator(".conversation").evaluate(drop)
    await expect(page.locator(".attached-file")).to_contain_text("6 B")

    await say(page, "@@ file report.txt all is well\n@@ say made it")

    await expect(page.locator(".asked .file")).to_contain_text("note.txt")
    await expect(page.locator(".answer .file")).to_contain_text("report.txt")


async def test_what_is_said_elsewhere_in_a_chat_appears_and_a_failure_says_why(
    moongate: Serving, dashboard: Dashboard
) -> None:
    page = await dashboard(moongate, f"/chat/{SESSION}")
    await expect(page.get_by_text("Nothing was said here yet.")).to_be_visible()

    await submit(moongate, "from elsewhere")
    await expect(turn(page, "from elsewhere").locator(".answer")).to_have_text("echo: from elsewhere")
    await submit(moongate, "@@ fail no credit left")

    await expect(turn(page, "no credit left").get_by_role("alert")).to_have_text("no credit left")


async def test_older_messages_are_loaded_when_they_are_scrolled_to(moongate: Serving, dashboard: Dashboard) -> None:
    for number in range(50):
        await submit(moongate, f"message {number:02}")
    page = await dashboard(moongate, f"/chat/{SESSION}")
    await expect(turn(page, "message 49").locator(".answer")).to_be_in_viewport()
    await expect(turn(page, "message 00")).to_have_count(0)

    box = page.locator(".talk-box")
    await box.evaluate("box => box.scrollTop = 0")
    await expect(page.locator("article.turn")).to_have_count(50)

    await expect(turn(page, "message 00")).to_have_count(1)
    texts = await page.locator(".bubble").all_inner_texts()
    assert texts == [f"message {number:02}" for number in range(50)]
    async with moongate.client.patch(f"/api/sessions/{SESSION}", json={"title": "All of it"}) as answer:
        assert answer.ok, await answer.text()
    await expect(page.locator(".conversation h2")).to_have_text("All of it")
    await expect(page.locator(".answer")).to_have_count(50)


async def test_a_token_that_may_only_look_has_no_field_to_write_in(moongate: Serving, dashboard: Dashboard) -> None:
    await submit(moongate, "@@ ask begin")
    page = await dashboard(moongate, f"/chat/{SESSION}", scope="read")

    await expect(page.locator(".permission")).to_contain_text("Your token may look, but not answer.")

    await expect(page.get_by_text("Your token may look, but not write.")).to_be_visible()
    await expect(write_field(page)).to_have_count(0)
    await expect(page.get_by_role("button", name="Delete chat")).to_have_count(0)


async def test_another_agent_begins_a_new_chat(moongate: Serving, dashboard: Dashboard) -> None:
    await submit(moongate, "hello")
    page = await dashboard(moongate, f"/chat/{SESSION}")

    await page.locator(".conversation-head").get_by_label("Agent").select_option("helper")
    await expect(page.get_by_text("What shall helper do?")).to_be_visible()
    await say(page, "and you?")

    await expect(page).to_have_url(re.compile("#/chat/helper%3Awebchat%3A"))
    await expect(page.locator(".answer")).to_have_text("echo: and you?")


async def test_a_chat_that_is_deleted_elsewhere_is_left(moongate: Serving, dashboard: Dashboard) -> None:
    await submit(moongate, "hello")
    page = await dashboard(moongate, f"/chat/{SESSION}")
    await expect(page.locator(".answer")).to_have_text("echo: hello")

    async with moongate.client.delete(f"/api/sessions/{SESSION}") as answer:
        assert answer.ok, await answer.text()

    await expect(page.get_by_role("status").filter(has_text="This chat was deleted.")).to_be_visible()
    await expect(page).to_have_url(re.compile("#/chat$"))
    await expect(page.locator(".conversation-row")).to_have_count(0)
