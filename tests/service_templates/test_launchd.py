"""The property list has the right content, in the types that launchd expects, and starts the gateway."""

from __future__ import annotations

import dataclasses
import plistlib
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from harness.live_gateway import Live
from service_templates import ServiceSpec, launchd
from tests.service_templates import validating

GOLDEN = Path(__file__).parent / "golden" / "ai.moongate.gateway.plist"
NAMES = ["plain", "with space", "a & b", "<string>", 'a "quote"', "it's", "żółć 日本", "]]>", "$HOME", "100%", "a\tb"]
#: the keys and types of launchd.plist(5): launchd silently ignores other keys
KEYS: dict[str, type] = {
    "Label": str,
    "ProgramArguments": list,
    "RunAtLoad": bool,
    "KeepAlive": bool,
    "ThrottleInterval": int,
    "ProcessType": str,
    "ExitTimeOut": int,
    "EnvironmentVariables": dict,
    "WorkingDirectory": str,
    "StandardOutPath": str,
    "StandardErrorPath": str,
    "Umask": int,
    "SoftResourceLimits": dict,
    "UserName": str,
}
#: the variables that launchd itself gives to a program
MINIMAL = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}


def spec(**other: Any) -> ServiceSpec:
    usual = {
        "program": "/opt/moongate/bin/python",
        "arguments": ("-m", "gateway"),
        "directory": "/Users/anna/.moongate",
        "path": "/opt/homebrew/bin:/usr/bin:/bin",
        "environment": (("PYTHONSAFEPATH", "1"),),
        "output": "/Users/anna/.moongate/logs/service.log",
        "stop_seconds": 20,
        "user": "anna",
        "version": "1.2.3",
    }
    return ServiceSpec(**{**usual, **other})


def variants(name: str) -> list[ServiceSpec]:
    """Return specs with a name in every field that can contain one."""
    plain = spec(
        directory=f"/Users/{name}/.moongate",
        arguments=("-m", "gateway", name),
        path=f"/{name}:/bin",
        output=f"/Users/{name}/x.log",
    )
    return [
        plain,
        dataclasses.replace(plain, program=f"/opt/{name}/python", environment=(("MOONGATE_CONFIG", f"/{name}.json"),)),
        dataclasses.replace(plain, system=True, user="other", suffix="0a1b2c3d", environment=()),
    ]


def test_the_property_list_is_as_it_was_agreed_on() -> None:
    assert launchd.render(spec(arguments=("-m", "gateway", "--port", "8080"))) == GOLDEN.read_bytes()


@pytest.mark.parametrize("name", NAMES)
def test_what_is_rendered_is_read_back_equal(name: str) -> None:
    for written in variants(name):
        assert launchd.parse(launchd.render(written), user=written.user) == written


def test_what_launchd_does_not_know_is_not_said() -> None:
    more = spec(reload=("-m", "cli.main", "restart"), confined=True)
    assert launchd.render(more) == launchd.render(spec())


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_property_list_by_its_definition(name: str) -> None:
    for written in variants(name):
        said = validating.lint("--dtdvalid", str(validating.DATA / "plist.dtd"), document=launchd.render(written))
        assert said == ""


def test_the_definition_finds_a_value_without_a_key() -> None:
    spoiled = launchd.render(spec()).replace(b"\t<key>Umask</key>\n", b"")
    assert "dict" in validating.lint("--dtdvalid", str(validating.DATA / "plist.dtd"), document=spoiled)


@pytest.mark.parametrize("written", variants("plain"))
def test_every_key_is_one_that_launchd_knows_and_of_its_type(written: ServiceSpec) -> None:
    said = plistlib.loads(launchd.render(written))

    assert {name: type(value) for name, value in said.items()} == {name: KEYS[name] for name in said}
    assert all(type(word) is str for word in said["ProgramArguments"])
    assert all(type(part) is str for pair in said["EnvironmentVariables"].items() for part in pair)
    assert said["SoftResourceLimits"] == {"NumberOfFiles": 8192}
    assert said["Umask"] == 0o077
    assert (said["RunAtLoad"], said["KeepAlive"], said["ThrottleInterval"]) == (True, True, 10)


def test_the_variables_hold_path_and_the_marker() -> None:
    variables = plistlib.loads(launchd.render(spec()))["EnvironmentVariables"]
    assert variables == {
        "PATH": "/opt/homebrew/bin:/usr/bin:/bin",
        "MOONGATE_SERVICE_MARKER": "launchd",
        "MOONGATE_DETACHED": "1",
        "PYTHONSAFEPATH": "1",
    }


@pytest.mark.parametrize("value", ["\x01", "\x1b[0m", "\ud800", "\uffff"])
def test_what_xml_cannot_carry_is_refused(value: str) -> None:
    with pytest.raises(ValueError, match="XML cannot contain"):
        launchd.render(spec(directory=f"/Users/{value}"))


def test_a_version_that_would_end_a_comment_is_refused() -> None:
    with pytest.raises(ValueError, match="cannot be in an XML comment"):
        launchd.render(spec(version="1 --> <x/>"))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"no property list",
        plistlib.dumps({"Label": "com.other"}),
        plistlib.dumps(["a"]),
        launchd.render(spec()).replace(b"ai.moongate.gateway<", b"ai.moongate.gateways<"),
        launchd.render(spec()).replace(b"MOONGATE_SERVICE_MARKER", b"OTHER"),
    ],
)
def test_a_property_list_of_somebody_else_is_not_taken_for_ours(data: bytes) -> None:
    with pytest.raises(ValueError, match="Moongate did not write it"):
        launchd.parse(data, user="anna")


def test_another_config_has_a_label_of_its_own() -> None:
    assert (launchd.name(""), launchd.name("0a1b")) == ("ai.moongate.gateway", "ai.moongate.gateway.0a1b")


def test_what_it_says_runs_a_gateway_in_the_environment_that_launchd_gives(live: Callable[..., Live]) -> None:
    one = live("a b & 'c' żółć")
    said = plistlib.loads(
        launchd.render(
            spec(
                program=sys.executable,
                directory=str(one.home),
                path="/usr/bin:/bin",
                environment=(("MOONGATE_HOME", str(one.home)), ("PYTHONSAFEPATH", "1")),
                output=str(one.home / "service.log"),
            )
        )
    )
    with open(said["StandardOutPath"], "ab") as output:
        one.process = subprocess.Popen(
            said["ProgramArguments"],
            env={**MINIMAL, "HOME": str(one.home), **said["EnvironmentVariables"]},
            cwd=said["WorkingDirectory"],
            umask=said["Umask"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            text=True,
        )
    one.wait_ready()

    assert one.health["status"] == "healthy"
    assert one.stop() == 0
    printed = (one.home / "service.log").read_text()
    assert "Moongate" in printed
    assert "supervisor.started" not in printed, "the log has a file of its own, which does not grow for ever"
