"""The systemd unit says what was meant, and systemd has nothing to say about it."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from service_templates import ServiceSpec, systemd


def spec(program: str = "/bin/sh", directory: str = "/", *arguments: str) -> ServiceSpec:
    return ServiceSpec(program=program, arguments=arguments, directory=directory, path="/usr/bin:/bin", stop_seconds=20)


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd is not installed")
@pytest.mark.parametrize("name", ["plain", "with space", "100%h", 'a "quote"', "it's", "żółć", "$HOME", "back\\slash"])
def test_systemd_finds_nothing_to_say_about_a_unit(tmp_path: Path, name: str) -> None:
    home = tmp_path / name
    home.mkdir()
    program = home / "python"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    unit = tmp_path / "moongate.service"
    unit.write_text(systemd.render(spec(str(program), str(home), "-m", name)), "utf-8")
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(tmp_path), "XDG_RUNTIME_DIR": str(tmp_path)}
    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", "--man=no", str(unit)],
        capture_output=True,
        text=True,
        env=environment,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("mark", ["\r", "\n", "\0"])
def test_a_line_break_or_nul_is_refused(mark: str) -> None:
    with pytest.raises(ValueError, match="line break or NUL"):
        spec("/bin/sh", "/", f"a{mark}b")


def test_a_percent_sign_and_a_quote_are_escaped() -> None:
    text = systemd.render(spec("/bin/sh", "/a%b", '5% "x"'))
    assert 'ExecStart=":/bin/sh" "5%% \\"x\\""\n' in text
    assert "WorkingDirectory=/a%%b\n" in text


def test_a_unit_of_the_system_names_its_user() -> None:
    whole = ServiceSpec(program="/bin/sh", arguments=(), directory="/", path="/bin", stop_seconds=20, user="me")
    text = systemd.render(whole)
    assert "User=me\n" in text
    assert "WantedBy=multi-user.target\n" in text
