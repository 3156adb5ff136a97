"""What people are told about a browser."""

from __future__ import annotations

import pytest

from gateway.api.user_agent import describe_browser, describe_client

WEBKIT = "AppleWebKit/537.36 (KHTML, like Gecko)"


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox on Linux"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chrome/140.0.0.0 Safari/537.36", "Chrome on Linux"),
        (f"Mozilla/5.0 (X11; Linux x86_64) {WEBKIT} Chromium/140 Chrome/140 Safari/537.36", "Chromium on Linux"),
        (f"Mozilla/5.0 (Windows NT 10.0; Win64) {WEBKIT} Chrome/140.0 Safari/537.36 Edg/140.0", "Edge on Windows"),
        (f"Mozilla/5.0 (Linux; Android 14; Pixel 8) {WEBKIT} Chrome/140 Mobile Safari/537.36", "Chrome on Android"),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 18_0 like Mac OS X) Version/18.0 Mobile Safari/604.1", "Safari on iPhone"),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) Version/18.0 Safari/605.1.15", "Safari on macOS"),
        (f"Mozilla/5.0 (X11; CrOS x86_64 14541.0.0) {WEBKIT} Chrome/140.0 Safari/537.36", "Chrome on ChromeOS"),
        ("curl/8.5", "a browser"),
        ("", "a browser"),
        ("\udcff\x1b[31m" * 100_000, "a browser"),
    ],
)
def test_a_browser_is_named_in_words_of_ours(header: str, said: str) -> None:
    assert describe_browser(header) == said


@pytest.mark.parametrize(
    ("header", "said"),
    [
        ("Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0", "Firefox on Linux"),
        ("gateway/0.1.0", "gateway/0.1.0"),
        ("", ""),
        ("a\x1b[31m\u202e" + "x" * 100, "a\ufffd[31m\ufffd" + "x" * 53),
        ("\udcff", "?"),
    ],
)
def test_a_program_is_named_as_it_names_itself(header: str, said: str) -> None:
    assert describe_client(header) == said
