"""`python -m gateway`: the gateway in the foreground, under its supervisor."""

from __future__ import annotations

import gc

if __name__ == "__main__":
    gc.disable()  # while it loads: there is no garbage, and collections take a tenth of the time

import argparse
import contextlib
import os
import select
import socket
import stat
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, TextIO

import gateway
import gateway.supervisor.light_imports  # first: what a supervisor loads, it keeps
from gateway import config, log_reader, paths, private_file
from gateway.config import Config
from gateway.errors import AlreadyRunning, ConfigError, GatewayError
from gateway.process import identity
from gateway.process.own_environment import keep_own_environment
from gateway.security import secret_file
from gateway.security.unsafe_text import replace_unsafe
from gateway.supervisor import (
    config_history,
    early_start,
    interrupted_restore,
    last_stop,
    lock,
    lock_search,
    port,
    record,
    reexec,
    restart_plan,
    signals,
    state_owner,
    terminate,
)
from gateway.supervisor.address import ListenAddress
from gateway.supervisor.banner import print_banner
from gateway.supervisor.config_history import ConfigHistory, ConfigReading
from gateway.supervisor.console import Console
from gateway.supervisor.data_locks import DataLocks
from gateway.supervisor.early_start import EarlyProcess
from gateway.supervisor.lock import Lock
from gateway.supervisor.logfile import LogFile, RepeatFilter
from gateway.supervisor.notify import Notifier
from gateway.supervisor.record import Record
from gateway.supervisor.supervisor import Supervisor

#: set for a gateway in the background: nobody reads its console
DETACHED_VARIABLE = "MOONGATE_DETACHED"
#: bytes of a service manager's output file, above which it is emptied
MAX_OUTPUT_FILE_BYTES = 1024 * 1024


def main(argv: Sequence[str] | None = None, early: EarlyProcess | None = None) -> int:
    """Run the gateway in the foreground; return the exit code.

    Args:
        early: the process for the first generation; the caller ends it if none has started.
    """
    gc.enable()
    parser = argparse.ArgumentParser(prog="python -m gateway", description="Run the gateway in the foreground.")
    parser.add_argument("--port", type=int, help="port to listen on")
    parser.add_argument("--host", help="address to listen on")
    parser.add_argument("--role", choices=["gateway", "worker"], help="what it does in a fleet")
    parser.add_argument("--config", help="config file")
    parser.add_argument("--force", action="store_true", help="take the port from another gateway of this user")
    parser.add_argument("--kill-foreign", action="store_true", help="take it from any program")
    parser.add_argument("--token", help="store this as the gateway's token, then start")
    parser.add_argument("--environment", action="append", metavar="NAME=VALUE", help="set a variable first")
    parser.add_argument("--output", metavar="FILE", help="append what is printed to this file")
    arguments = parser.parse_args(argv)
    try:
        return run(vars(arguments), early)
    except GatewayError as error:
        said = replace_unsafe(str(error))
        if sys.stderr is not None:  # it was closed: the exit code tells
            try:
                sys.stderr.write(f"❌ {said}\n" if sys.stderr.isatty() else f"{said}\n")
                sys.stderr.flush()
            except OSError:  # on a full disk: likewise, if the end of the process does not try to write it once more
                os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stderr.fileno())
        return error.exit_code


