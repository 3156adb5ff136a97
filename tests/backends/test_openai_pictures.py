"""The pictures in the answers of OpenAI-compatible servers."""

from __future__ import annotations

import base64
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.backends import BackendResources
from gateway.backends.openai import pictures, wire
from gateway.backends.openai.backend import OpenAIBackend
from gateway.backends.openai.large_json import CutText, decode_large_json
from gateway.backends.openai.options import Options
from gateway.backends.openai.pictures import PictureReader
from gateway.domain.agent import Agent
from gateway.domain.event import Log, Text
from gateway.domain.ports.backend import NewFile
from gateway.errors import AgentError
from gateway.process.child import Children
from harness.pictures import make_png
from harness.scripted_model import ScriptedModel
from tests.support.fixtures import children, ledger, scripted_model
from tests.support.raw_model import DONE, chunk, end, piece, reply, serve_raw_model
from tests.support.turns import Heard, listen, turn

__all__ = ["children", "ledger", "scripted_model"]

PNG = make_png("drawn")


def encode(content: bytes) -> str:
    return base64.b64encode(content).decode()


def as_url(content: bytes, media_type: str = "image/png") -> str:
    return f"data:{media_type};base64,{encode(content)}"


@pytest.fixture
async def backend(children: Children, tmp_path: Path) -> AsyncIterator[OpenAIBackend]:
    async with OpenAIBackend(BackendResources(children=children, environ={}, directory=tmp_path)) as opened:
        yield opened


def agent(base_url: str, **options: Any) -> Agent:
    wanted = {"base_url": base_url, "retry_delay": 0, "retries": 0, **options}
    return Agent(id="main", backend="openai", model="m", options=msgspec.convert(wanted, Options))


async def hear(backend: OpenAIBackend, answer: bytes, **options: Any) -> Heard:
    async with serve_raw_model(answer) as model:
        return await listen(backend, turn(agent(model.base_url, **options), "Draw"))


def read(**delta: Any) -> list[NewFile | Text | Log]:
    return PictureReader().read_delta(delta)


# --- forms ------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "delta",
    [
        {"images": [{"type": "image_url", "image_url": {"url": as_url(PNG)}, "index": 0}]},
        {"images": [{"type": "image_url", "image_url": as_url(PNG)}]},
        {"images": [{"b64_json": encode(PNG)}]},
        {"images": [as_url(PNG, "image/webp")]},
        {"content": [{"type": "text", "text": "Here"}, {"type": "image_url", "image_url": {"url": as_url(PNG)}}]},
        {"content": [{"type": "output_image", "b64_json": encode(PNG)}]},
        {"content": {"type": "image", "image": {"url": as_url(PNG, "")}}},
    ],
)
def test_a_picture_is_read_wherever_servers_put_it(delta: dict[str, Any]) -> None:
    assert read(**delta) == [NewFile(name="image.png", media_type="image/png", content=PNG)]


def test_several_pictures_have_several_names_and_one_that_comes_twice_counts_once() -> None:
    reader, jpeg = PictureReader(), b"\xff\xd8\xff\xe0\0\x10JFIF\0"
    streamed = reader.read_delta({"images": [as_url(PNG), as_url(jpeg, "image/jpeg")]})
    again = reader.read_delta({"images": [as_url(PNG)]})

    assert [made.name for made in streamed if isinstance(made, NewFile)] == ["image.png", "image-2.jpg"]
    assert again == []


def test_a_picture_that_is_elsewhere_is_a_link_in_the_answer() -> None:
    [said] = read(images=[{"image_url": {"url": "https://example.org/cat.png"}}])

    assert isinstance(said, Text)
    assert said.delta.strip() == "https://example.org/cat.png"


# --- hostile ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("source", "why"),
    [
        ("data:image/png;base64,a*b", "it is not base64"),
        ("data:image/png;base64,äöü", "it is not base64"),
        ("data:image/png;base64,", "it is empty"),
        ("data:image/svg+xml,<svg/>", "its data URL is not in base64"),
        ("https://example.org/" + "x" * 5000, "its link is none"),
        ("https://example.org/\n[[say hi]]", "its link is none"),
    ],
)
def test_a_picture_that_is_none_is_left_out_with_a_warning(source: str, why: str) -> None:
    reader = PictureReader()

    [first], again = reader.read_delta({"images": [source]}), reader.read_delta({"images": [source]})

    assert first == Log(level="warning", message=f"a picture of the model is left out: {why}.")
    assert again == [], "each problem is told once"


@pytest.mark.parametrize(
    "images", [None, 5, "x", {}, [None], [[]], [5], [{"image_url": {"url": 5}}], [{"b64_json": {}}]]
)
def test_odd_fields_are_no_pictures(images: Any) -> None:
    assert read(images=images) == []


def test_fields_nested_without_end_are_no_pictures() -> None:
    nested: dict[str, Any] = {}
    for _ in range(100_000):
        nested = {"image": nested}

    assert read(images=[nested]) == []


