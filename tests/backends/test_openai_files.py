"""What an OpenAI-compatible server is given of files, and what happens when it refuses them."""

from __future__ import annotations

import asyncio
import base64
import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import msgspec
import pytest
from aiohttp import web

from gateway.backends import BackendResources
from gateway.backends.openai import files, memory, request_body
from gateway.backends.openai.backend import OpenAIBackend
from gateway.backends.openai.context import build_context
from gateway.backends.openai.options import OPENAI_URL, Options
from gateway.backends.openai.refusal import FilesRefused, PromptTooLong, find_refusal
from gateway.domain.agent import Agent
from gateway.domain.event import Log, Notice
from gateway.domain.file import describe_size
from gateway.domain.ports.backend import FileKind, Turn
from gateway.domain.session import Message, Role
from gateway.domain.transcript import estimate_tokens
from gateway.errors import AgentError
from gateway.process.child import Children
from harness.pictures import make_png
from harness.scripted_model import ScriptedModel
from harness.scripted_server import serve
from tests.support.attachments import Attached, attach, make_pdf, make_wav, read_requests
from tests.support.fixtures import children, ledger
from tests.support.hurrying import Hurry
from tests.support.raw_model import DONE, chunk, end, reply
from tests.support.turns import Heard, listen, message, turn

__all__ = ["children", "ledger"]

#: what servers say whose model reads no pictures: OpenAI, DeepSeek, OpenRouter, llama.cpp, Ollama, Groq
NO_PICTURES = [
    (400, "Invalid content type. image_url is only supported by certain models."),
    (422, "Failed to deserialize the JSON body: messages[0]: unknown variant `image_url`, expected `text`"),
    (404, "No endpoints found that support image input"),
    (500, "image input is not supported - hint: if this is unexpected, you may need to provide the mmproj"),
    (500, "this model is missing data required for image input"),
    (400, "'messages.0.content' : value must be a string"),
]
#: what they say of a picture that they cannot read
BAD_PICTURE = "You uploaded an unsupported image. Please make sure your image is valid."

PICTURE = attach("cat.png", "image/png", make_png("cat"))
OTHER_PICTURE = attach("dog.png", "image/png", make_png("dog"))
PDF = attach("report.pdf", "application/pdf", make_pdf())
LOG = attach("crash.log", "text/plain", b"line 1\nline 2: error\n")


class PickyModel(ScriptedModel):
    """A scripted model that refuses some requests."""

    #: what is refused: a picture by a part of its content
    dislikes: bytes | None = None
    status, words = NO_PICTURES[0]

    async def note(self, request: web.Request) -> dict[str, Any]:
        body = await super().note(request)
        if self.dislikes is not None and self.dislikes in b"".join(pictures_of(body)):
            refusal = json.dumps(self.error_body(self.status, self.words))
            raise _REFUSALS[self.status](text=refusal, content_type="application/json")
        return body


_REFUSALS: dict[int, type[web.HTTPException]] = {
    400: web.HTTPBadRequest,
    404: web.HTTPNotFound,
    422: web.HTTPUnprocessableEntity,
    500: web.HTTPInternalServerError,
}


