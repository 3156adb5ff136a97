"""How to restart, as a table that includes the seed's three modes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from gateway.supervisor import restart_plan
from gateway.supervisor.restart_plan import RestartPlan
from harness.waiting import PATIENCE

NO_RESPAWN, MARKER = {"MOONGATE_NO_RESPAWN": "1"}, {"MOONGATE_SERVICE_MARKER": "moongate"}
SEED_NO_RESPAWN, SEED_MARKER = {"XOPC_NO_RESPAWN": "1"}, {"XOPC_SERVICE_MARKER": "xopc"}


@pytest.mark.parametrize(
    ("env", "platform", "hard", "plan"),
    [
        # the seed's three modes: forbidden, under a service manager, plain
        (NO_RESPAWN, "linux", False, RestartPlan.IN_PROCESS),
        (MARKER, "linux", False, RestartPlan.GENERATION),
        ({}, "linux", False, RestartPlan.GENERATION),
        # with the seed's names
        (SEED_NO_RESPAWN, "linux", True, RestartPlan.IN_PROCESS),
        (SEED_MARKER, "win32", True, RestartPlan.EXIT),
        # a hard restart replaces the supervisor in place, so that a service manager sees no change
        (MARKER, "linux", True, RestartPlan.REEXEC),
        ({}, "darwin", True, RestartPlan.REEXEC),
        (NO_RESPAWN, "linux", True, RestartPlan.IN_PROCESS),
        # on a system that cannot re-execute
        (MARKER, "win32", False, RestartPlan.EXIT),
        ({}, "win32", True, RestartPlan.SUCCESSOR),
        (NO_RESPAWN | MARKER, "win32", True, RestartPlan.IN_PROCESS),
        # systemd's own variable does not count: a terminal under systemd has it, too
        ({"INVOCATION_ID": "1"}, "win32", True, RestartPlan.SUCCESSOR),
        ({"MOONGATE_NO_RESPAWN": ""}, "linux", False, RestartPlan.GENERATION),
    ],
)
def test_the_plan(env: dict[str, str], platform: str, hard: bool, plan: RestartPlan) -> None:
    assert restart_plan.choose_plan(env, platform, hard) is plan


@pytest.mark.parametrize(
    ("env", "allowed"),
    [
        ({}, False),
        ({"MOONGATE_ALLOW_SIGUSR1_RESTART": "1"}, True),
        ({"XOPC_ALLOW_SIGUSR1_RESTART": "1"}, True),
        ({"MOONGATE_ALLOW_SIGUSR1_RESTART": "0"}, False),
    ],
)
def test_a_signal_without_an_intent_restarts_only_where_it_may(env: dict[str, str], allowed: bool) -> None:
    assert restart_plan.may_restart_by_signal(env) is allowed


def test_a_rehearsal_reports_the_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(restart_plan, "REHEARSAL_TIMEOUT_SECONDS", PATIENCE)
    env = {"MOONGATE_HOME": str(tmp_path), "PATH": os.environ["PATH"], "HOME": str(tmp_path)}

    assert restart_plan.rehearse_start(env) is None
    (tmp_path / "config.json").write_text("{")
    assert "not valid JSON" in (restart_plan.rehearse_start(env) or "")
