"""The name of a service: it follows from the path of the config as it is given."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest

from cli.instance import Instance
from cli.service import lookup
from gateway.supervisor import marker

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
