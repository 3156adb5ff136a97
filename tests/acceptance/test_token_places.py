"""The banner says where the token is, and prints a line that works in another shell."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.live_gateway import Live
from harness.waiting import PATIENCE, until_sync

SECRET = "a-token-that-was-chosen"


@pytest.mark.skipif(sys.platform == "win32", reason="the line is for a POSIX shell")
@pytest.mark.parametrize(
    "place", ["file", "setting", "variable: OPENCLAW_TOKEN in", "variable: XITTO_SERVER_TOKEN (set"]
)
def test_the_line_that_the_banner_prints_works_wherever_the_token_is(place: str, live: Callable[..., Live]) -> None:
    own = live()
    if place == "setting":
        settings = json.loads(own.config.read_text())
        settings["gateway"]["auth"] = {"token": SECRET}
        own.config.write_text(json.dumps(settings))
    elif place.startswith("variable: OPENCLAW"):
        (own.home / ".env").write_text(f"OPENCLAW_TOKEN={SECRET}\n")
    elif place.startswith("variable"):
        own.env["XITTO_SERVER_TOKEN"] = SECRET
    else:
        (own.home / "token").write_text(SECRET)
        (own.home / "token").chmod(0o600)
    own.env["PATH"] = f"{Path(sys.executable).parent}:{own.env['PATH']}"

    own.start()
    until_sync(lambda: "Ctrl-C stops" in own.output.read_text())

    banner = own.output.read_text()
    assert f"   {place}" in banner
    line = re.search(r"^  (curl.*\n.*)$", banner, re.MULTILINE)
    assert line is not None
    other_shell = {name: value for name, value in own.env.items() if name != "MOONGATE_HOME"}
    done = subprocess.run(
        ["sh", "-c", line[1]], env=other_shell, capture_output=True, text=True, timeout=2 * PATIENCE, check=False
    )
    assert json.loads(done.stdout)["reply"] == "echo: Hello", done.stderr