def parts_of(body: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the parts of all messages that are not text."""
    contents = [message["content"] for message in body["messages"] if isinstance(message["content"], list)]
    return [part for content in contents for part in content if part["type"] != "text"]


def pictures_of(body: dict[str, Any]) -> list[bytes]:
    urls = [part["image_url"]["url"] for part in parts_of(body) if part["type"] == "image_url"]
    return [base64.b64decode(url.partition(";base64,")[2]) for url in urls]


@pytest.fixture
async def model() -> AsyncIterator[PickyModel]:
    async with serve(PickyModel(), 0, "/v1") as served:
        yield served


@pytest.fixture
async def backend(children: Children, tmp_path: Path) -> AsyncIterator[OpenAIBackend]:
    async with OpenAIBackend(BackendResources(children=children, environ={}, directory=tmp_path)) as opened:
        yield opened


def agent(base_url: str, **options: Any) -> Agent:
    chosen = msgspec.convert({"base_url": base_url, "retry_delay": 0, **options}, Options)
    return Agent(id="main", backend="openai", model="m", options=chosen)


def said(role: Role, words: str, run: str, *attached: Attached) -> Message:
    return msgspec.structs.replace(message(role, words, run), files=tuple(one.file for one in attached))


def turn_with(
    who: Agent,
    words: str,
    attached: Sequence[Attached] = (),
    history: Sequence[Message] = (),
    old: Sequence[Attached] = (),
) -> Turn:
    """Return a turn with files; `old` are those of the history that can still be read."""
    contents = {one.file.id: one.content for one in (*attached, *old)}

    async def read_file(file: Any) -> bytes:
        if file.id not in contents:
            raise AgentError("it is gone.")
        return contents[file.id]

    return msgspec.structs.replace(
        turn(who, words, history=history), attachments=[one.file for one in attached], read_file=read_file
    )


Ask = Callable[..., Awaitable[Heard]]


@pytest.fixture
def ask(backend: OpenAIBackend, model: PickyModel) -> Ask:
    async def asked(words: str, *attached: Attached, **given: Any) -> Heard:
        about = {name: given.pop(name) for name in ("history", "old") if name in given}
        return await listen(backend, turn_with(agent(model.base_url, **given), words, attached, **about))

    return asked


# --- files of the last message ----------------------------------------------------------------


@pytest.mark.parametrize("size", [0, 1, 2, request_body.ENCODED_BYTES, 2 * request_body.ENCODED_BYTES + 1])
async def test_a_picture_arrives_bit_for_bit(ask: Ask, model: PickyModel, size: int) -> None:
    picture = attach("cat.png", "image/png", make_png("x" * size))

    await ask("What is this?", picture)

    [request] = model.requests
    [message] = request["body"]["messages"]
    assert message["content"][0] == {"type": "text", "text": "What is this?"}
    assert message["content"][1]["image_url"]["url"].startswith("data:image/png;base64,")
    assert pictures_of(request["body"]) == [picture.content]


async def test_a_picture_without_words_is_sent_without_a_text(ask: Ask, model: PickyModel) -> None:
    await ask("", PICTURE)

    assert [part["type"] for part in model.requests[0]["body"]["messages"][0]["content"]] == ["image_url"]


async def test_documents_and_sounds_are_sent_where_the_agent_says_so(ask: Ask, model: PickyModel) -> None:
    wav, ogg = attach("a.wav", "audio/wav", make_wav()), attach("b.ogg", "audio/ogg", b"OggS")

    await ask("Look", PDF, wav, ogg, inputs=["text", "file", "audio"])

    [file, sound] = parts_of(model.requests[0]["body"])
    assert file == {
        "type": "file",
        "file": {
            "filename": "report.pdf",
            "file_data": "data:application/pdf;base64," + base64.b64encode(PDF.content).decode(),
        },
    }
    assert sound["input_audio"] == {"data": base64.b64encode(wav.content).decode(), "format": "wav"}
    assert "b.ogg (audio/ogg, 4 bytes)" in read_requests([model.requests[0]["body"]]).text


async def test_what_a_model_does_not_read_is_named_to_it(ask: Ask, model: PickyModel) -> None:
    binary = attach("tool.bin", "application/octet-stream", b"\0\xff")

    await ask("Look", PICTURE, PDF, binary, inputs=["text"])

    [given] = model.requests[0]["body"]["messages"]
    assert given["content"] == (
        "Look\n\nAttached files, which you cannot read:\n"
        f"- cat.png (image/png, {PICTURE.file.size} bytes)\n"
        f"- report.pdf (application/pdf, {PDF.file.size} bytes)\n"
        "- tool.bin (application/octet-stream, 2 bytes)"
    )


async def test_openais_own_server_gets_documents_and_others_do_not() -> None:
    backend = OpenAIBackend(BackendResources(children=None, environ={}, directory=Path()))  # type: ignore[arg-type]

    kinds = [
        backend._inputs.choose_kinds(agent(url).options, ("main", url, "m"))
        for url in (OPENAI_URL, "http://127.0.0.1:1/v1")
    ]

    assert kinds == [{FileKind.IMAGE, FileKind.PDF}, {FileKind.IMAGE}]


async def test_a_text_is_put_into_the_prompt_with_its_name(ask: Ask, model: PickyModel) -> None:
    await ask("Why?", LOG, inputs=["text"])

    [given] = model.requests[0]["body"]["messages"]
    assert given["content"] == "Why?\n\ncrash.log (text/plain, 21 bytes):\n```\nline 1\nline 2: error\n```"


async def test_a_text_cannot_end_its_fence(ask: Ask, model: PickyModel) -> None:
    await ask("Why?", attach("a.md", "text/markdown", b"a\n````\nb"))

    assert model.requests[0]["body"]["messages"][0]["content"].endswith("\n`````\na\n````\nb\n`````")


@pytest.mark.parametrize("content", [b"text \0 with NUL", b"\xff\xfe", b"cut \xe2\x82", b"\xef\xbb\xbf"])
async def test_what_is_no_text_is_named(ask: Ask, model: PickyModel, content: bytes) -> None:
    await ask("Why?", attach("a.txt", "text/plain", content))

    given = model.requests[0]["body"]["messages"][0]["content"]
    assert given.startswith("Why?\n\nAttached files, which you cannot read:\n- a.txt")


@pytest.mark.parametrize("lines", [20_000, 200_000], ids=["read whole", "larger than what is read"])
async def test_a_long_text_is_shortened_in_its_middle(ask: Ask, model: PickyModel, lines: int) -> None:
    long = attach("a.log", "text/plain", "".join(f"№ {n}\n" for n in range(lines)).encode())

    await ask("Why?", long, context_tokens=8_000)  # 6,000 without the answer, half of it for texts

    given = model.requests[0]["body"]["messages"][0]["content"]
    beginning, left_out, end = re.fullmatch(  # type: ignore[union-attr]
        r"Why\?\n\na\.log \(text/plain, [^)]*\):\n```\n(.*)\n\[… (.*) left out …\]\n(.*)\n```", given, re.DOTALL
    ).groups()
    assert beginning.startswith("№ 0\n№ 1\n")
    assert end.endswith(f"№ {lines - 1}")
    assert len(end) > 2 * len(beginning)
    assert 2500 < estimate_tokens(given) < 3100
    assert left_out == describe_size(long.file.size - len(beginning.encode()) - len(end.encode()))


async def test_a_text_for_which_there_is_no_room_is_named(ask: Ask, model: PickyModel) -> None:
    long = attach("a.txt", "text/plain", b"word " * 1000)

    await ask("Why?", long, context_tokens=256)

    assert "cannot read:\n- a.txt" in model.requests[0]["body"]["messages"][0]["content"]


async def test_a_file_that_is_gone_is_an_error_that_names_it(backend: OpenAIBackend, model: PickyModel) -> None:
    given = msgspec.structs.replace(turn(agent(model.base_url), "Look"), attachments=[PICTURE.file])

    with pytest.raises(AgentError, match=r"cat\.png"):
        await listen(backend, given)


async def test_a_file_that_goes_while_it_is_sent_is_an_error_that_names_it(
    backend: OpenAIBackend, model: PickyModel
) -> None:
    reads = [PICTURE.content, PICTURE.content[:-1]]

    async def read_file(file: Any) -> bytes:
        return reads.pop(0)

    given = msgspec.structs.replace(
        turn(agent(model.base_url), "Look"), attachments=[PICTURE.file], read_file=read_file
    )

    with pytest.raises(AgentError, match=r"the file 'cat\.png' has \d+ bytes"):
        await listen(backend, given)


async def test_a_request_that_is_tried_again_has_its_files_again(ask: Ask, model: PickyModel) -> None:
    heard = await ask("[[error 503 1]]", PICTURE)

    assert heard.answer == "recovered"
    assert [pictures_of(request["body"]) for request in model.requests] == [[PICTURE.content]] * 2


# --- refused ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "words"), NO_PICTURES)
async def test_a_refused_picture_is_named_to_the_model_and_the_refusal_is_remembered(
    ask: Ask, backend: OpenAIBackend, model: PickyModel, status: int, words: str, hurry: Hurry
) -> None:
    model.dislikes, model.status, model.words = b"cat", status, words
    who = agent(model.base_url)
    assert backend.accepts(who) is None

    heard = await ask("Look", PICTURE)
    await ask("And this?", OTHER_PICTURE)

    first, second, third = (request["body"] for request in model.requests)
    assert [len(parts_of(body)) for body in (first, second, third)] == [1, 0, 0]
    assert second["messages"][0]["content"].startswith("Look\n\nAttached files, which you cannot read:\n- cat.png")
    [remark] = heard.of(Log)
    assert (remark.level, remark.notice) == ("warning", None)
    assert words[:30] in remark.message
    assert remark.message.endswith("trying once more with the names of the attached files in their place.")
    assert backend.accepts(who) == frozenset()

    hurry(memory.REMEMBERED_SECONDS)
    await ask("Look", OTHER_PICTURE)
    assert pictures_of(model.last_prompt["body"]), "after an hour it is tried again"


async def test_a_model_that_took_a_picture_is_known_to_take_them(
    ask: Ask, backend: OpenAIBackend, model: PickyModel
) -> None:
    await ask("Look", PICTURE)

    assert backend.accepts(agent(model.base_url)) == {FileKind.IMAGE}
    assert backend.accepts(agent(model.base_url, inputs=["text", "file"])) == {FileKind.PDF}


async def test_one_picture_that_is_refused_for_itself_does_not_shut_out_others(ask: Ask, model: PickyModel) -> None:
    model.dislikes, model.words = b"cat", BAD_PICTURE

    await ask("Look", PICTURE)
    await ask("And this?", OTHER_PICTURE)

    assert pictures_of(model.last_prompt["body"]) == [OTHER_PICTURE.content]


async def test_a_refusal_of_one_agent_does_not_count_for_another_whose_key_may_open_more(
    backend: OpenAIBackend, model: PickyModel
) -> None:
    poor = agent(model.base_url)
    model.dislikes = b"cat"
    await listen(backend, turn_with(poor, "Look", [PICTURE]))

    model.dislikes = None
    await listen(backend, turn_with(msgspec.structs.replace(poor, id="other"), "Look", [PICTURE]))

    assert pictures_of(model.last_prompt["body"]) == [PICTURE.content]


@asynccontextmanager
async def serve_small(refusal: bytes) -> AsyncIterator[tuple[str, list[int]]]:
    """Serve a model that reads no body of more than 1 MB; yield its URL, and the lengths of the bodies so far."""
    lengths: list[int] = []

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = await reader.readuntil(b"\r\n\r\n")
        lengths.append(int(re.search(rb"(?i)content-length: (\d+)", head)[1]))  # type: ignore[index]
        if lengths[-1] > 1_000_000:
            writer.write(refusal)
        else:
            await reader.readexactly(lengths[-1])
            writer.write(reply(chunk(content="fine") + end("stop") + DONE))
        await writer.drain()
        writer.close()

    async with await asyncio.start_server(respond, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1", lengths


@pytest.mark.parametrize("is_old", [False, True])
@pytest.mark.parametrize(
    ("refusal", "tries"),
    [
        (reply(b"<html>Request Entity Too Large</html>", "text/html", "413 Content Too Large"), 2),
        (b"", 3),  # it cuts the connection, which is tried again
    ],
    ids=["413", "cut"],
)
async def test_a_server_that_does_not_read_a_large_body_gets_it_without_the_files(
    backend: OpenAIBackend, refusal: bytes, tries: int, *, is_old: bool
) -> None:
    photo = attach("photo.png", "image/png", make_png("x" * 10_000_000))
    history = [said(Role.USER, "Look", "r1", photo), said(Role.ASSISTANT, "Nice.", "r1")] if is_old else []

    async with serve_small(refusal) as (url, lengths):
        given = turn_with(agent(url, retries=1), "Look", [] if is_old else [photo], history, [photo])
        heard = await listen(backend, given)

    assert (heard.answer, len(lengths)) == ("fine", tries)


@pytest.mark.parametrize(
    ("status", "words"),
    [
        (400, BAD_PICTURE),
        (400, "messages.0.content.1.image.source.base64: image exceeds 5 MB maximum: 6837216 bytes > 5242880 bytes"),
        (400, "Could not process image"),
        (400, "Unable to process input image. Please retry or report."),
        (400, "At most 1 image(s) may be provided in one request."),
        (400, "cannot identify image file <_io.BytesIO object at 0x7f>"),
        (500, "Failed to load image or audio file"),
        (400, "Your request was rejected as a result of our safety system: the image is sensitive."),
    ],
)
def test_a_refusal_of_one_file_is_told_from_a_refusal_of_all(status: int, words: str) -> None:
    found = find_refusal(status, words.lower(), {}, "refused", has_files=True)

    assert isinstance(found, FilesRefused)
    assert found.blames_content


@pytest.mark.parametrize(
    ("status", "words"),
    [
        *NO_PICTURES,
        (400, "At most 0 image(s) may be provided in one request."),
        (400, "llama is not a multimodal model"),
        (400, "Model does not support images. Please use a model that does."),
        (None, "image input is not enabled for this model"),
    ],
)
def test_a_refusal_of_all_files_blames_none_of_them(status: int | None, words: str) -> None:
    found = find_refusal(status, words.lower(), {}, "refused", has_files=True)

    assert isinstance(found, FilesRefused)
    assert not found.blames_content


@pytest.mark.parametrize(
    ("status", "words"),
    [(400, "this model's maximum context length is 4096 tokens"), (413, "request entity too large")],
)
def test_a_request_with_files_may_also_be_too_long(status: int, words: str) -> None:
    assert isinstance(find_refusal(status, words, {}, "refused", has_files=True), PromptTooLong)


@pytest.mark.parametrize(
    ("status", "words"),
    [(401, "invalid api key for image models"), (429, "image rate limit"), (400, "the model `x` does not exist")],
)
def test_other_errors_of_a_request_with_files_are_no_refusals_of_them(status: int, words: str) -> None:
    assert not isinstance(find_refusal(status, words, {}, "refused", has_files=True), FilesRefused)


async def test_an_error_that_the_files_do_not_cause_stays_as_it_is(ask: Ask, model: PickyModel) -> None:
    with pytest.raises(AgentError, match="scripted error 400"):
        await ask("[[error 400]]", PICTURE)
    with pytest.raises(AgentError, match="scripted error 401"):
        await ask("[[error 401]]", PICTURE)

    assert [len(pictures_of(request["body"])) for request in model.requests] == [1, 0, 1]


# --- files of earlier messages ----------------------------------------------------------------


async def test_pictures_of_earlier_messages_are_sent_again(ask: Ask, model: PickyModel) -> None:
    history = [said(Role.USER, "Look", "r1", PICTURE, LOG), said(Role.ASSISTANT, "A cat.", "r1", OTHER_PICTURE)]

    await ask("And now?", history=history, old=[PICTURE, OTHER_PICTURE, LOG])

    first, answer, last = model.requests[0]["body"]["messages"]
    assert first["content"][0]["text"].startswith("Look\n\ncrash.log (text/plain, 21 bytes):\n```\nline 1")
    assert answer["content"] == f"A cat.\n[attached: dog.png (image/png, {OTHER_PICTURE.file.size} bytes)]"
    assert [part["type"] for part in last["content"]] == ["text", "image_url"], "servers refuse it in an answer"
    assert pictures_of(model.requests[0]["body"]) == [PICTURE.content, OTHER_PICTURE.content]


async def test_a_picture_that_can_no_longer_be_read_is_named(ask: Ask, model: PickyModel) -> None:
    await ask("And now?", history=[said(Role.USER, "Look", "r1", PICTURE), said(Role.ASSISTANT, "A cat.", "r1")])

    assert model.requests[0]["body"]["messages"][0]["content"].startswith("Look\n[attached: cat.png (image/png")


async def test_an_earlier_message_with_a_file_and_no_words_is_not_lost(ask: Ask, model: PickyModel) -> None:
    history = [said(Role.USER, "", "r1", PDF), said(Role.ASSISTANT, "What about it?", "r1")]

    await ask("Read it", history=history, old=[PDF])

    assert model.requests[0]["body"]["messages"][0]["content"].startswith("[attached: report.pdf")


async def test_the_newest_earlier_pictures_are_sent_within_their_number_and_size(ask: Ask, model: PickyModel) -> None:
    pictures = [attach(f"{n}.png", "image/png", make_png(str(n))) for n in range(20)]
    large = attach("large.png", "image/png", make_png("x" * files.MAX_OLD_BYTES))
    history = [
        part
        for n, picture in enumerate([*pictures, large])
        for part in (said(Role.USER, f"No. {n}", f"r{n}", picture), said(Role.ASSISTANT, "ok", f"r{n}"))
    ]

    await ask("And now?", PICTURE, history=history, old=[*pictures, large], context_tokens=1_000_000)

    body = model.requests[0]["body"]
    newest = [picture.content for picture in pictures[-files.MAX_REQUEST_FILES + 1 :]]
    assert pictures_of(body) == [*newest, PICTURE.content]
    assert "[attached: large.png" in read_requests([body]).text
    assert "[attached: 0.png" in read_requests([body]).text


async def test_pictures_count_in_the_budget_of_tokens(ask: Ask, model: PickyModel) -> None:
    pictures = [attach(f"{n}.png", "image/png", make_png(str(n))) for n in range(5)]
    history = [
        part
        for n, picture in enumerate(pictures)
        for part in (said(Role.USER, f"No. {n}", f"r{n}", picture), said(Role.ASSISTANT, "ok", f"r{n}"))
    ]

    await ask("And now?", history=history, old=pictures, context_tokens=8_000)  # 6,000 without the answer

    body = model.requests[0]["body"]
    assert pictures_of(body) == [pictures[3].content, pictures[4].content], "half of the budget"
    assert len(body["messages"]) == 11, "the words of all turns fit"


async def test_an_old_picture_does_not_push_its_words_out(ask: Ask, model: PickyModel) -> None:
    history = [said(Role.USER, "Look", "r1", PICTURE), said(Role.ASSISTANT, "A cat.", "r1")]

    await ask("And now?", OTHER_PICTURE, history=history, old=[PICTURE], context_tokens=4_000)

    first, answer, last = model.requests[0]["body"]["messages"]
    assert first["content"].startswith("Look\n[attached: cat.png")
    assert answer["content"] == "A cat."
    assert [part["type"] for part in last["content"]] == ["text", "image_url"]


async def test_an_old_picture_never_makes_a_text_fail(ask: Ask, model: PickyModel) -> None:
    model.dislikes, model.words = b"cat", BAD_PICTURE
    history = [said(Role.USER, "Look", "r1", PICTURE), said(Role.ASSISTANT, "A cat.", "r1")]

    heard = await ask("And this?", OTHER_PICTURE, history=history, old=[PICTURE])
    await ask("And now?", history=history, old=[PICTURE])

    first, second, third = (request["body"] for request in model.requests)
    assert (len(pictures_of(first)), pictures_of(second)) == (2, [OTHER_PICTURE.content])
    assert not pictures_of(third), "a picture that was refused is not sent again"
    [remark] = heard.of(Log)
    assert remark.notice is Notice.CONTEXT_SHORTENED
    assert "without the files of earlier messages" in remark.message


async def test_a_server_that_breaks_at_an_old_picture_gets_the_text_alone(ask: Ask, model: PickyModel) -> None:
    model.dislikes, model.status, model.words = b"cat", 500, "internal error"
    history = [said(Role.USER, "Look", "r1", PICTURE), said(Role.ASSISTANT, "A cat.", "r1")]

    heard = await ask("And now?", history=history, old=[PICTURE], retries=1)

    assert heard.answer == "echo: And now?"
    assert [len(pictures_of(request["body"])) for request in model.requests] == [1, 1, 0]


def test_a_file_of_a_refused_prompt_is_left_out_with_it() -> None:
    refused = msgspec.structs.replace(said(Role.USER, "poison", "r1", PICTURE), is_refused=True)

    built = build_context(turn(agent("http://127.0.0.1:1/v1"), "again"), [refused], 1000)

    assert [one["content"] for one in built.messages] == ["again"]


# --- the option -------------------------------------------------------------------------------


@pytest.mark.parametrize("inputs", [[], ["image"], ["text", "smell"]])
def test_inputs_must_hold_text_and_known_words(inputs: list[str]) -> None:
    with pytest.raises(msgspec.ValidationError):
        msgspec.convert({"inputs": inputs}, Options)


async def test_what_a_model_shall_write_is_asked_for(ask: Ask, model: PickyModel) -> None:
    await ask("Draw", outputs=["text", "image"])

    assert model.requests[0]["body"]["modalities"] == ["text", "image"]
