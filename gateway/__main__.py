"""`python -m gateway`: the gateway in the foreground, under its supervisor."""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # while it loads: nothing is garbage then, and each collection costs a tenth of the time

import argparse
import contextlib
import os
import select
import shlex
import shutil
import socket
import stat
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import gateway
from gateway import config, log_reader, paths
from gateway.config import Config
from gateway.errors import AlreadyRunning, ConfigError, GatewayError
from gateway.process import identity
from gateway.security import secret_file
from gateway.supervisor import config_history, last_stop, lock, port, record, reexec, restart_plan, signals, terminate
from gateway.supervisor.address import Address, connect_host
from gateway.supervisor.config_history import Configs, Reading
from gateway.supervisor.console import Console
from gateway.supervisor.data_locks import DataLocks
from gateway.supervisor.lock import Lock
from gateway.supervisor.logfile import Folding, LogFile
from gateway.supervisor.notify import Notifier
from gateway.supervisor.record import Record
from gateway.supervisor.supervisor import Supervisor

#: set for a gateway in the background: nobody reads its console
DETACHED = "MOONGATE_DETACHED"
#: bytes of what a service manager keeps
LONGEST_OUTPUT = 1024 * 1024


def main(argv: Sequence[str] | None = None) -> int:
    """Run the gateway in the foreground; returns the exit code."""
    gc.enable()
    parser = argparse.ArgumentParser(prog="python -m gateway", description="Run the gateway in the foreground.")
    parser.add_argument("--port", type=int, help="port to listen on")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--config", help="config file")
    parser.add_argument("--force", action="store_true", help="take the port from another gateway of this user")
    parser.add_argument("--kill-foreign", action="store_true", help="take it from any program")
    parser.add_argument("--token", help="store this as the gateway's token, then start")
    parser.add_argument("--environment", action="append", metavar="NAME=VALUE", help="set a variable first")
    parser.add_argument("--output", metavar="FILE", help="append what is printed to this file")
    arguments = parser.parse_args(argv)
    try:
        return run(vars(arguments))
    except GatewayError as error:
        sys.stderr.write(f"❌ {error}\n" if sys.stderr.isatty() else f"{error}\n")
        return error.exit_code


def run(options: Mapping[str, Any]) -> int:
    """Run the gateway in the foreground until it is told to stop; returns its exit code.

    Args:
        options: `port`, `host`, `config`, `token`, `force` and `kill_foreign` as given on the command
            line; None is not given. `environment` and `output` are for service managers that can neither
            set variables nor keep what is printed.

    Raises:
        GatewayError: it cannot start; `exit_code` is the process's.
    """
    signals.block()
    os.umask(0o077)
    if options.get("output"):
        _print_to(options["output"])
    for pair in options.get("environment") or ():
        name, _, value = pair.partition("=")
        os.environ[name] = value
    _bound_output()
    notifier = Notifier(os.environ)
    if options.get("token"):
        _store_token(options["token"])
    for name in ("config", "host", "port"):  # generations read the settings themselves, and must see these too
        if options.get(name) is not None:
            os.environ[f"MOONGATE_{name.upper()}"] = str(options[name])
    resumed = reexec.find_kept(os.environ.pop(reexec.RESUME, ""))
    reading = config_history.read(os.environ)
    settings = reading.settings
    if settings is None:
        raise ConfigError(reading.error)
    if resumed:
        data = DataLocks(resumed.get("data", {}))
        held, listener = _kept_lock(resumed), socket.socket(fileno=resumed["listener"])
        os.set_inheritable(resumed["listener"], False)
    else:
        force, kill_foreign = bool(options.get("force")), bool(options.get("kill_foreign"))
        paths.private_directory(settings.home)
        held, data = _lock(settings, force=force or kill_foreign), DataLocks({})
        kept = notifier.listener(settings.gateway.host, settings.gateway.port)
        listener = kept or _bound(settings, force=force, kill_foreign=kill_foreign)
    try:
        with listener:
            if not resumed:  # only now: by force, who had the port is gone, and may have had the data, too
                data.take(settings.data_directory)
            code = _supervise(settings, reading, held, data, listener, notifier, resumed)
    finally:
        data.release()
        held.release()
    if (
        code == restart_plan.AGAIN
        and restart_plan.plan(os.environ, restart_plan.PLATFORM, hard=False) is restart_plan.Plan.SUCCESSOR
    ):
        restart_plan.succeed(os.environ, paths.start_file(settings.home, settings.path))
        return 0
    return code


