"""`python -m gateway`: the gateway in the foreground, under its supervisor."""

from __future__ import annotations

import argparse
import json
import os
import secrets
import socket
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import gateway
from gateway import config, identity, paths, token_file
from gateway.config import Config
from gateway.errors import GatewayError
from gateway.supervisor import lock, port, respawn, signals
from gateway.supervisor.lock import Lock
from gateway.supervisor.logfile import LogFile
from gateway.supervisor.notify import Notifier
from gateway.supervisor.record import Record
from gateway.supervisor.supervisor import RESUME, Limits, Supervisor

Write = Callable[[bytes], None]


def main(argv: Sequence[str] | None = None) -> int:
    """Run the gateway in the foreground; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m gateway", description="Run the gateway in the foreground.")
    parser.add_argument("--port", type=int, help="port to listen on")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--config", help="config file")
    parser.add_argument("--token", help="store this as the gateway's token, then start")
    arguments = parser.parse_args(argv)
    try:
        return run(vars(arguments))
    except GatewayError as error:
        sys.stderr.write(f"❌ {error}\n" if sys.stderr.isatty() else f"{error}\n")
        return error.exit_code


def run(options: Mapping[str, Any]) -> int:
    """Run the gateway in the foreground until it is told to stop; returns its exit code.

    Args:
        options: `port`, `host`, `config` and `token` as given on the command line; None is not given.

    Raises:
        GatewayError: it cannot start; `exit_code` is the process's.
    """
    signals.block()
    os.umask(0o077)
    notifier = Notifier(os.environ)
    if options.get("token"):
        _store_token_and_begin_again(options["token"])
    for name in ("config", "host", "port"):  # so that generations, which read the settings anew, see them too
        if options.get(name) is not None:
            os.environ[f"MOONGATE_{name.upper()}"] = str(options[name])
    settings = config.load(os.environ)
    resumed = json.loads(os.environ.pop(RESUME, "null"))
    if resumed:
        return _supervise(settings, _kept_lock(resumed), socket.socket(fileno=resumed["listener"]), notifier, resumed)
    paths.private_directory(settings.home)
    held = lock.acquire(paths.lock(settings.home, settings.path))
    try:
        listener = _listener(settings, notifier)
        return _supervise(settings, held, listener, notifier, None)
    finally:
        held.release()


def _listener(settings: Config, notifier: Notifier) -> socket.socket:
    """Return the socket that the service manager holds for us, else one that we bind."""
    if notifier.descriptors:
        return socket.socket(fileno=notifier.descriptors[0])
    return port.bind(settings.gateway.host, settings.gateway.port)


def _kept_lock(resumed: Mapping[str, Any]) -> Lock:
    os.set_inheritable(resumed["lock"], False)
    return Lock(resumed["lock"], resumed["lock"])


def _supervise(
    settings: Config, held: Lock, listener: socket.socket, notifier: Notifier, resumed: Mapping[str, Any] | None
) -> int:
    bound = listener.getsockname()[1]
    before = held.read() if resumed else None
    instance = before.instance if before is not None else secrets.token_hex(8)
    held.write(_record(settings, instance, bound))
    if respawn.plan(os.environ, sys.platform, hard=False) is respawn.Plan.IN_PROCESS or sys.platform == "win32":
        return _serve_here(settings, listener, instance)
    file = LogFile(paths.log_file(settings.home))
    attended = sys.stderr.isatty() or not os.environ.get(DETACHED)

    def write(line: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk must not keep us from reading
            file.write(line)
        if attended:
            _to_console(line)

    supervisor = Supervisor(
        listener,
        Limits(settings.gateway.stop_grace, settings.gateway.drain_timeout, settings.gateway.hang_timeout),
        lock_path=paths.lock(settings.home, settings.path),
        lock_descriptor=held.descriptor,
        env={**os.environ, "MOONGATE_INSTANCE": instance, "MOONGATE_PORT": str(bound)},
        write=write,
        greet=lambda about: _greet(settings, bound, about),
        notifier=notifier,
        recheck=_recheck,
        resumed=resumed,
    )
    try:
        return supervisor.run()
    finally:
        file.close()
