"""A changed address: another port is taken over to, another host on the same port is refused in clear words."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.errors import PortTaken
from gateway.supervisor import port
from gateway.supervisor.address import Address


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    monkeypatch.setenv("MOONGATE_HOME", str(tmp_path))
    return monkeypatch


def test_the_same_address_keeps_its_socket(environment: pytest.MonkeyPatch) -> None:
    with port.bind("127.0.0.1", 0) as present:
        number = present.getsockname()[1]
        environment.setenv("MOONGATE_PORT", str(number))

        assert Address("127.0.0.1", number, lambda *_: None).rebind(present) is None


def test_another_port_is_bound(environment: pytest.MonkeyPatch, free_port: int) -> None:
    with port.bind("127.0.0.1", 0) as present:
        environment.setenv("MOONGATE_PORT", str(free_port))
        bound = Address("127.0.0.1", present.getsockname()[1], lambda *_: None).rebind(present)

    assert bound is not None
    with bound:
        assert bound.getsockname()[1] == free_port


def test_another_host_on_the_same_port_is_refused_with_what_to_do(environment: pytest.MonkeyPatch) -> None:
    with port.bind("127.0.0.1", 0) as present:
        present.listen()
        number = present.getsockname()[1]
        environment.setenv("MOONGATE_PORT", str(number))
        environment.setenv("MOONGATE_HOST", "0.0.0.0")

        with pytest.raises(PortTaken, match=r"cannot be changed to 0\.0\.0\.0 while port") as raised:
            Address("127.0.0.1", number, lambda *_: None).rebind(present)

    assert raised.value.remedy == "Stop the gateway, and start it again."
