"""The systemd unit has the right content, and systemd finds no fault in it."""

from __future__ import annotations

import dataclasses
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from service_templates import ServiceSpec, systemd

GOLDEN = Path(__file__).parent / "golden" / "moongate.service"
NAMES = ["plain", "with space", "100%h", 'a "quote"', "it's", "żółć", "$HOME", "back\\slash", "%%", "a=b;c#d"]


def spec(**other: Any) -> ServiceSpec:
    usual = {
        "program": "/opt/moongate/bin/python",
        "arguments": ("-m", "gateway"),
        "reload": ("-m", "cli.main", "restart"),
        "directory": "/home/anna/.moongate",
        "path": "/usr/local/bin:/usr/bin:/bin",
        "output": "/home/anna/.moongate/logs/service.log",
        "stop_seconds": 20,
        "user": "anna",
        "version": "1.2.3",
    }
    return ServiceSpec(**{**usual, **other})


def variants(name: str) -> list[ServiceSpec]:
    """Return specs with a name in every field that can contain one."""
    plain = spec(directory=f"/home/{name}/.moongate", arguments=("-m", "gateway", name), path=f"/{name}:/bin")
    return [
        plain,
        dataclasses.replace(
            plain, program=f"/opt/{name}/python", environment=(("MOONGATE_CONFIG", f"/x/{name}.json"),)
        ),
        dataclasses.replace(plain, confined=True, reload=()),
        dataclasses.replace(plain, system=True, user="other", suffix="0a1b2c3d"),
    ]


def read_back(written: ServiceSpec) -> ServiceSpec:
    text = systemd.render(written)
    return systemd.parse(text, user=written.user, output=written.output, suffix=written.suffix)


def test_the_unit_is_as_it_was_agreed_on() -> None:
    assert systemd.render(spec(arguments=("-m", "gateway", "--port", "8080"))) == GOLDEN.read_text("utf-8")


@pytest.mark.parametrize("name", NAMES)
def test_what_is_rendered_is_read_back_equal(name: str) -> None:
    for written in variants(name):
        assert read_back(written) == written


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("name", NAMES)
def test_systemd_finds_nothing_to_say_about_a_unit(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    home.mkdir()
    program = home / "python"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    units = []
    for number, one in enumerate(variants(name)):
        units.append(tmp_path / f"moongate-{number}.service")
        whole = dataclasses.replace(one, program=str(program), directory=str(home), system=False)
        units[-1].write_text(systemd.render(whole), "utf-8")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", *units],
        capture_output=True,
        text=True,
        env=environment,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("mark", ["\r", "\n", "\0"])
@pytest.mark.parametrize("field", ["program", "directory", "path", "user", "output", "suffix", "version"])
def test_a_line_break_or_nul_is_refused(field: str, mark: str) -> None:
    with pytest.raises(ValueError, match="line break or NUL"):
        spec(**{field: f"/a{mark}b"})


def test_a_line_break_in_an_argument_or_variable_is_refused() -> None:
    for field, value in (("arguments", ("a\nb",)), ("reload", ("a\nb",)), ("environment", (("A", "a\nb"),))):
        with pytest.raises(ValueError, match="line break or NUL"):
            spec(**{field: value})


def test_a_directory_that_ends_in_a_blank_is_refused() -> None:
    with pytest.raises(ValueError, match="ends in a backslash or blank"):
        systemd.render(spec(directory="/home/anna "))


def test_a_percent_sign_and_a_quote_are_escaped() -> None:
    text = systemd.render(spec(directory="/a%b", arguments=('5% "x"',)))
    assert 'ExecStart=":/opt/moongate/bin/python" "5%% \\"x\\""\n' in text
    assert "WorkingDirectory=/a%%b\n" in text


def test_a_unit_of_the_system_names_its_user() -> None:
    text = systemd.render(spec(system=True))
    assert "User=anna\n" in text
    assert "WantedBy=multi-user.target\n" in text


@pytest.mark.parametrize("text", ["", "[Service]\nExecStart=/bin/true\n", "ExecStart=\nTimeoutStopSec=soon\n"])
def test_a_unit_of_somebody_else_is_not_taken_for_ours(text: str) -> None:
    with pytest.raises(ValueError, match="Moongate did not write it"):
        systemd.parse(text, user="anna", output="", suffix="")


def test_another_config_has_a_unit_of_its_own() -> None:
    assert (systemd.name(""), systemd.name("0a1b")) == ("moongate.service", "moongate-0a1b.service")
