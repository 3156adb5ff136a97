"""Starts the gateway in the background, and waits until it answers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

from cli import output
from cli.instance import Place
from cli.remote import probe
from cli.remote.probe import Look, State
from cli.service.manager import Manager
from cli.service.start_failure import Reason
from gateway import paths
from gateway.errors import AlreadyRunning, GatewayError, Unavailable
from gateway.supervisor import lock, restart_plan
from gateway.supervisor.record import Record

#: exit code of a gateway whose lock or port is already taken
TAKEN = 75
#: seconds between two looks
LOOK = 0.05
#: the command that runs the gateway
PROGRAM = [sys.executable, "-m", "gateway"]


def start(instance: Place, port: int | None, host: str | None, wait: float) -> Look:
    """Start the gateway of an instance in its own session, and wait until it answers.

    Raises:
        GatewayError: it ended, with its own message and exit code; or it does not answer in time.
    """
    said = paths.start_file(instance.home, instance.config)
    paths.private_directory(said.parent)
    words = [*PROGRAM]
    words += ["--port", str(port)] if port is not None else []
    words += ["--host", host] if host is not None else []
    with os.fdopen(os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "wb") as console:
        process = subprocess.Popen(
            words,
            env={**instance.env, **_absolute(instance), "MOONGATE_DETACHED": "1"},
            cwd=instance.home,
            stdout=console,
            stderr=console,
            **restart_plan.apart(),
        )
    try:
        return wait_for(instance, process, said, wait)
    finally:
        process.returncode = process.returncode or 0  # the process goes on without us; Popen should not warn about that


def _absolute(instance: Place) -> dict[str, str]:
    """Return the directories that the environment names as absolute paths: the gateway runs in another directory."""
    named = {"MOONGATE_HOME": instance.home, "MOONGATE_CONFIG": instance.config}
    return {name: str(path) for name, path in named.items() if instance.env.get(name)}


def by_service(manager: Manager, instance: Place, wait: float) -> Record:
    """Start the service, and wait until it answers.

    Raises:
        ConfigError: the gateway could not run with the present settings.
        GatewayError: the start failed; the message is that of the gateway or of the manager.
    """
    from gateway import app, config  # late: they import all of the gateway

    manager.require()
    app.check(config.load(instance.env), instance.env)  # the manager would only say that the start failed
    with output.waiting("starting the service"), Reason(instance, manager).told():
        manager.start()
        found = wait_for(instance, None, None, wait)
    assert found.record is not None
    return found.record


def wait_for(instance: Place, process: subprocess.Popen[bytes] | None, said: Path | None, wait: float) -> Look:
    """Wait until the gateway of an instance answers."""
    deadline = time.monotonic() + wait
    while True:
        found = probe.look(instance)
        if found.state is State.RUNNING:
            return found
        if process is not None and (code := process.poll()) is not None:
            if code != TAKEN or found.state is State.STOPPED:
                raise _failed(code, said)
            process = None  # another start was faster: wait for that gateway
        if time.monotonic() > deadline:
            raise Unavailable(f"the gateway does not answer after {wait:g} s.", remedy="See: gateway logs")
        time.sleep(LOOK)


def settled(instance: Place, wait: float) -> Look:
    """Wait until the gateway of an instance either answers or has ended: it may be starting or stopping.

    Raises:
        Unavailable: neither happens in time.
    """
    deadline = time.monotonic() + wait
    while (found := probe.look(instance)).state is State.UNRESPONSIVE:
        if lock.holder(paths.lock(instance.home, instance.config)) is None:
            return Look(State.STOPPED)
        if time.monotonic() > deadline:
            raise Unavailable(f"the gateway does not answer after {wait:g} s.", remedy="See: gateway logs")
        time.sleep(LOOK)
    return found


def _failed(code: int, said: Path | None) -> GatewayError:
    """Return the error of a gateway that has ended: its own message and exit code."""
    words = said.read_text(errors="replace").strip() if said is not None else ""
    error: GatewayError = AlreadyRunning(words) if code == TAKEN else GatewayError(words or f"it ended with {code}.")
    error.exit_code = code  # type: ignore[misc]
    return error