def _lock(settings: Config, *, force: bool) -> Lock:
    """Take the lock of the config; by force, end the gateway that has it."""
    path = paths.lock(settings.home, settings.path)
    try:
        return lock.acquire(path)
    except AlreadyRunning:
        holder = record.read(path)
        if not force or holder is None or not holder.alive:
            raise
        terminate.end(holder, terminate.FORCE_GRACE)
        return lock.acquire(path)


def _bound(settings: Config, *, force: bool, kill_foreign: bool) -> socket.socket:
    """Bind the port; with `force`, end its holder first."""
    host, number = settings.gateway.host, settings.gateway.port
    before = record.read(paths.lock(settings.home, settings.path))
    if before is not None and before.port == number and not before.alive:
        terminate.wait_free(host, number, terminate.ORPHANS)  # a serving process of ours may still be ending
    if force or kill_foreign:
        terminate.take_port(host, number, paths.locks(settings.home), kill_foreign=kill_foreign)
    return port.bind(host, number)


def _kept_lock(resumed: Mapping[str, Any]) -> Lock:
    os.set_inheritable(resumed["lock"], False)
    return Lock(resumed["lock"], resumed["lock"])


def _supervise(
    settings: Config,
    reading: Reading,
    held: Lock,
    data: DataLocks,
    listener: socket.socket,
    notifier: Notifier,
    resumed: Mapping[str, Any] | None,
) -> int:
    bound = listener.getsockname()[1]
    instance = resumed["instance"] if resumed else os.urandom(8).hex()
    before = record.read(paths.lock(settings.home, settings.path))
    same = before is not None and before.instance == instance  # with its supervisor replaced
    began = before.createdAt if before is not None and same else time.time_ns() // 1_000_000

    def announce(host: str, number: int) -> None:
        mine = _record(settings, instance, began, host, number)
        held.write(mine)
        data.write(mine)

    announce(resumed["address"][0] if resumed else settings.gateway.host, bound)
    if restart_plan.plan(os.environ, restart_plan.PLATFORM, hard=False) is not restart_plan.Plan.GENERATION:
        return _serve_here(settings, listener, instance)
    file = LogFile(paths.log_file(settings.home, settings.path))
    console = Console(_console())

    def write(line: bytes) -> None:
        with contextlib.suppress(OSError):  # a full disk must not keep us from reading
            file.write(line)
        console.write(line)

    folding = Folding(write)
    said = resumed["address"] if resumed else (settings.gateway.host, settings.gateway.port)

    supervisor = Supervisor(
        listener,
        reading,
        lock_path=paths.lock(settings.home, settings.path),
        lock_descriptor=held.descriptor,
        env=os.environ | {"MOONGATE_INSTANCE": instance},
        write=folding.write,
        greet=lambda about: _greet(settings, bound, about),
        notifier=notifier,
        configs=Configs(settings.path),
        address=Address(said[0], said[1], announce),
        data=data,
        resumed=resumed,
    )
    try:
        code = supervisor.run()
        last_stop.write(paths.lock(settings.home, settings.path), instance, code, supervisor.why)
        if supervisor.failure:
            raise ConfigError(supervisor.failure)
        return code
    finally:
        folding.flush()
        file.close()


def _serve_here(settings: Config, listener: socket.socket, instance: str) -> int:
    """Serve inside this process, without generations; returns AGAIN if somebody is to begin it again."""
    from gateway import unsupervised  # late: a supervisor does without all that it brings

    file = LogFile(paths.log_file(settings.home, settings.path))
    console = _console()
    try:
        bound, path = listener.getsockname()[1], paths.lock(settings.home, settings.path)
        plan = restart_plan.plan(os.environ, restart_plan.PLATFORM, hard=False)
        again = unsupervised.run(
            listener,
            instance,
            path,
            sinks=[lambda line, _: file.write(line), lambda line, _: console(line)],
            greet=lambda about: _greet(settings, bound, about),
            here=plan is restart_plan.Plan.IN_PROCESS,
        )
        code = restart_plan.AGAIN if again and plan is restart_plan.Plan.EXIT else 0
        last_stop.write(path, instance, code, "a restart" if again else "it was told to stop")
        return restart_plan.AGAIN if again else 0
    finally:
        file.close()


