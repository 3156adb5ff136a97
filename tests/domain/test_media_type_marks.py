"""The types of files by the marks at their beginning: those that `puremagic` finds."""

from __future__ import annotations

import random

import puremagic
import pytest
from puremagic import main as magic

from gateway.domain import media_type
from gateway.domain.media_type import SNIFFED_BYTES


def ask_puremagic(beginning: bytes) -> list[str]:
    try:
        found = puremagic.magic_string(beginning)
    except (puremagic.PureError, ValueError):
        return []
    return [plain for match in found if (plain := media_type._normalize(match.mime_type))]


def make_beginnings() -> list[bytes]:
    """Return a beginning for every mark that lies in it, between bytes that have no other mark."""
    dice = random.Random("moon")
    made = []
    for row in magic.magic_header_array:
        if (end := row.offset + len(row.byte_match)) <= SNIFFED_BYTES:
            noise = dice.randbytes(SNIFFED_BYTES)
            made.append(noise[: row.offset] + row.byte_match + noise[end : end + dice.choice((0, 7, SNIFFED_BYTES))])
    return made


def test_each_mark_means_what_puremagic_says() -> None:
    wrong = [one[:40] for one in make_beginnings() if media_type._sniff(one) != ask_puremagic(one)]

    assert wrong == []


@pytest.mark.parametrize("beginning", [b"", b"x", b"plain text", b"text that ends as a picture</svg>", bytes(4096)])
def test_bytes_without_a_mark_at_their_beginning_mean_what_puremagic_says(beginning: bytes) -> None:
    assert media_type._sniff(beginning) == ask_puremagic(beginning)
