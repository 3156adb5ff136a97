"""The lifecycle of a gateway without a supervisor: each restart reads the settings once."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from gateway import config
from gateway.assembly.checks import check_settings
from gateway.unsupervised import SignalLifecycle


async def test_it_serves_with_what_it_was_given_and_then_with_what_the_restart_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "config.json"

    def write(grace: int) -> None:
        agents = {"list": [{"id": "main", "backend": "echo"}]}
        file.write_text(json.dumps({"gateway": {"stop_grace": grace}, "agents": agents}))

    async def greet(_: object) -> None:
        return

    monkeypatch.setenv("MOONGATE_HOME", str(tmp_path))
    write(1)
    given = config.load({"MOONGATE_HOME": str(tmp_path)})
    life = SignalLifecycle(tmp_path / "lock", greet, given, check_settings(given, {}))
    write(2)
    life.begin_serving()
    assert life.settings is given

    life.control.restart("a test")
    ending = await life.wait_for_shutdown()
    write(3)
    life.begin_serving()

    assert (ending.grace, life.settings.gateway.stop_grace) == (1, 2)