def _record(settings: Config, instance: str, began: int, host: str, bound: int) -> Record:
    process = identity.own()
    return Record(
        pid=process.pid,
        createdAt=began,
        configPath=str(settings.path),
        startTime=process.started,
        bootId=process.boot,
        instance=instance,
        host=host,
        port=bound,
        version=gateway.__version__,
    )


def _store_token(token: str) -> None:
    """Store a token, and keep it out of the process list: become the same program without it."""
    home = paths.private_directory(paths.home(os.environ))
    secret_file.store(paths.token(home), token)
    if restart_plan.PLATFORM == "win32":  # what becomes another program there has ended, for who started it
        return
    os.execv(sys.executable, restart_plan.words_without("--token"))  # noqa: S606 ourselves again


def _print_to(name: str) -> None:
    """Append all output to a file that only its owner can read.

    Raises:
        ConfigError: it cannot be written to.
    """
    file = Path(name)
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | getattr(os, "O_NOFOLLOW", 0)
    try:
        paths.private_directory(file.parent)
        descriptor = os.open(file, flags, 0o600)
    except OSError as error:
        raise ConfigError(f"cannot write to {file}: {error.strerror}.") from error
    for number in (1, 2):
        os.dup2(descriptor, number)
    if descriptor not in (1, 2):
        os.close(descriptor)
    # Windows gives no streams at all to a program without a console.
    sys.stdout, sys.stderr = _stream(1), _stream(2)


def _bound_output() -> None:
    """Truncate the output file of a service manager when it is too large: it grows with every start."""
    with contextlib.suppress(OSError):
        found = os.fstat(1)
        if restart_plan.supervised(os.environ) and stat.S_ISREG(found.st_mode) and found.st_size > LONGEST_OUTPUT:
            os.ftruncate(1, 0)


def _stream(number: int) -> TextIO:
    return os.fdopen(number, "w", encoding="utf-8", buffering=1, closefd=False)


def _console() -> Callable[[bytes], None]:
    """Return the function that prints log lines; in the background nobody reads them."""
    return _nowhere if os.environ.get(DETACHED) else _to_console


def _nowhere(line: bytes) -> None:
    """Show nothing: nobody reads."""


def _to_console(line: bytes) -> None:
    """Print a line; a reader that does not read (a full pipe, ^S) misses it and blocks nothing."""
    data = memoryview((log_reader.readable(line) + "\n").encode("utf-8", "backslashreplace"))
    with contextlib.suppress(OSError, ValueError):
        while data and (os.name == "nt" or select.select([], [2], [], 0)[1]):
            data = data[os.write(2, data[:512]) :]


def _greet(settings: Config, bound: int, about: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):  # nobody has to read it
        sys.stdout.write(_banner(settings, bound, about) + "\n")
        sys.stdout.flush()


def _banner(settings: Config, bound: int, about: Mapping[str, Any]) -> str:
    host = connect_host(settings.gateway.host)
    url = f"http://[{host}]:{bound}" if ":" in host else f"http://{host}:{bound}"
    shown = config.shown(paths.token(settings.home))
    token = settings.gateway.auth.token or secret_file.read(paths.token(settings.home)) or ""
    asked = settings.gateway.auth.mode == "token"
    rows = [
        f"Moongate {gateway.__version__}",
        f"  URL      {url}",
        f"  Token    {secret_file.masked(token)}   file: {shown}"
        if asked
        else "  Token    none is asked for (auth.mode: none)",
        f"  Agent    {about['agent']}: {about['introduction']}   change: {config.shown(settings.path)}",
        f"  Data     {config.shown(settings.database)}",
        "",
        "Try it:",
        f"  curl -s {url}/api/agent" + (f' -H "Authorization: Bearer $(cat {shown})"' if asked else "") + " \\",
        """       -H "Content-Type: application/json" -d '{"message": "Hello"}'""",
        f'  {_command()} agent "Hello"',
        f"Ctrl-C stops. In the background: {_command()} start. At login: {_command()} install.",
    ]
    return "\n".join(rows)


def _command() -> str:
    """Return what calls our command from a shell: its name, or where that is not found, its path."""
    installed = Path(sys.executable).with_name("gateway")
    return "gateway" if shutil.which("gateway") or not installed.exists() else shlex.quote(str(installed))


if __name__ == "__main__":
    raise SystemExit(main())
