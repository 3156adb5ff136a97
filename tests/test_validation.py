"""What is wrong with a value is told in words, not in those of the library that checks it."""

from __future__ import annotations

from typing import Annotated

import msgspec
import pytest
from msgspec import Meta

from gateway.api.fields import WebhookSecret
from gateway.domain import ids
from gateway.validation import explain_error


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        (
            Annotated[str, Meta(pattern=ids.SLUG_PATTERN)],
            "must begin with a letter or digit, and have only letters, digits and . _ @ - (1 to 64 characters)",
        ),
        (
            Annotated[str, Meta(pattern=ids.MODEL_PATTERN)],
            "must begin with a letter or digit, and have only letters, digits and _ . / : @ - (1 to 128 characters)",
        ),
        (
            Annotated[str, Meta(pattern=r"^https?://[^\s/?#]+/?$(?!\n)")],
            "must be the address of a server, http:// or https://, without spaces",
        ),
        (Annotated[str, Meta(pattern=r"^[^\x00]*$(?!\n)")], "must have no NUL character"),
        (Annotated[str, Meta(pattern=r"^[0-9]{1,18}$(?!\n)")], "must have the form [0-9]{1,18}"),
        (WebhookSecret, "must have the form whsec_[A-Za-z0-9+/]{32,128}={0,2}"),
    ],
)
def test_a_text_that_does_not_fit_its_pattern_is_told_in_words(kind: type[str], told: str) -> None:
    struct = msgspec.defstruct("Body", [("name", kind)])
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"name": "# \x00"}, struct)

    assert explain_error(caught.value, struct, "the body") == f"name: {told}"


@pytest.mark.parametrize(
    ("kind", "value", "told"),
    [
        (int, "x", "expected a whole number, got text"),
        (Annotated[int, Meta(le=10)], 11, "expected a whole number <= 10"),
        (bool | None, 1, "expected true or false or null, got a whole number"),
        (Annotated[str, Meta(max_length=2)], "abc", "expected text of length <= 2"),
        (list[float], {}, "expected a list, got an object"),
        (dict[str, str], [], "expected an object, got a list"),
        (float, True, "expected a number, got true or false"),
    ],
)
def test_types_are_told_in_words(kind: type[object], value: object, told: str) -> None:
    struct = msgspec.defstruct("Body", [("name", kind)])
    with pytest.raises(msgspec.ValidationError) as caught:
        msgspec.convert({"name": value}, struct)

    assert explain_error(caught.value, struct, "the body") == f"name: {told}"