def run(options: Mapping[str, Any], early: EarlyProcess | None = None) -> int:
    """Run the gateway in the foreground until it is asked to stop; return its exit code.

    Args:
        options: `port`, `host`, `role`, `config`, `token`, `force` and `kill_foreign` as given on the command
            line; None means not given. `environment` and `output` are for service managers that can neither
            set variables nor store the output.
        early: the process for the first generation; the caller ends it if none has started.

    Raises:
        GatewayError: it cannot start; `exit_code` is the exit code of the process.
    """
    signals.block_restart_signal()
    os.umask(0o077)
    if options.get("output"):
        _redirect_output(options["output"])
    for pair in options.get("environment") or ():
        name, _, value = pair.partition("=")
        os.environ[name] = value
    if reexec.RESUME_VARIABLE not in os.environ:
        state_owner.refuse_foreign_state(paths.state_directory(os.environ))
        interrupted_restore.finish_interrupted_restore(paths.state_directory(os.environ))
    _truncate_output()
    notifier = Notifier(os.environ)
    if options.get("token"):
        _store_token(options["token"])
    for name in ("config", "host", "port", "role"):  # generations read the settings themselves, with these
        if options.get(name) is not None:
            os.environ[f"MOONGATE_{name.upper()}"] = str(options[name])
    resumed = reexec.find_kept(os.environ.pop(reexec.RESUME_VARIABLE, ""))
    if resumed:
        reading = config_history.read_config(os.environ)
        settings, data = reading.settings, DataLocks(resumed.get("data", {}))
        held, listener = _restore_lock(resumed, settings), socket.socket(fileno=resumed["listener"])
        os.set_inheritable(resumed["listener"], False)
    else:
        force, kill_foreign = bool(options.get("force")), bool(options.get("kill_foreign"))
        reading, held = _lock_config(force=force or kill_foreign)
        settings, data = reading.settings, DataLocks({})
        kept = notifier.take_listener(settings.gateway.host, settings.gateway.port)
        listener = kept or _bind_port(settings, force=force, kill_foreign=kill_foreign)
    try:
        with listener:
            if not resumed:  # only now: the gateway that --force ended may have held the data, too
                data.lock_directory(settings)
            code = _run_supervisor(reading, held, data, listener, notifier, resumed, early)
    finally:
        data.release_all()
        held.release()
    if (
        code == restart_plan.RESTART_EXIT_CODE
        and restart_plan.choose_plan(os.environ, restart_plan.CURRENT_PLATFORM, hard=False)
        is restart_plan.RestartPlan.SUCCESSOR
    ):
        restart_plan.start_successor(os.environ, paths.start_output_file(settings.home, settings.path))
        return 0
    return code


@contextlib.contextmanager
def start_early(arguments: Sequence[str]) -> Iterator[EarlyProcess | None]:
    """Start the process for the first generation; end it after the block if it has not become one.

    Args:
        arguments: the command line arguments of this process.
    """
    early = early_start.start_process(arguments, _serve_early)
    try:
        yield early
    finally:
        if early is not None:
            early.discard()


def _serve_early(line: int) -> int:
    from gateway import serve  # here, in its own process: a supervisor needs none of its imports

    return serve.main([str(line), "1"])


def _lock_config(*, force: bool) -> tuple[ConfigReading, Lock]:
    """Read the settings, and take the lock of their config. A restore that ends in between has replaced the settings.

    Raises:
        ConfigError: they cannot be used.
        AlreadyRunning: another gateway, or a restore, has the lock.
    """
    while True:
        reading = config_history.read_config(os.environ)
        home = reading.settings.home
        with _refuse_unusable(home):
            paths.make_private_directory(home)
        held = _acquire_lock(reading.settings, force=force)
        with contextlib.ExitStack() as unless_current:
            unless_current.callback(held.release)
            if not interrupted_restore.is_interrupted(home) and config.read_sources(os.environ) == reading.sources:
                unless_current.pop_all()
                return reading, held
        interrupted_restore.finish_interrupted_restore(home)


def _acquire_lock(settings: Config, *, force: bool) -> Lock:
    """Take the lock of the config; with `force`, first end the gateway that holds it."""
    mine, found = paths.lock_file(settings.home, settings.path), lock_search.find_lock(settings.home, settings.path)
    holder = None if found == mine else lock.lock_holder(found)
    try:
        if holder is not None:  # it was started with another path of this config, or by version 0.1.0
            raise lock.refuse_second(holder)
        return lock.acquire_lock(mine)
    except AlreadyRunning:
        holder = holder or record.read_record(mine)
        if not force or holder is None or not holder.is_alive:
            raise
        terminate.end_gateway(holder, terminate.FORCE_GRACE_SECONDS)
        return lock.acquire_lock(mine)


