"""Pictures and files in the OpenAI API, by the official SDK."""

from __future__ import annotations

import base64
import hashlib
import ipaddress
from collections.abc import AsyncIterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from unittest.mock import Mock

import httpx
import openai
import pytest
from aiohttp.test_utils import make_mocked_request
from openai import AsyncOpenAI

from gateway.api import body
from gateway.api.compat.openai import conversation_files, made_files, request
from gateway.domain.run import Run
from harness.webhook_receiver import serve_receiver
from tests.support.inprocess import TOKEN, Serving, serving

#: a picture of one pixel
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
)
PDF = b"%PDF-1.4\n1 0 obj\n<<>>\nendobj\ntrailer\n<<>>\n%%EOF\n"
WAV = (
    b"RIFF\x24\x00\x00\x00WAVEfmt \x10\x00\x00\x00\x01\x00\x01\x00\x40\x1f\x00\x00\x40\x1f\x00\x00\x01\x00\x08\x00data"
)


@pytest.fixture
async def sdk(moongate: Serving) -> AsyncIterator[AsyncOpenAI]:
    async with made(moongate) as client:
        yield client


def made(served: Serving) -> AsyncOpenAI:
    transport = httpx.AsyncHTTPTransport()
    return AsyncOpenAI(
        base_url=f"http://127.0.0.1:{served.port}/v1",
        api_key=TOKEN,
        http_client=httpx.AsyncClient(transport=transport),
        max_retries=0,
    )


def encoded(content: bytes) -> str:
    return base64.b64encode(content).decode()


