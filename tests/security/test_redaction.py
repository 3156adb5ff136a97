"""Secrets in texts for people."""

from __future__ import annotations

import pytest

from gateway.security.redaction import hide_secret


def test_a_secret_is_hidden_wherever_it_stands() -> None:
    assert hide_secret("the key sk-1234 is not sk-1234", "sk-1234") == "the key *** is not ***"


@pytest.mark.parametrize("key", ["", "x", "no", "key"])
def test_a_key_of_a_few_letters_does_not_mangle_the_words(key: str) -> None:
    assert hide_secret("no such key: x", key) == "no such key: x"
