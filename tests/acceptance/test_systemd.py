"""The login service under a real `systemd --user`."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest

from tests.support.login import Login, needs_systemd

pytestmark = needs_systemd


@pytest.fixture
def login() -> Iterator[Login]:
    with contextlib.closing(Login()) as made:
        yield made


def test_an_installed_gateway_is_enabled_runs_and_answers(login: Login) -> None:
    done = login.install()

    assert (login.show("UnitFileState"), login.show("ActiveState")) == ("enabled", "active")
    assert str(done["pid"]) == login.show("MainPID")
    assert login.call("GET", "/health").status == 200
