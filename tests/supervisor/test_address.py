"""A changed address: a new port is bound; a new host on the same port is refused with a remedy."""

from __future__ import annotations

import pytest

from gateway.errors import PortTaken
from gateway.supervisor import port
from gateway.supervisor.address import ListenAddress, choose_connect_host


def test_the_same_address_keeps_its_socket() -> None:
    with port.bind_port("127.0.0.1", 0) as present:
        number = present.getsockname()[1]

        assert ListenAddress("127.0.0.1", number, lambda *_: None).bind_if_changed(present, "127.0.0.1", number) is None


def test_another_port_is_bound(free_port: int) -> None:
    with port.bind_port("127.0.0.1", 0) as present:
        bound = ListenAddress("127.0.0.1", present.getsockname()[1], lambda *_: None).bind_if_changed(
            present, "127.0.0.1", free_port
        )

    assert bound is not None
    with bound:
        assert bound.getsockname()[1] == free_port


def test_another_host_on_the_same_port_is_refused_with_a_remedy() -> None:
    with port.bind_port("127.0.0.1", 0) as present:
        present.listen()
        number = present.getsockname()[1]

        with pytest.raises(PortTaken, match=r"cannot be changed to 0\.0\.0\.0 while port") as raised:
            ListenAddress("127.0.0.1", number, lambda *_: None).bind_if_changed(present, "0.0.0.0", number)

    assert raised.value.remedy == "Stop it, and start it again: gateway stop, then: gateway start"


def test_the_bound_address_is_announced() -> None:
    announced: list[tuple[str, int]] = []
    address = ListenAddress("127.0.0.1", 1, lambda *told: announced.append(told))
    with port.bind_port("127.0.0.1", 0) as present:
        bound = address.bind_if_changed(present, "localhost", 0)
        assert bound is not None
        with bound:
            address.confirm_move(bound)
            assert announced == [("localhost", bound.getsockname()[1])]

    assert address.configured == ("localhost", 0)


@pytest.mark.parametrize(
    ("listen", "connect"),
    [
        ("0.0.0.0", "127.0.0.1"),
        ("::", "::1"),
        ("[::]", "::1"),
        ("", "127.0.0.1"),
        ("[::1]", "::1"),
        ("192.0.2.1", "192.0.2.1"),
        ("example.org", "example.org"),
    ],
)
def test_the_host_to_connect_to(listen: str, connect: str) -> None:
    assert choose_connect_host(listen) == connect
