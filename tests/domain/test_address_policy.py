"""The addresses that webhooks may be sent to."""

from __future__ import annotations

import pytest

from gateway.domain.address_policy import AddressPolicy, WebhookUse
from gateway.errors import ConfigError, InvalidRequest

LOCAL = AddressPolicy(loopback_only=True)
OPEN = AddressPolicy(loopback_only=False)

#: addresses in this machine's own network, and addresses that no host has
LOOPBACK = [
    "127.0.0.1",
    "127.8.8.8",
    "::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::1",
    "::ffff:0:127.0.0.1",
]
PRIVATE = [
    *["10.0.0.1", "172.16.0.1", "172.31.255.255", "192.168.1.1", "100.64.0.1", "198.18.0.1", "192.0.2.1", "192.0.0.8"],
    *["fc00::1", "fd12:3456::1", "fec0::1", "2001:db8::1", "::ffff:10.0.0.1", "64:ff9b::a00:1", "2002:c0a8:101::1"],
    *["64:ff9b:1::1", "::ffff:0:10.0.0.1", "::ffff:0:c0a8:101"],
]
NEVER = [
    *["0.0.0.0", "0.1.2.3", "169.254.169.254", "169.254.0.1", "224.0.0.1", "255.255.255.255", "240.0.0.1"],
    *["100.100.100.200", "168.63.129.16", "::", "fe80::1", "fe80::1%eth0", "ff02::1", "fd00:ec2::254", "2001::1"],
    *["::ffff:169.254.169.254", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1", "::7f00:1", "100::1"],
    *["::ffff:0:169.254.169.254", "::ffff:0:0:0", "100:0:0:1::1", "2001:10::1", "2001:20::1"],
]
PUBLIC = [
    "93.184.216.34",
    "8.8.8.8",
    "172.32.0.1",
    "2606:2800:220:1::1",
    "64:ff9b::808:808",
    "2002:808:808::1",
    "::ffff:0:808:808",
]


@pytest.mark.parametrize("address", PUBLIC)
def test_a_public_address_may_be_sent_to(address: str) -> None:
    assert OPEN.explain_refusal("example.org", address) is None


@pytest.mark.parametrize("address", LOOPBACK + PRIVATE + NEVER)
def test_any_other_address_may_not_be_sent_to(address: str) -> None:
    assert OPEN.explain_refusal("example.org", address) is not None


@pytest.mark.parametrize("address", LOOPBACK)
def test_loopback_may_be_named_while_the_gateway_listens_only_there(address: str) -> None:
    assert LOCAL.explain_refusal(address, address) is None
    assert LOCAL.explain_refusal("LocalHost", address) is None


@pytest.mark.parametrize("host", ["example.org", "2130706433", "0x7f.1", "127.0.0.1.nip.example"])
def test_a_host_name_that_resolves_to_loopback_is_refused(host: str) -> None:
    assert (
        LOCAL.explain_refusal(host, "127.0.0.1")
        == "127.0.0.1 is a loopback address, and webhooks.allow_private does not list it"
    )


@pytest.mark.parametrize("address", PRIVATE + NEVER)
def test_listening_on_loopback_opens_no_other_network(address: str) -> None:
    assert LOCAL.explain_refusal("localhost", address) is not None


def test_private_networks_and_hosts_can_be_allowed() -> None:
    reach = AddressPolicy.from_allow_list(["10.0.0.0/8", "fd12::/16", "Build.Example"], local=False)

    assert reach.explain_refusal("x", "10.1.2.3") is None
    assert reach.explain_refusal("x", "64:ff9b::a01:203") is None
    assert reach.explain_refusal("x", "fd12::1") is None
    assert reach.explain_refusal("build.example", "192.168.0.1") is None
    assert (
        reach.explain_refusal("other.example", "192.168.0.1")
        == "192.168.0.1 is a private address, and webhooks.allow_private does not list it"
    )


@pytest.mark.parametrize("address", NEVER)
def test_some_addresses_are_refused_whatever_the_settings_allow(address: str) -> None:
    reach = AddressPolicy.from_allow_list(["0.0.0.0/0", "::/0", "example.org"], local=True)

    assert (
        reach.explain_refusal("example.org", address, trusted=True)
        == f"{address} is an address that webhooks are never sent to"
    )


@pytest.mark.parametrize("address", LOOPBACK + PRIVATE)
def test_an_address_from_the_configuration_is_trusted(address: str) -> None:
    assert OPEN.explain_refusal("example.org", address, trusted=True) is None


@pytest.mark.parametrize("entry", ["", "10.0.0.1/8", "http://x", "a b", "b\u00fccher"])
def test_an_entry_that_is_neither_a_host_nor_a_network_is_refused(entry: str) -> None:
    with pytest.raises(ConfigError, match=r"webhooks\.allow_private"):
        AddressPolicy.from_allow_list([entry], local=True)


def test_a_url_with_a_forbidden_address_is_refused_at_once() -> None:
    with pytest.raises(InvalidRequest, match=r"10\.0\.0\.1 is a private address"):
        LOCAL.make_webhook_target("https://10.0.0.1/hook")
    assert LOCAL.make_webhook_target("https://[::1]:8080/hook").address == "https://[::1]:8080/hook"


@pytest.mark.parametrize(
    "url",
    [
        "ftp://example.org/",
        "example.org/hook",
        "http://",
        "http://user:secret@example.org/",
        "http://user@example.org/",
        "http://example.org:99999/",
        "http://exa mple.org/",
        "http://example.org/\r\nX: y",
        "http://b\u00fccher.example/",
        "http://[::1/",
        "javascript:alert(1)",
        "http://example.org/" + "x" * 2048,
        "http://169.254.169.254/latest/meta-data/",
        "http://10.0.0.1/",
        *["http://example.org/a b", "http://example.org/a\\b", "http://example.org\\@10.0.0.1/"],
        "http://[fe80::1]/",
        *["http://127.1/", "http://2130706433/", "http://0/", "http://8.8.8.8./", "http://1.2.3.4.5/", "http://./"],
        *["http://a..example/", "http://.example/", f"http://{'a' * 64}.example/", f"http://{'a.' * 127}aa/"],
        *["http://%31/", "http://a(b)/", "http://[v1.x]/", "http://[1]/"],
        "",
    ],
)
def test_an_invalid_webhook_url_is_refused(url: str) -> None:
    with pytest.raises(InvalidRequest, match="webhook: "):
        LOCAL.make_webhook_target(url)


@pytest.mark.parametrize(
    "host",
    [
        *["example.org", "EXAMPLE.org.", "a_b.example", "xn--bcher-kva.example", "x", "1and1.example", "a--b.example"],
        *["8.8.8.8", "[2606:4700::1111]", "[::ffff:8.8.8.8]", f"{'a' * 63}.example", "0x7f000001"],
    ],
)
def test_a_host_that_can_be_looked_up_is_accepted(host: str) -> None:
    assert LOCAL.make_webhook_target(f"https://{host}:8443/hook").address == f"https://{host}:8443/hook"


def test_localhost_in_a_url_is_refused_at_once_when_others_reach_the_gateway() -> None:
    assert LOCAL.make_webhook_target("http://localhost:9/hook").address == "http://localhost:9/hook"
    for url in ("http://localhost:9/hook", "http://LocalHost/", "http://127.0.0.1/"):
        with pytest.raises(InvalidRequest, match=r"127\.0\.0\.1 is a loopback address"):
            OPEN.make_webhook_target(url)


def test_webhooks_in_use_that_the_settings_refuse_are_named_with_the_reason() -> None:
    uses = [
        WebhookUse(schedule=("a1", "nightly"), address="http://127.0.0.1:9/hook"),
        WebhookUse(schedule=("b2", ""), address="http://localhost/hook"),
        WebhookUse(schedule=("c3", ""), address="https://example.org/"),
        WebhookUse(address="http://10.0.0.1:80"),
        WebhookUse(address="http://inside.example", refusal="10.0.0.2 is a private address"),
        WebhookUse(address="http://8.8.8.8", refusal="of settings that are gone"),
    ]

    assert [str(one) for one in OPEN.find_refused(uses)] == [
        "the schedule 'nightly' (a1), webhook http://127.0.0.1:9/hook: "
        "127.0.0.1 is a loopback address, and webhooks.allow_private does not list it",
        "the schedule b2, webhook http://localhost/hook: "
        "127.0.0.1 is a loopback address, and webhooks.allow_private does not list it",
        "deliveries to http://10.0.0.1:80: 10.0.0.1 is a private address, and webhooks.allow_private does not list it",
        "deliveries to http://inside.example: 10.0.0.2 is a private address",
    ]
    assert [one.use.address for one in LOCAL.find_refused(uses)] == ["http://10.0.0.1:80", "http://inside.example"]
    allowing = AddressPolicy.from_allow_list(["10.0.0.0/8", "inside.example"], local=True)
    assert allowing.find_refused(uses) == []