def data_url(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{encoded(content)}"


def picture(content: bytes = PNG, media_type: str = "image/png") -> dict[str, Any]:
    return {"type": "image_url", "image_url": {"url": data_url(content, media_type), "detail": "low"}}


def text(words: str) -> dict[str, Any]:
    return {"type": "text", "text": words}


def user(*parts: Any) -> Any:
    return {"role": "user", "content": list(parts)}


def sha256(*contents: bytes) -> str:
    return "".join(hashlib.sha256(content).hexdigest() + "\n" for content in contents)


async def ask_chat(sdk: AsyncOpenAI, *messages: Any, **more: Any) -> str:
    answer = await sdk.chat.completions.create(model="main", messages=list(messages), **more)
    return answer.choices[0].message.content or ""


async def upload(served: Serving, content: bytes, name: str) -> str:
    async with served.client.post(f"/api/files?name={name}", data=content) as response:
        return str((await response.json())["file"]["id"])


async def list_runs(served: Serving) -> list[Any]:
    async with served.client.get("/api/tasks") as response:
        return list((await response.json())["tasks"])


async def newest_run(served: Serving) -> Run:
    run: Run = await served.engine.runs.get_run((await list_runs(served))[0]["id"])
    return run


# --- in the last message ------------------------------------------------------------------------

CHAT_PARTS: list[tuple[Any, bytes, tuple[str, str]]] = [
    (picture(), PNG, ("image-1.png", "image/png")),
    ({"type": "image_url", "image_url": data_url(PNG)}, PNG, ("image-1.png", "image/png")),
    (picture(PDF, "image/png"), PDF, ("image-1.pdf", "application/pdf")),
    (
        {"type": "input_audio", "input_audio": {"data": encoded(WAV), "format": "wav"}},
        WAV,
        ("audio-1.wav", "audio/wav"),
    ),
    (
        {"type": "file", "file": {"file_data": data_url(PDF, "application/pdf"), "filename": "../../a.pdf"}},
        PDF,
        ("a.pdf", "application/pdf"),
    ),
    ({"type": "file", "file": {"file_data": encoded(PDF)}}, PDF, ("file-1.pdf", "application/pdf")),
    (
        {"type": "file", "file": {"file_data": "data:text/plain,a%20b", "filename": "n.txt"}},
        b"a b",
        ("n.txt", "text/plain"),
    ),
]


@pytest.mark.parametrize(("part", "content", "about"), CHAT_PARTS)
async def test_a_file_in_a_chat_reaches_the_agent(
    sdk: AsyncOpenAI, moongate: Serving, part: Any, content: bytes, about: tuple[str, str]
) -> None:
    assert await ask_chat(sdk, user(text("@@ read"), part)) == sha256(content)

    run = await newest_run(moongate)
    assert [(file.name, file.media_type) for file in run.spec.attachments] == [about]
    assert run.spec.input == "@@ read"


async def test_a_picture_and_a_file_in_a_response_reach_the_agent(sdk: AsyncOpenAI, moongate: Serving) -> None:
    parts: Any = [
        {"type": "input_text", "text": "@@ read"},
        {"type": "input_image", "image_url": data_url(PNG), "detail": "auto"},
        {"type": "input_file", "file_data": data_url(PDF, "application/pdf"), "filename": "report.pdf"},
        {"type": "input_file", "file_url": data_url(b"log", "text/plain"), "filename": "a.log"},
    ]
    answer = await sdk.responses.create(model="main", input=[{"role": "user", "content": parts}])

    assert answer.output_text == sha256(PNG, PDF, b"log")
    run = await newest_run(moongate)
    assert [file.name for file in run.spec.attachments] == ["image-1.png", "report.pdf", "a.log"]


@pytest.mark.parametrize("kind", ["chat", "input_file", "input_image"])
async def test_a_stored_file_is_named_by_its_id(sdk: AsyncOpenAI, moongate: Serving, kind: str) -> None:
    id_ = await upload(moongate, PDF, "stored.pdf")

    if kind == "chat":
        told = await ask_chat(sdk, user(text("@@ read"), {"type": "file", "file": {"file_id": id_}}))
    else:
        parts: Any = [{"type": "input_text", "text": "@@ read"}, {"type": kind, "file_id": id_}]
        told = (await sdk.responses.create(model="main", input=[{"role": "user", "content": parts}])).output_text

    assert told == sha256(PDF)
    assert [file.id for file in (await newest_run(moongate)).spec.attachments] == [id_]


async def test_a_message_may_be_a_picture_alone(sdk: AsyncOpenAI) -> None:
    told = await ask_chat(sdk, user(picture()))

    assert told == f"echo: [picture: image-1.png, attached] [image-1.png (image/png, {len(PNG)} bytes)]"


async def test_a_note_tells_where_a_picture_lies_between_texts(sdk: AsyncOpenAI, moongate: Serving) -> None:
    await ask_chat(
        sdk, user(picture(), text("Is this: "), picture(PNG + b"2"), text(" better than the first?"), picture())
    )

    asked = (await newest_run(moongate)).spec.input
    assert asked == "Is this: [picture: image-2.png, attached] better than the first?"


async def test_pictures_of_several_messages_since_the_last_answer_are_attached_in_a_session(sdk: AsyncOpenAI) -> None:
    messages = [user(picture()), {"role": "assistant", "content": "A dot."}, user(picture(PDF)), user(text("@@ read"))]

    told = await ask_chat(sdk, *messages, extra_headers={"X-Session": "s"})

    assert told == sha256(PDF), "what came before the answer is known to the session"


BAD_PARTS: list[tuple[Any, int, str, str]] = [
    (picture() | {"image_url": {"url": "data:image/png;base64,a!b="}}, 400, ".image_url", "not valid base64"),
    (picture() | {"image_url": {"url": "data:image/png;base64,QQ==QQ=="}}, 400, ".image_url", "not valid base64"),
    (picture() | {"image_url": {"url": "data:image/png;base64," + "QUJD" * 400 + "Q"}}, 400, ".image_url", "base64"),
    (picture() | {"image_url": {"url": "data:image/png;base64,"}}, 400, ".image_url", "empty"),
    (picture() | {"image_url": {"url": "file:///etc/passwd"}}, 400, ".image_url", "neither a data URL"),
    (picture() | {"image_url": {"url": "https://example.org/a.png"}}, 400, ".image_url", "files.fetch"),
    (picture() | {"image_url": {"url": 7}}, 400, ".image_url", "not a text"),
    (picture() | {"image_url": None}, 400, ".image_url", "no content"),
    ({"type": "file", "file": {"file_id": "01ARZ3NDEKTSV4RRFFQ69G5FAV"}}, 400, ".file", "no file"),
    ({"type": "file", "file": 7}, 400, ".file", "file_data"),
    ({"type": "input_audio", "input_audio": {"format": "wav"}}, 400, ".input_audio", "data"),
    (picture(b"x" * 3000), 413, ".image_url", "2000 bytes"),
]


@pytest.mark.parametrize(("part", "status", "param", "why"), BAD_PARTS)
async def test_a_file_that_cannot_be_used_is_refused_in_the_last_message_alone(
    tmp_path: Path, part: Any, status: int, param: str, why: str
) -> None:
    async with serving(tmp_path / "home", {"files": {"size": 2000}}) as served, made(served) as sdk:
        with pytest.raises(openai.APIStatusError, match=why) as raised:
            await ask_chat(sdk, user(text("Look."), part))
        later = await ask_chat(sdk, user(text("Look."), part), user(text("Hello")))
        runs = await list_runs(served)

    assert (raised.value.status_code, raised.value.param) == (status, f"messages[0].content[1]{param}")
    assert later.startswith("echo: Look.["), later
    assert later.endswith("\n\nHello")
    assert len(runs) == 1


# --- in the history -----------------------------------------------------------------------------


async def test_old_pictures_are_attached_when_no_session_remembers_them(sdk: AsyncOpenAI, moongate: Serving) -> None:
    told = await ask_chat(
        sdk,
        user(picture(), text("What is it?")),
        {"role": "assistant", "content": "A dot."},
        user({"type": "file", "file": {"file_data": encoded(PDF), "filename": "a.pdf"}}, text("And this?")),
        {"role": "assistant", "content": "A page."},
        user(picture(PNG + b"2"), text("@@ read")),
    )

    assert told == sha256(PNG, PDF, PNG + b"2")
    asked = (await newest_run(moongate)).spec.input
    assert "User: [picture: image-1.png, attached]What is it?" in asked
    assert "User: [file: a.pdf, attached]And this?" in asked


async def test_the_newest_old_pictures_are_attached_as_far_as_the_limits_allow(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", {"files": {"per_message": 2}}) as served, made(served) as sdk:
        told = await ask_chat(
            sdk,
            user(picture(PNG + b"1")),
            user(picture(PNG + b"2"), {"type": "file", "file": {"file_data": "???", "filename": "bad.pdf"}}),
            {"role": "assistant", "content": "Dots."},
            user(picture(PNG + b"3"), text("@@ read")),
        )
        asked = (await newest_run(served)).spec.input

    assert told == sha256(PNG + b"2", PNG + b"3")
    assert "User: [picture]\n\nUser: [picture: image-2.png, attached][file: bad.pdf, not attached]" in asked


async def test_old_pictures_that_are_too_large_together_are_notes(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", {"files": {"message_size": 5000}}) as served, made(served) as sdk:
        told = await ask_chat(
            sdk,
            user(picture(b"1" * 500)),
            user(picture(b"2" * 3000)),
            {"role": "assistant", "content": "Dots."},
            user(picture(b"3" * 4000), text("@@ read")),
        )

    assert told == sha256(b"1" * 500, b"3" * 4000)


async def test_a_picture_that_an_answer_brought_is_attached_when_it_is_repeated(sdk: AsyncOpenAI) -> None:
    items: Any = [
        {"role": "user", "content": "Draw a dot."},
        {"type": "image_generation_call", "id": "ig_1", "status": "completed", "result": encoded(PNG)},
        {"role": "user", "content": "@@ read"},
    ]
    assert (await sdk.responses.create(model="main", input=items)).output_text == sha256(PNG)


# --- on other servers ---------------------------------------------------------------------------


def raw(content: bytes, *fields: str) -> str:
    """Return the line of a receiver's script that answers with this content."""
    head = "\r\n".join(["HTTP/1.1 200 OK", f"Content-Length: {len(content)}", *fields, "", ""])
    return "raw" + (head.encode() + content).hex()


async def test_a_picture_on_another_server_is_fetched_where_the_settings_allow_it(tmp_path: Path) -> None:
    pictures = [raw(PNG, "Content-Type: image/png")] * 3
    async with (
        serve_receiver(*pictures) as other,
        serving(tmp_path / "home", {"files": {"fetch": True}}) as served,
        made(served) as sdk,
    ):
        link = {"type": "image_url", "image_url": {"url": f"http://127.0.0.1:{other.port}/a/dot.png?size=1"}}
        told = await ask_chat(sdk, user(text("@@ read"), link))
        names = [file.name for file in (await newest_run(served)).spec.attachments]
        later = await ask_chat(
            sdk, user(link), {"role": "assistant", "content": "A dot."}, user(text("@@ read"), picture(PDF))
        )

    assert (told, names) == (sha256(PNG), ["dot.png"])
    assert later == sha256(PNG, PDF)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ("302 Location: http://127.0.0.1/", "redirects are not followed"),
        ("404", "answered 404"),
        (raw(b"x" * 3000), "2000 bytes"),
        ("flood", "2000 bytes"),
        ("reset", "cannot be fetched"),
        ("200 Content-Encoding: gzip", "packed"),
    ],
)
async def test_what_cannot_be_fetched_is_refused_in_the_last_message_and_a_note_in_the_history(
    tmp_path: Path, line: str, why: str
) -> None:
    async with (
        serve_receiver(line, line) as other,
        serving(tmp_path / "home", {"files": {"fetch": True, "size": 2000}}) as served,
        made(served) as sdk,
    ):
        link = {"type": "image_url", "image_url": {"url": other.url}}
        with pytest.raises(openai.APIStatusError, match=why) as raised:
            await ask_chat(sdk, user(link))
        later = await ask_chat(sdk, user(link), user(text("Hello")))

    assert raised.value.param == "messages[0].content[0].image_url"
    assert later == "echo: [picture]\n\nHello"


async def test_fetching_ends_when_its_time_is_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(conversation_files, "FETCH_SECONDS", 0.05)
    async with (
        serve_receiver("drip", "hang") as other,
        serving(tmp_path / "home", {"files": {"fetch": True}}) as served,
        made(served) as sdk,
    ):
        link = {"type": "image_url", "image_url": {"url": other.url}}
        with pytest.raises(openai.BadRequestError, match="in time"):
            await ask_chat(sdk, user(link))


async def test_a_large_file_is_the_same_however_it_is_encoded(sdk: AsyncOpenAI) -> None:
    content = bytes(range(256)) * 8192
    percents = "data:application/x-raw," + "".join(f"%{byte:02x}" for byte in content)
    files = [{"type": "file", "file": {"file_data": one}} for one in (percents, data_url(content, "application/x-raw"))]

    assert await ask_chat(sdk, user(text("@@ read"), *files)) == sha256(content, content)


# --- sizes and repetition -----------------------------------------------------------------------


async def test_files_do_not_count_as_text_of_a_body(tmp_path: Path) -> None:
    settings = {"limits": {"history": 20_000, "body": 20_000}, "files": {"size": 100_000, "message_size": 100_000}}
    async with serving(tmp_path / "home", settings) as served, made(served) as sdk:
        told = await ask_chat(sdk, user(text("@@ read"), picture(b"x" * 90_000)))
        with pytest.raises(openai.APIStatusError, match="without its files") as raised:
            await ask_chat(sdk, user(text("a" * 30_000), picture(b"x" * 90_000)))

    assert told == sha256(b"x" * 90_000)
    assert raised.value.status_code == 413


async def test_the_same_key_with_the_same_file_gives_the_same_answer_and_with_another_a_conflict(
    sdk: AsyncOpenAI, moongate: Serving
) -> None:
    key = {"Idempotency-Key": "k"}
    files = [PNG + b"1" * 5000, PNG + b"1" * 5000, PNG + b"2" * 5000]

    first, second = [await ask_chat(sdk, user(text("@@ read"), picture(one)), extra_headers=key) for one in files[:2]]
    with pytest.raises(openai.ConflictError):
        await ask_chat(sdk, user(text("@@ read"), picture(files[2])), extra_headers=key)

    assert first == second == sha256(files[0])
    assert len(await list_runs(moongate)) == 1


# --- made by the agent --------------------------------------------------------------------------

#: makes a text, a picture with a name that means something in Markdown, and says something
MAKES = "@@ say done\n@@ file a.txt hello\n@@ file b[1].gif GIF89a"


async def find_links(served: Serving) -> str:
    plain, gif = (await newest_run(served)).files
    origin = f"http://127.0.0.1:{served.port}/api/files"
    return f"[a.txt]({origin}/{plain.id})\n![b\\[1\\].gif]({origin}/{gif.id})"


async def test_a_chat_has_links_to_what_the_agent_made(sdk: AsyncOpenAI, moongate: Serving) -> None:
    told = await ask_chat(sdk, user(text(MAKES)))

    links = await find_links(moongate)
    assert told == f"done\n\n{links}"
    async with moongate.client.get(links.partition("(")[2].partition(")")[0]) as response:
        assert await response.read() == b"hello"


@pytest.mark.parametrize(
    ("peer", "told", "scheme"),
    [
        ("192.0.2.1", "https", "https"),
        ("192.0.2.1", "http, HTTPS", "https"),
        ("192.0.2.1", "https, http", "http"),
        ("192.0.2.2", "https", "http"),  # not of a trusted proxy
    ],
)
def test_links_believe_only_a_trusted_proxy_about_tls(peer: str, told: str, scheme: str) -> None:
    transport = Mock()
    transport.get_extra_info = lambda name, default=None: (peer, 1) if name == "peername" else default
    headers = {"Host": "gate.example", "X-Forwarded-Proto": told}
    asked = make_mocked_request("POST", "/v1/chat/completions", headers, transport=transport)
    config = SimpleNamespace(public_url=None, trusted_networks=[ipaddress.ip_network("192.0.2.1")])
    call: Any = SimpleNamespace(request=asked, server=SimpleNamespace(config=config))
    run: Any = SimpleNamespace(id="r", files=[SimpleNamespace(id="f", name="a.txt", is_picture=False)])

    assert made_files.render_links(call, run, "").text == f"[a.txt]({scheme}://gate.example/api/files/f)"


@pytest.mark.parametrize("says", ["@@ say done\n", ""])
async def test_a_streamed_chat_ends_with_links_to_what_the_agent_made(
    sdk: AsyncOpenAI, moongate: Serving, says: str
) -> None:
    asked = [user(text(says + MAKES.partition("\n")[2]))]
    async with sdk.chat.completions.stream(model="main", messages=asked) as stream:
        final = await stream.get_final_completion()

    expected = await find_links(moongate)
    assert final.choices[0].message.content == (f"done\n\n{expected}" if says else expected)


def check_output(output: Any, links: str, run: Run) -> None:
    """Check the output of a response that has made the two files."""
    message, shown = output
    (said,) = message.content
    assert said.text == f"done\n\n{links}"
    assert [said.text[one.start_index : one.end_index] for one in said.annotations] == links.split("\n")
    assert [(one.type, one.file_id, one.filename) for one in said.annotations] == [
        ("container_file_citation", file.id, file.name) for file in run.files
    ]
    assert (shown.type, shown.status, base64.b64decode(shown.result)) == (
        "image_generation_call",
        "completed",
        b"GIF89a",
    )


async def test_a_response_has_links_and_small_pictures_of_what_the_agent_made(
    sdk: AsyncOpenAI, moongate: Serving
) -> None:
    answer = await sdk.responses.create(model="main", input=MAKES)
    again = await sdk.responses.retrieve(answer.id)

    for one in (answer, again):
        check_output(one.output, await find_links(moongate), await newest_run(moongate))


async def test_a_streamed_response_has_links_and_small_pictures_of_what_the_agent_made(
    sdk: AsyncOpenAI, moongate: Serving
) -> None:
    async with sdk.responses.stream(model="main", input=MAKES) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()

    check_output(final.output, await find_links(moongate), await newest_run(moongate))
    assert kinds.count("response.output_text.annotation.added") == 2
    assert kinds.count("response.output_item.added") == kinds.count("response.output_item.done") == 2


async def test_a_large_picture_of_the_agent_is_only_a_link(
    sdk: AsyncOpenAI, moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(made_files, "MAX_PICTURE_BYTES", 5)

    answer = await sdk.responses.create(model="main", input=MAKES)

    assert [item.type for item in answer.output] == ["message"]
    assert answer.output_text.endswith(await find_links(moongate))


@pytest.mark.parametrize("door", ["chat", "responses"])
async def test_files_count_as_memory_until_they_are_on_disk_and_are_dropped_then(
    sdk: AsyncOpenAI, monkeypatch: pytest.MonkeyPatch, door: str
) -> None:
    held: list[tuple[int, Any]] = []
    counts: list[body.BodyCount] = []
    field = "messages" if door == "chat" else "input"

    class Counted(body.BodyCount):
        def __init__(self, add: Any) -> None:
            super().__init__(add)
            counts.append(self)

    def watch(module: Any, name: str) -> None:
        watched = getattr(module, name)

        async def note(call: Any, *args: Any) -> Any:
            held.append((counts[-1]._bytes, getattr(call.body, field)))
            return await watched(call, *args)

        monkeypatch.setattr(module, name, note)

    monkeypatch.setattr(body, "BodyCount", Counted)
    watch(conversation_files, "receive_files")
    watch(request, "wait_for_answer")
    if door == "chat":
        await ask_chat(sdk, user(picture(b"x" * 1_000_000)))
    else:
        part: Any = {"type": "input_image", "image_url": data_url(b"x" * 1_000_000)}
        await sdk.responses.create(model="main", input=[user(part)])

    (receiving, _), waiting = held
    assert receiving > 1_000_000
    assert waiting == (0, [])
