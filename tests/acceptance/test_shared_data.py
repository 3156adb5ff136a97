"""Two configs with the same data directory."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.command_line import Shell
from harness.live_gateway import Live

pytestmark = pytest.mark.slow


@pytest.fixture
def both(tmp_path: Path, live: Callable[..., Live]) -> tuple[Live, Live]:
    """A gateway that uses a data directory, and another one whose config names the same directory."""
    data = {"data": {"directory": str(tmp_path / "shared")}}
    return live("one", config=data).start(), live("two", config=data)


def test_a_second_gateway_on_the_same_data_is_refused_and_the_first_is_named(both: tuple[Live, Live]) -> None:
    first, second = both

    second.start(wait=False)
    assert second.process is not None
    code = second.process.wait(30)

    assert first.process is not None
    said = second.output.read_text()
    assert code == 75
    assert f"in use by the gateway of {first.config} (pid {first.process.pid}, port {first.port})" in said
    assert f"gateway stop --config {first.config}" in said
    assert first.call("GET", "/readyz").status == 200


def test_the_data_is_free_when_the_first_gateway_has_ended_even_by_a_crash(both: tuple[Live, Live]) -> None:
    first, second = both
    first.kill()

    assert second.start().call("GET", "/readyz").status == 200


def test_a_supervisor_that_replaced_itself_still_holds_the_data(both: tuple[Live, Live]) -> None:
    first, second = both
    assert Shell(first.env, first.home)("restart", "--hard").code == 0

    second.start(wait=False)

    assert second.process is not None
    assert second.process.wait(30) == 75


def test_a_restart_into_the_data_of_another_gateway_is_refused_and_the_old_one_keeps_serving(
    tmp_path: Path, live: Callable[..., Live]
) -> None:
    live("one", config={"data": {"directory": str(tmp_path / "shared")}}).start()
    second = live("two").start()
    settings = json.loads(second.config.read_text())
    second.config.write_text(json.dumps({**settings, "data": {"directory": str(tmp_path / "shared")}}))

    result = Shell(second.env, second.home)("restart")

    assert result.code == 1
    assert "in use by the gateway of" in result.err
    assert second.health["generation"] == 1