def _bind_port(settings: Config, *, force: bool, kill_foreign: bool) -> socket.socket:
    """Bind the port; with `force`, end its holder first."""
    host, number = settings.gateway.host, settings.gateway.port
    before = record.read_record(paths.lock_file(settings.home, settings.path))
    if before is not None and before.port == number and not before.is_alive:
        terminate.wait_free(
            host, number, terminate.ORPHAN_GRACE_SECONDS
        )  # a serving process of this gateway may still be ending
    if force or kill_foreign:
        terminate.take_port(host, number, paths.locks_directory(settings.home), kill_foreign=kill_foreign)
    with settings.name_origins():
        return port.bind_port(host, number)


def _restore_lock(resumed: Mapping[str, Any], settings: Config) -> Lock:
    descriptor = resumed["lock"]
    os.set_inheritable(descriptor, False)
    return Lock(lock_search.find_path_of(descriptor, settings.home, settings.path), descriptor, descriptor)


def _run_supervisor(
    reading: ConfigReading,
    held: Lock,
    data: DataLocks,
    listener: socket.socket,
    notifier: Notifier,
    resumed: Mapping[str, Any] | None,
    early: EarlyProcess | None,
) -> int:
    settings, bound = reading.settings, listener.getsockname()[1]
    instance = resumed["instance"] if resumed else os.urandom(8).hex()
    before = record.read_record(held.path)
    same = before is not None and before.instance == instance  # with its supervisor replaced
    began = before.createdAt if before is not None and same else time.time_ns() // 1_000_000

    def announce(host: str, number: int) -> None:
        mine = _make_record(settings, instance, began, host, number)
        held.write_record(mine)
        data.write_records(mine)

    announce(resumed["address"][0] if resumed else settings.gateway.host, bound)
    if (
        restart_plan.choose_plan(os.environ, restart_plan.CURRENT_PLATFORM, hard=False)
        is not restart_plan.RestartPlan.GENERATION
    ):
        return _serve_in_process(settings, held.path, listener, instance)
    file = _open_log(settings)
    console = Console(_choose_console())

    def write(line: bytes) -> None:
        with contextlib.suppress(OSError):  # with a full disk, the supervisor must still read
            file.write_line(line)
        console.write_line(line)

    folding = RepeatFilter(write)
    said = resumed["address"] if resumed else (settings.gateway.host, settings.gateway.port)

    keep_own_environment()
    supervisor = Supervisor(
        listener,
        held=held,
        env=os.environ | {"MOONGATE_INSTANCE": instance},
        write=folding.write_line,
        greet=lambda about: print_banner(settings, bound, about),
        notifier=notifier,
        configs=ConfigHistory(settings.path, reading),
        address=ListenAddress(said[0], said[1], announce),
        data=data,
        early=early,
        resumed=resumed,
    )
    try:
        code = supervisor.run()
        last_stop.write_last_stop(held.path, instance, code, supervisor.why)
        if supervisor.failure:
            raise ConfigError(supervisor.failure)
        return code
    finally:
        folding.flush_repeats()
        file.close()


