"""Which version is newer, and which is the newest."""

from __future__ import annotations

import pytest

from gateway.updates import versions


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("0.2.0", "0.3.0"),
        ("0.9.0", "0.10.0"),
        ("1.0.0rc1", "1.0.0"),
        ("1.0.0a2", "1.0.0b1"),
        ("1.0.0", "1.0.0.post1"),
        ("1.0", "1.0.1"),
    ],
)
def test_versions_have_an_order(older: str, newer: str) -> None:
    assert versions.is_newer(newer, older)
    assert not versions.is_newer(older, newer)


@pytest.mark.parametrize("other", ["1.0", "1.0.0", "v1.0.0"])
def test_the_same_version_is_not_newer(other: str) -> None:
    assert not versions.is_newer(other, "1.0.0")


@pytest.mark.parametrize(
    "text", ["", "latest", "1.0.0.dev3", "1.0.0+local", "../1.0", "1" * 5 + "x", "1" * 5000, "\u0663.0"]
)
def test_what_is_no_version_is_never_newer(text: str) -> None:
    assert not versions.is_newer(text, "0.0.1")


def test_the_newest_is_a_release() -> None:
    assert versions.choose_newest(["0.2.0", "0.10.0", "1.0.0rc1", "nonsense"]) == "0.10.0"
    assert versions.choose_newest(["1.0.0rc1"]) is None
