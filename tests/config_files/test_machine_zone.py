"""The time zone of this machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config
from gateway.config_files import machine_zone


@pytest.mark.parametrize(
    ("tz", "zone"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        (":Europe/Berlin", "Europe/Berlin"),
        ("/usr/share/zoneinfo/Asia/Tokyo", "Asia/Tokyo"),
        ("right/Europe/Berlin", "Europe/Berlin"),
        ("CET-1CEST,M3.5.0,M10.5.0/3", "UTC"),
        ("../etc/passwd", "UTC"),
        ("Etc/UTC", "UTC"),
        ("", "UTC"),
    ],
)
def test_the_environment_says_it(tz: str, zone: str) -> None:
    assert machine_zone.find_machine_zone({"TZ": tz}) == zone


@pytest.mark.parametrize(
    ("target", "name", "zone"),
    [
        ("usr/share/zoneinfo/Europe/Berlin", "Asia/Tokyo", "Europe/Berlin"),
        ("var/db/timezone/zoneinfo/Europe/Berlin", "", "Europe/Berlin"),
        ("usr/share/zoneinfo/posix/Europe/Berlin", "", "Europe/Berlin"),
        ("", "Asia/Tokyo", "Asia/Tokyo"),
        ("", "Nowhere/Land", "UTC"),
        ("", "", "UTC"),
    ],
)
def test_else_the_system_says_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, target: str, name: str, zone: str
) -> None:
    localtime, timezone = tmp_path / "localtime", tmp_path / "timezone"
    if target:
        (tmp_path / target).parent.mkdir(parents=True)
        (tmp_path / target).touch()
        localtime.symlink_to(tmp_path / target)
    if name:
        timezone.write_text(f"{name}\n")
    monkeypatch.setattr(machine_zone, "LOCALTIME_FILE", localtime)
    monkeypatch.setattr(machine_zone, "TIMEZONE_FILE", timezone)

    assert machine_zone.find_machine_zone({}) == zone


@pytest.mark.parametrize("tz", ["localtime", ":localtime", "{localtime}", ":{localtime}"])
def test_the_environment_may_name_the_file_of_the_system(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tz: str
) -> None:
    (zone := tmp_path / "zoneinfo" / "Europe" / "Berlin").parent.mkdir(parents=True)
    zone.touch()
    (localtime := tmp_path / "localtime").symlink_to(zone)
    monkeypatch.setattr(machine_zone, "LOCALTIME_FILE", localtime)

    assert machine_zone.find_machine_zone({"TZ": tz.format(localtime=localtime)}) == "Europe/Berlin"


def test_a_link_to_a_zone_names_that_zone(tmp_path: Path) -> None:
    (zone := tmp_path / "zoneinfo" / "Asia" / "Tokyo").parent.mkdir(parents=True)
    zone.touch()
    (link := tmp_path / "mine").symlink_to(zone)

    assert machine_zone.find_machine_zone({"TZ": str(link)}) == "Asia/Tokyo"


def test_where_the_settings_name_no_zone_it_is_that_of_the_machine(tmp_path: Path) -> None:
    env = {"MOONGATE_HOME": str(tmp_path), "TZ": "Asia/Tokyo"}

    assert config.load(env).cron.timezone == "Asia/Tokyo"
    assert config.load({**env, "MOONGATE_TIMEZONE": "Europe/Berlin"}).cron.timezone == "Europe/Berlin"
