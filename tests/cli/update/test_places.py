"""An update has its environment, its state directory and its database for itself; without a gateway."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from cli import output
from cli.instance import Instance
from cli.update import driver, ending, journal, owner, places, serving
from cli.update.installation import Installation, Kind
from cli.update.job import Job
from cli.update.journal import Journal, Run, Step
from gateway import paths
from gateway.errors import AlreadyRunning, Conflict
from gateway.process import identity
from gateway.supervisor import lock
from gateway.supervisor.record import Record


@pytest.fixture
def instance(tmp_path: Path) -> Instance:
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    return Instance(home, home / "config.json", {"MOONGATE_HOME": str(home), "HOME": str(tmp_path)})


class Gateways:
    """Lock files that this process holds, as gateways do."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack

    def hold(self, file: Path, config: Path) -> None:
        me = identity.own_identity()
        held = lock.acquire_lock(file)
        held.write_record(Record(me.pid, 1, str(config), me.started, me.boot, "i", "127.0.0.1", 1, "0.2.0"))
        self._stack.callback(held.release)


@pytest.fixture
def gateways() -> Iterator[Gateways]:
    with ExitStack() as stack:
        yield Gateways(stack)


def test_a_gateway_with_the_same_database_may_be_replaced(instance: Instance, gateways: Gateways) -> None:
    places.require_own_places(instance)
    gateways.hold(instance.lock_file, instance.config)
    gateways.hold(paths.data_lock_file(instance.home / "data"), instance.config)
    places.require_own_places(instance)
    assert places.adopt_environment(instance).env["MOONGATE_HOME"] == str(instance.home)


def test_a_gateway_with_another_database_is_not_replaced(
    instance: Instance, gateways: Gateways, tmp_path: Path
) -> None:
    gateways.hold(instance.lock_file, instance.config)
    with pytest.raises(Conflict, match="but one in another data directory"):  # its variables cannot be read
        places.require_own_places(instance)
    gateways.hold(paths.data_lock_file(instance.home / "data"), instance.config)
    other = instance._replace(env={**instance.env, "MOONGATE_DATA_DIR": str(tmp_path / "other")})
    with pytest.raises(Conflict, match=r"other/moongate\.db\), but .*home/data/moongate\.db") as caught:
        places.require_own_places(other)
    assert "MOONGATE_DATA_DIR" in (caught.value.remedy or "")


@pytest.mark.parametrize("is_data", [False, True])
def test_a_gateway_with_another_config_is_named(instance: Instance, gateways: Gateways, is_data: bool) -> None:
    config = instance.home / "c.json"
    data = paths.data_lock_file(instance.home / "data")
    gateways.hold(data if is_data else paths.lock_file(instance.home, config), config)
    with pytest.raises(Conflict, match=r"another gateway uses .*c\.json") as caught:
        places.require_own_places(instance)
    assert f"gateway stop --config {config}" in (caught.value.remedy or "")
    with pytest.raises(AlreadyRunning, match=r"a gateway runs with .*c\.json"), places.hold_gateway_locks(instance):
        pass


def test_a_gateway_without_the_database_that_is_named_is_not_replaced(
    instance: Instance, site: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(serving, "describe_run", lambda _: Run(by_service=False, ready=True))
    with output.show_waiting("") as told, pytest.raises(Conflict, match="there is no database"):
        driver._begin(Job(instance, site, "9.9.9", told, 0.0))
    assert journal.read_journal(instance.home) is None


@pytest.fixture
def site(tmp_path: Path) -> Installation:
    made = Installation(Kind.VENV, tmp_path / "venv", tmp_path / "venv/lib")
    made.environment.mkdir()
    return made


def test_what_another_gateway_left_in_the_environment_stays(
    instance: Instance, site: Installation, tmp_path: Path
) -> None:
    other = tmp_path / "other"
    other.mkdir(mode=0o700)
    site.candidate.mkdir()
    owner.write_mark(site, other)
    owner.refuse_other_state(site, instance.home)  # its update has ended
    journal.write_journal(other, Journal(
        step=Step.EXCHANGE, environment="", identity="", from_version="1", to_version="2", began=1))  # fmt: skip
    owner.refuse_other_state(site, other)
    with output.show_waiting("") as told, pytest.raises(Conflict, match=f"for the state directory {other}"):
        driver._begin(Job(instance, site, "9.9.9", told, 0.0))
    ending.undo_build(instance.home, site)
    assert site.candidate.exists()
    ending.undo_build(other, site)
    assert {path.name for path in tmp_path.iterdir()} == {"home", "other", "venv"}
