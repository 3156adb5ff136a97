"""Starting the gateway in the background, and seeing it answer."""

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

#: exit code of a start that found the lock or the port taken
TAKEN = 75
#: seconds between looks
LOOK = 0.05
#: the program that is the gateway
PROGRAM = [sys.executable, "-m", "gateway"]


def start(instance: Place, port: int | None, host: str | None, wait: float) -> Look:
    """Start the gateway of a place in a session of its own.

    Raises:
        GatewayError: it ended, with its own words and exit code; or it does not answer in time.
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
        process.returncode = process.returncode or 0  # it goes on without us, which is no leak


def _absolute(instance: Place) -> dict[str, str]:
    """Return the places that were named, so that they are the same ones in another directory."""
    named = {"MOONGATE_HOME": instance.home, "MOONGATE_CONFIG": instance.config}
    return {name: str(path) for name, path in named.items() if instance.env.get(name)}


def by_service(manager: Manager, instance: Place, wait: float) -> Record:
    """Have the service started, and see it answer.

    Raises:
        ConfigError: it could not run with the settings that there are.
        GatewayError: it is not; what its manager says about that is named.
    """
    from gateway import app, config  # late: they bring all of the gateway

    manager.require()
    app.check(config.load(instance.env), instance.env)  # the manager would only say that it failed
    with output.waiting("starting the service"), Reason(instance, manager).told():
        manager.start()
        found = wait_for(instance, None, None, wait)
    assert found.record is not None
    return found.record


def wait_for(instance: Place, process: subprocess.Popen[bytes] | None, said: Path | None, wait: float) -> Look:
    """Wait until the gateway of a place answers."""
    deadline = time.monotonic() + wait
    while True:
        found = probe.look(instance)
        if found.state is State.RUNNING:
            return found
        if process is not None and (code := process.poll()) is not None:
            if code != TAKEN or found.state is State.STOPPED:
                raise _failed(code, said)
            process = None  # another start was quicker: it is waited for
        if time.monotonic() > deadline:
            raise Unavailable(f"the gateway does not answer after {wait:g} s.", remedy="See: gateway logs")
        time.sleep(LOOK)


def settled(instance: Place, wait: float) -> Look:
    """Wait until the gateway of a place answers, or is none: it may be starting or stopping.

    Raises:
        Unavailable: it does neither in time.
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
    """Return the error that the gateway ended with, in its own words."""
    words = said.read_text(errors="replace").strip() if said is not None else ""
    error: GatewayError = AlreadyRunning(words) if code == TAKEN else GatewayError(words or f"it ended with {code}.")
    error.exit_code = code  # type: ignore[misc]
    return error