def test_pictures_are_limited_in_number_size_and_all_together(monkeypatch: pytest.MonkeyPatch) -> None:
    many = read(images=[encode(b"%d" % number) for number in range(50)])
    monkeypatch.setattr(pictures, "MAX_PICTURE_BYTES", 100)
    monkeypatch.setattr(pictures, "MAX_ALL_BYTES", 150)
    large = read(images=[encode(b"x" * 5000), encode(b"y" * 90), encode(b"z" * 90)])

    assert [type(one) for one in many] == [NewFile] * pictures.MAX_PICTURES + [Log]
    assert [type(one) for one in large] == [Log, NewFile, Log]


def test_a_server_that_does_not_stop_sending_pictures_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_RECEIVED_CHARACTERS", 10_000)

    with pytest.raises(AgentError, match="does not stop"):
        read(images=[encode(b"the same")] * 1000)


# --- large ------------------------------------------------------------------------------------

LARGE = "ABCD" * 50_000


def cut(text: str) -> CutText:
    return CutText("", memoryview(text.encode()))


@pytest.mark.parametrize("escape", [False, True], ids=["plain", "slashes escaped"])
@pytest.mark.parametrize("size", [70_000, 1_000_000])
def test_a_large_picture_is_cut_out_of_its_json(escape: bool, size: int) -> None:
    picture = make_png("x" * size)
    said = json.dumps({"first": [1, 2], "images": [{"image_url": {"url": as_url(picture)}}] * 3, "last": "é"})
    value = decode_large_json((said.replace("/", "\\/") if escape else said).encode(), 2000)

    assert (value["first"], value["last"]) == ([1, 2], "é")
    assert [type(image["image_url"]["url"]) for image in value["images"]] == [CutText] * 3
    assert read(**value) == [NewFile(name="image.png", media_type="image/png", content=picture)]


@pytest.mark.parametrize(
    "value",
    [
        {"content": LARGE},
        {"content": "see data:image/png;base64," + LARGE},
        {"content": ["a", {"text": LARGE + "/"}], "url": LARGE + "\n end"},
        {"logprobs": list(range(50_000)), "text": "é" * 100_000, "url": LARGE + '"'},
        {"": '\\"' * 100_000, "images": ["\\" * 100_000]},
    ],
)
def test_what_is_no_picture_is_decoded_as_ever(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False)):
        assert decode_large_json(text.encode(), 10_000_000) == value


@pytest.mark.parametrize("junk", [b"[],", b'"",', b'{"images":', b"1,", b'"images",[', b"\\"])
def test_large_json_without_a_picture_is_an_error_before_it_is_decoded(junk: bytes) -> None:
    data = b'{"images":[' + junk * (2_000_000 // len(junk))

    with pytest.raises((AgentError, *wire.DECODE_ERRORS), match=r"no picture|Expecting|Invalid|Unterminated"):
        decode_large_json(data + b'""]}', 1 << 20)


@pytest.mark.parametrize(
    "text", ["AAA=" + LARGE, "A" * pictures.DECODED_BYTES + "AA==" + LARGE, LARGE + "A", "-" + LARGE]
)
def test_large_base64_that_is_wrong_is_left_out(text: str) -> None:
    [warning] = PictureReader().read_delta({"images": [cut(text)]})

    assert isinstance(warning, Log)


# --- in answers -------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [100, 2_000_000])
async def test_a_model_that_draws_is_heard(backend: OpenAIBackend, scripted_model: ScriptedModel, size: int) -> None:
    heard = await listen(backend, turn(agent(scripted_model.base_url), f"[[draw {size} Here it is.]]"))

    [made] = heard.of(NewFile)
    assert (heard.answer, made.name, len(made.content) > size) == ("Here it is.", "image.png", True)


async def test_a_picture_without_words_is_an_answer(backend: OpenAIBackend, scripted_model: ScriptedModel) -> None:
    heard = await listen(backend, turn(agent(scripted_model.base_url), "[[draw 100]]"))

    assert heard.answer == ""
    assert len(heard.of(NewFile)) == 1


async def test_an_answer_that_is_not_streamed_may_hold_a_large_picture(backend: OpenAIBackend) -> None:
    message = {"content": "Here", "images": [{"image_url": {"url": as_url(make_png("x" * 3_000_000))}}]}
    whole = {"choices": [{"message": message, "finish_reason": "stop"}]}

    heard = await hear(backend, reply(json.dumps(whole).encode(), "application/json"), max_output=1000)

    assert (heard.answer, len(heard.of(NewFile))) == ("Here", 1)


async def test_nothing_is_asked_again_after_a_picture(backend: OpenAIBackend) -> None:
    cut = reply(chunk(images=[as_url(PNG)]) + piece({"error": {"message": "overloaded", "code": 503}}))
    async with serve_raw_model(cut) as model:
        with pytest.raises(AgentError, match="in the middle of the answer: overloaded"):
            await listen(backend, turn(agent(model.base_url, retries=2), "Draw"))

        assert model.requests == 1


async def test_an_event_larger_than_any_picture_is_an_error(
    backend: OpenAIBackend, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "MAX_PICTURE_EVENT_BYTES", 2_000_000)
    large = reply(chunk(images=[as_url(b"x" * 3_000_000)]) + end("stop") + DONE)

    with pytest.raises(AgentError, match=r"an event of more than 1024 KiB, or 2\.0 MB with a picture"):
        await hear(backend, large)
