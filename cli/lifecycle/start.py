"""Starts the gateway in the background, and waits until it answers."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path
from typing import BinaryIO

from cli import output
from cli.command import complete_commands
from cli.instance import DATA_SETTING, Instance
from cli.lifecycle.start_options import StartOptions
from cli.remote import probe
from cli.remote.probe import ProbeResult, State
from cli.service.manager import ServiceManager
from cli.service.start_failure import StartFailure
from gateway import paths, private_file
from gateway.errors import AlreadyRunning, ConfigError, GatewayError, Unavailable
from gateway.supervisor import interrupted_restore, lock, restart_plan, state_owner, terminate
from gateway.supervisor.record import Record

#: exit code of a gateway whose lock or port is already taken
EXIT_CODE_TAKEN = 75
#: seconds between two looks
START_POLL_SECONDS = 0.05
#: the command that runs the gateway
GATEWAY_COMMAND = [sys.executable, "-m", "gateway"]


def start_in_background(
    instance: Instance, options: StartOptions, wait: float, *, force: bool = False, kill: bool = False
) -> ProbeResult:
    """Start the gateway as a detached process, which outlives this terminal, and wait until it answers.

    Args:
        force: whether it takes its port from another gateway of this user.
        kill: whether it takes its port from any other program.

    Raises:
        ConfigError: this is root, and the state directory belongs to another user.
        GatewayError: the gateway ended; the error has its message and its exit code.
        Unavailable: it does not answer in time.
    """
    state_owner.refuse_foreign_state(instance.home)
    interrupted_restore.finish_interrupted_restore(instance.home)
    said = paths.start_output_file(instance.home, instance.config)
    console = _open_console(said)
    words = [*GATEWAY_COMMAND, *options.list_words()]
    words += ["--force"] if force else []
    words += ["--kill-foreign"] if kill else []
    with console:
        process = subprocess.Popen(
            words,
            env={**instance.env, **_absolute_paths(instance), "MOONGATE_DETACHED": "1"},
            cwd=instance.home,
            stdout=console,
            stderr=console,
            **restart_plan.detached_options(),
        )
    try:
        return wait_for_answer(instance, process, said, wait)
    finally:
        process.returncode = process.returncode or 0  # the process goes on without us; Popen should not warn about that


def _open_console(said: Path) -> BinaryIO:
    """Open the file for what the gateway prints before it opens its log.

    Raises:
        ConfigError: it cannot be made there.
    """
    try:
        paths.make_private_directory(said.parent)
        return os.fdopen(private_file.open_output_file(said, append=False), "wb")
    except OSError as error:
        raise ConfigError(
            f"cannot write to {paths.display_path(said)}: {error.strerror}.", remedy=private_file.REPAIR_HINT
        ) from error


def _absolute_paths(instance: Instance) -> dict[str, str]:
    """Return the paths that the environment names as absolute paths: the gateway runs in another directory."""
    names = ("MOONGATE_HOME", "MOONGATE_CONFIG", *DATA_SETTING[1])
    return {name: str(paths.expand_path(instance.env[name], name)) for name in names if instance.env.get(name)}


def start_by_service(
    manager: ServiceManager, instance: Instance, wait: float, *, force: bool = False, kill: bool = False
) -> Record:
    """Start the service, and wait until it answers.

    Args:
        force, kill: as for `start_in_background`.

    Raises:
        ConfigError: the gateway could not run with the present settings.
        GatewayError: the start failed; the message is that of the gateway or of the manager.
    """
    from gateway import config  # late: these import much of the gateway
    from gateway.assembly.checks import check_settings

    manager.require_available()
    check_settings(config.load(instance.env), instance.env)  # the manager would only say that the start failed
    if force or kill:
        _free_service_port(manager, instance, kill=kill)
    with output.show_waiting("starting the service"), StartFailure(instance, manager).explain_errors():
        manager.start_service()
        found = wait_for_answer(instance, None, None, wait)
    assert found.record is not None
    return found.record


def _free_service_port(manager: ServiceManager, instance: Instance, *, kill: bool) -> None:
    """Take the port of the service from the program that holds it.

    Raises:
        PortTaken: the holder may not be ended.
    """
    from cli.service import unit  # late: imports the settings

    spec = manager.read_installed_spec()
    if spec is not None and not manager.ask_status().keeps_listener:
        known = unit.load_service_settings(spec, instance).gateway
        terminate.take_port(known.host, known.port, paths.locks_directory(instance.home), kill_foreign=kill)


def wait_for_answer(
    instance: Instance, process: subprocess.Popen[bytes] | None, said: Path | None, wait: float
) -> ProbeResult:
    """Wait until the gateway of an instance answers."""
    deadline = time.monotonic() + wait
    while True:
        code = None if process is None else process.poll()  # first: what it says of another gateway is seen then
        found = probe.probe_gateway(instance)
        if found.state is State.RUNNING:
            return found
        if code is not None and (code != EXIT_CODE_TAKEN or not _is_starting(instance, found)):
            raise _read_start_error(code, said)
        if time.monotonic() > deadline:
            raise Unavailable(f"the gateway does not answer after {wait:g} s.", remedy="See: gateway logs")
        time.sleep(START_POLL_SECONDS)


def _is_starting(instance: Instance, found: ProbeResult) -> bool:
    """Return whether another start was faster: its gateway may not have written its record yet."""
    return found.state is not State.STOPPED or lock.is_held(instance.lock_file)


def wait_until_settled(instance: Instance, wait: float) -> ProbeResult:
    """Wait until the gateway of an instance either answers or has ended: it may be starting or stopping.

    Raises:
        Unavailable: neither happens in time.
    """
    deadline = time.monotonic() + wait
    while (found := probe.probe_gateway(instance)).state is State.UNRESPONSIVE:
        if lock.lock_holder(instance.lock_file) is None:
            return ProbeResult(State.STOPPED)
        if time.monotonic() > deadline:
            raise Unavailable(f"the gateway does not answer after {wait:g} s.", remedy="See: gateway logs")
        time.sleep(START_POLL_SECONDS)
    return found


def _read_start_error(code: int, said: Path | None) -> GatewayError:
    """Return the error of a gateway that has ended: its own message and exit code."""
    words = complete_commands(said.read_text(errors="replace").strip()) if said is not None else ""
    if not words:
        error = GatewayError(
            f"the gateway ended with exit code {code}, and could not say why.",
            remedy="Its disk may be full. To see what it says: gateway run",
        )
    else:
        error = AlreadyRunning(words) if code == EXIT_CODE_TAKEN else GatewayError(words)
    error.exit_code = code  # type: ignore[misc]
    return error