def _serve_in_process(settings: Config, path: Path, listener: socket.socket, instance: str) -> int:
    """Serve inside this process, without generations; return RESTART_EXIT_CODE if the gateway must start again."""
    from gateway import unsupervised  # late: a supervisor needs none of its imports

    file = _open_log(settings)
    console = _choose_console()
    try:
        bound = listener.getsockname()[1]
        plan = restart_plan.choose_plan(os.environ, restart_plan.CURRENT_PLATFORM, hard=False)
        again = unsupervised.run_unsupervised(
            listener,
            instance,
            path,
            settings=settings,
            sinks=[lambda line, _: file.write_line(line), lambda line, _: console(line)],
            greet=lambda about: print_banner(settings, bound, about),
            here=plan is restart_plan.RestartPlan.IN_PROCESS,
        )
        code = restart_plan.RESTART_EXIT_CODE if again and plan is restart_plan.RestartPlan.EXIT else 0
        last_stop.write_last_stop(path, instance, code, "a restart" if again else "it was told to stop")
        return restart_plan.RESTART_EXIT_CODE if again else 0
    finally:
        file.close()


def _open_log(settings: Config) -> LogFile:
    file = paths.log_file(settings.home, settings.path)
    with _refuse_unusable(file):
        return LogFile(file)


@contextlib.contextmanager
def _refuse_unusable(path: Path) -> Iterator[None]:
    """Turn an error about a path of the state directory into one that names it.

    Raises:
        ConfigError: the path cannot be used.
    """
    try:
        yield
    except OSError as error:
        raise ConfigError(
            f"cannot use {paths.display_path(path)}: {error.strerror}.",
            remedy="Move it away, or choose another state directory with MOONGATE_HOME.",
        ) from error


def _make_record(settings: Config, instance: str, began: int, host: str, bound: int) -> Record:
    process = identity.own_identity()
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
    """Store a token, then execute this program again without it: the process list must not show it."""
    home = paths.state_directory(os.environ)
    with _refuse_unusable(home):
        paths.make_private_directory(home)
    secret_file.store_secret(paths.token_file(home), token)
    if restart_plan.CURRENT_PLATFORM == "win32":  # exec there looks like an exit to the parent
        return
    os.execv(sys.executable, restart_plan.command_without_option("--token"))  # noqa: S606 this program


def _redirect_output(name: str) -> None:
    """Append all output to a file that only its owner can read.

    Raises:
        ConfigError: the file cannot be opened for writing.
    """
    file = Path(name)
    try:
        paths.make_private_directory(file.parent)
        descriptor = private_file.open_output_file(file, append=True)
    except OSError as error:
        raise ConfigError(f"cannot write to {file}: {error.strerror}.", remedy=private_file.REPAIR_HINT) from error
    for number in (1, 2):
        os.dup2(descriptor, number)
    if descriptor not in (1, 2):
        os.close(descriptor)
    # On Windows, a program without a console has no streams.
    sys.stdout, sys.stderr = _open_stream(1), _open_stream(2)


def _truncate_output() -> None:
    """Empty the output file of a service manager if it is too large: it grows with every start."""
    with contextlib.suppress(OSError):
        found = os.fstat(1)
        if (
            restart_plan.has_service_manager(os.environ)
            and stat.S_ISREG(found.st_mode)
            and found.st_size > MAX_OUTPUT_FILE_BYTES
        ):
            os.ftruncate(1, 0)


def _open_stream(number: int) -> TextIO:
    return os.fdopen(number, "w", encoding="utf-8", buffering=1, closefd=False)


def _choose_console() -> Callable[[bytes], None]:
    """Return the function that prints log lines; in the background, one that discards them."""
    return _discard_line if os.environ.get(DETACHED_VARIABLE) else _print_line


def _discard_line(line: bytes) -> None:
    """Print nothing: nobody reads it."""


def _print_line(line: bytes) -> None:
    """Print a line without blocking: a reader that does not read (a full pipe, ^S) misses it."""
    data = memoryview((replace_unsafe(log_reader.format_line(line)) + "\n").encode("utf-8", "backslashreplace"))
    with contextlib.suppress(OSError, ValueError):
        while data and (os.name == "nt" or select.select([], [2], [], 0)[1]):
            data = data[os.write(2, data[:512]) :]


if __name__ == "__main__":
    with start_early(sys.argv[1:]) as early_process:
        raise SystemExit(main(early=early_process))
