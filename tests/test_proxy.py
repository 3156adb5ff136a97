"""The proxy for requests to servers outside."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from gateway.errors import ConfigError
from gateway.proxy import choose_proxy

URL = "https://api.telegram.org"


@pytest.mark.parametrize(
    ("environ", "setting", "expected"),
    [
        ({}, None, None),
        ({"HTTPS_PROXY": "http://p:3128"}, None, "http://p:3128"),
        ({"https_proxy": "http://q:3128", "HTTPS_PROXY": "http://p:3128"}, None, "http://q:3128"),
        ({"ALL_PROXY": "http://p:3128"}, None, "http://p:3128"),
        ({"ALL_PROXY": "socks5://s:1080", "HTTPS_PROXY": "http://p:3128"}, None, "http://p:3128"),
        ({"HTTP_PROXY": "http://p:3128"}, None, None),
        ({"HTTPS_PROXY": "p:3128"}, None, "http://p:3128"),
        ({"HTTPS_PROXY": "http://p:3128", "NO_PROXY": "example.com,.telegram.org"}, None, None),
        ({"HTTPS_PROXY": "http://p:3128", "no_proxy": "*"}, None, None),
        ({"HTTPS_PROXY": "http://p:3128", "no_proxy": "*"}, "http://r:1", "http://r:1"),
        ({"HTTPS_PROXY": ""}, None, None),
    ],
)
def test_the_proxy_is_the_setting_s_or_the_environment_s(
    environ: Mapping[str, str], setting: str | None, expected: str | None
) -> None:
    assert choose_proxy(URL, environ, setting) == expected


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:11434/v1", "http://localhost:1", "http://[::1]:8080", "http://127.9.9.9"]
)
def test_this_machine_is_reached_directly(url: str) -> None:
    everywhere = {"HTTP_PROXY": "http://p:3128", "ALL_PROXY": "http://p:3128"}

    assert choose_proxy(url, everywhere, "http://p:3128") is None


@pytest.mark.parametrize("proxy", ["socks5://s:1080", "ftp://x", "http://", "http://p:port", "http://[::1"])
def test_a_proxy_that_cannot_be_used_is_told_with_its_variable(proxy: str) -> None:
    with pytest.raises(ConfigError, match="ALL_PROXY: only http"):
        choose_proxy(URL, {"ALL_PROXY": proxy})
