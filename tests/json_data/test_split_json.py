"""JSON that holds files, whose contents are read while it is sent."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from gateway.json_data.split_json import SplitJson


@dataclass
class Long:
    text: str

    async def read(self) -> AsyncIterator[bytes]:
        for letter in self.text:
            yield letter.encode()


async def test_each_object_becomes_its_text_whatever_is_around_it() -> None:
    split = SplitJson({"a": [Long("one"), 'quote " ü\ud83d'], "b": Long(""), "c": {"d": Long("two")}}, Long)

    sent = b"".join([piece async for piece in split.stream(Long.read)])

    assert json.loads(sent) == {"a": ["one", 'quote " ü\ud83d'], "b": "", "c": {"d": "two"}}
    assert [long.text for long in split.texts] == ["one", "", "two"]
    assert split.frame_bytes == len(sent) - len("onetwo")


def test_another_object_is_refused() -> None:
    with pytest.raises(TypeError, match="object is no JSON value"):
        SplitJson({"a": object()}, Long)
