"""The name of a service: it follows from the path of the config as it is given."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from cli.doctor import service_drift
from cli.instance import Instance
from cli.remote.probe import probe_gateway
from cli.service import install, lookup
from cli.service.manager import ServiceStatus
from cli.service.managers import systemd as managed
from gateway.errors import Conflict
from gateway.supervisor import marker
from service_templates import ServiceSpec, systemd

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="units of systemd")


@pytest.fixture
def linked(tmp_path: Path) -> Instance:
    """A gateway whose config is reached through a link to a directory."""
    for version in ("v1", "v2"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "config.json").write_text("{}")
    (tmp_path / "current").symlink_to("v1")
    env = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "xdg")}
    return Instance.from_environment(env | {"MOONGATE_CONFIG": str(tmp_path / "current" / "config.json")})


def digest(path: Path) -> str:
    return hashlib.sha256(str(path).encode()).hexdigest()[:8]


def test_a_link_that_gets_another_target_does_not_change_the_name(linked: Instance) -> None:
    before = lookup.choose_suffix(linked, system=False)
    current = linked.home.parent / "current"
    current.unlink()
    current.symlink_to("v2")

    assert before == lookup.choose_suffix(linked, system=False) == digest(linked.config)


def test_a_unit_of_the_version_before_keeps_its_name(linked: Instance) -> None:
    older = digest(linked.config.resolve())
    unit = Path(linked.env["XDG_CONFIG_HOME"]) / "systemd" / "user" / f"moongate-{older}.service"
    unit.parent.mkdir(parents=True)
    unit.write_text("[Service]\n")

    found = lookup.find_installed(linked)

    assert lookup.choose_suffix(linked, system=False) == older
    assert found is not None
    assert found.unit_path == unit


def test_the_config_at_its_default_path_has_no_suffix(tmp_path: Path) -> None:
    assert lookup.choose_suffix(Instance.from_environment({"HOME": str(tmp_path)}), system=False) == ""


@pytest.mark.parametrize(
    ("env", "expected"),
    [
        ({"MOONGATE_SERVICE_MARKER": "systemd"}, "systemd"),
        ({"XOPC_SERVICE_MARKER": "xopc"}, "xopc"),
        ({"MOONGATE_SERVICE_MARKER": "systemd", "XOPC_SERVICE_MARKER": "xopc"}, "systemd"),
        ({"XOPC_SERVICE_MARKER": ""}, None),
        ({}, None),
    ],
)
def test_the_mark_of_a_service_is_also_that_of_the_seed(env: dict[str, str], expected: str | None) -> None:
    assert marker.read_marker(env) == expected


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Instance:
    """The gateway of a package's service of the system: its account has the name of who runs the tests."""
    me = lookup.user_name(Instance.from_environment({"HOME": str(tmp_path)}), system=True)
    places = {True: tmp_path / "usr/system", False: tmp_path / "usr/user"}
    own = {"MOONGATE_HOME": str(tmp_path / "var"), "MOONGATE_CONFIG": str(tmp_path / "etc.json")}
    for system, environment in ((True, tuple(own.items())), (False, ())):
        places[system].mkdir(parents=True)
        spec = ServiceSpec(
            program=sys.executable,
            arguments=("-m", "gateway"),
            directory="/",
            path="/bin",
            environment=environment,
            output="",
            stop_seconds=20,
            user=me,
            system=system,
            version="0.1",
        )
        (places[system] / "moongate.service").write_text(systemd.render(spec))
    monkeypatch.setattr(managed, "PACKAGED_UNIT_DIRECTORIES", places)
    monkeypatch.setattr(managed, "SYSTEM_UNIT_DIRECTORY", tmp_path / "etc")
    return Instance.from_environment({"HOME": str(tmp_path), **own})


def _enable(unit: Path, target: str, directory: Path) -> None:
    wants = directory / f"{target}.wants"
    wants.mkdir(parents=True)
    (wants / unit.name).symlink_to(unit)


def test_the_unit_of_a_package_counts_once_it_is_enabled(package: Instance, tmp_path: Path) -> None:
    assert lookup.find_installed(package) is None
    found = lookup.find_packaged(package)
    assert found is not None
    assert found.packaged_unit == tmp_path / "usr/system/moongate.service"

    _enable(found.packaged_unit, "multi-user.target", tmp_path / "etc")

    found = lookup.find_installed(package)
    assert found is not None
    assert found.service_name == "moongate.service"


def test_a_service_of_the_system_for_another_gateway_is_nobody_elses(package: Instance, tmp_path: Path) -> None:
    _enable(tmp_path / "usr/system/moongate.service", "multi-user.target", tmp_path / "etc")

    other = Instance.from_environment({"HOME": str(tmp_path / "ann")})

    assert lookup.find_installed(other) is None
    assert lookup.find_packaged(other) is None


def test_a_package_unit_that_a_user_has_enabled_is_fine_and_never_rewritten(
    package: Instance, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = Instance.from_environment({"HOME": str(tmp_path / "ann")})
    _enable(tmp_path / "usr/user/moongate.service", "default.target", tmp_path / "ann/.config/systemd/user")
    status = ServiceStatus("active (running)", running=True, pid=None, enabled=True)
    monkeypatch.setattr(managed.Systemd, "require_available", lambda _: None)
    monkeypatch.setattr(managed.Systemd, "ask_status", lambda _: status)

    found = [one for one in service_drift.examine_service(mine, probe_gateway(mine)) if one.check == "service"]

    assert [one.level.value for one in found] == ["ok"]
    assert "usr/user/moongate.service" in found[0].finding
    assert service_drift.rewrite_unit(mine) is None


@pytest.mark.parametrize("system", [False, True])
def test_a_service_is_not_installed_in_place_of_the_packages(package: Instance, system: bool) -> None:
    with pytest.raises(Conflict, match="a package has brought the service of this machine"):
        install.plan_installation(package.env, arguments=(), token=None, runtime=None, system=system, earnest=False)
