"""Which gateways use the state directory and the database that an update changes: one, with the same settings."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

from cli.instance import DATA_SETTING, Instance
from cli.lifecycle.gateway_locks import list_gateway_locks
from gateway import config
from gateway.errors import AlreadyRunning, ConfigError, Conflict
from gateway.process.orphans import MARK_VARIABLE
from gateway.supervisor import lock, record
from gateway.supervisor.marker import SERVICE_MARKER_VARIABLE
from gateway.supervisor.notify import SYSTEMD_VARIABLES
from gateway.supervisor.record import Record
from gateway.supervisor.reexec import RESUME_VARIABLE

#: variables of one process, which the next one must not have
_OF_ONE_PROCESS = {MARK_VARIABLE, SERVICE_MARKER_VARIABLE, RESUME_VARIABLE, *SYSTEMD_VARIABLES}


def adopt_environment(instance: Instance) -> Instance:
    """Return the instance with the variables that its gateway runs with, if one runs and they can be read."""
    found = lock.lock_holder(instance.lock_file)
    return instance if found is None else _adopt(instance, found)


def _adopt(instance: Instance, found: Record) -> Instance:
    import psutil  # late: only needed here

    try:
        env = psutil.Process(found.pid).environ()
    except psutil.Error:
        return instance
    if not env:
        return instance
    kept = {name: value for name, value in env.items() if name not in _OF_ONE_PROCESS}
    named = {
        "MOONGATE_HOME": instance.home,
        **({"MOONGATE_CONFIG": instance.config} if instance.config.exists() else {}),
    }
    return instance._replace(env=kept | {name: str(path) for name, path in named.items()})


def require_own_places(instance: Instance) -> None:
    """Refuse an update if another gateway uses its places, or its gateway uses others than the settings name.

    Otherwise the wrong database would be saved and tried, or exchanged under a gateway that runs.

    Raises:
        Conflict: it is so.
        ConfigError: the settings cannot be used.
    """
    settings = config.load(instance.env)
    own = lock.lock_holder(instance.lock_file)
    if own is not None:
        _require_same_database(instance, settings, own)
    for file in list_gateway_locks(instance.home, instance.config, settings.data_directory):
        holder = lock.lock_holder(file) if file.exists() else None
        if holder is not None and (own is None or holder.pid != own.pid):
            raise Conflict(
                f"another gateway uses {file.parent} (pid {holder.pid}, config {holder.configPath}), and would go on"
                " with a database and files that are exchanged.",
                remedy=f"Nothing has changed. Stop it first: gateway stop --config {holder.configPath}",
            )


def _require_same_database(instance: Instance, settings: config.Config, own: Record) -> None:
    adopted = _adopt(instance, own)
    try:
        theirs = config.load(adopted.env)
    except ConfigError:
        theirs = settings  # the lock tells
    file = list_gateway_locks(instance.home, instance.config, settings.data_directory)[-1]
    holder = lock.lock_holder(file) if file.exists() else None
    same = theirs.store.url == settings.store.url and _is_same_path(theirs.data_directory, settings.data_directory)
    if same and holder is not None:
        return  # of which gateway it is, the caller asks
    used = theirs.shown_store if not same else "one in another data directory"
    names = " or ".join(DATA_SETTING[1])
    raise Conflict(
        f"the gateway (pid {own.pid}) does not use the database that the settings of this command name"
        f" ({settings.shown_store}), but {used}.",
        remedy=f"Nothing has changed. Run it with the variables that the gateway was started with (such as {names})."
        " If its settings have changed since then: gateway restart",
    )


def _is_same_path(one: Path, other: Path) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


@contextlib.contextmanager
def hold_gateway_locks(instance: Instance) -> Iterator[None]:
    """Let no gateway start that uses the database while it is exchanged, whatever its config.

    Raises:
        AlreadyRunning: one runs.
    """
    data = config.load(instance.env).data_directory
    with contextlib.ExitStack() as stack:
        for file in list_gateway_locks(instance.home, instance.config, data):
            held = lock.try_lock(file)
            if held is None:
                raise _refuse_busy(instance, file)
            stack.callback(held.release)
        yield


def _refuse_busy(instance: Instance, file: Path) -> AlreadyRunning:
    holder = record.read_record(file)
    if holder is None or not holder.is_alive or _is_same_path(Path(holder.configPath), instance.config):
        return AlreadyRunning("a gateway was started meanwhile.", remedy="Stop it, and run it again: gateway stop")
    return AlreadyRunning(
        f"a gateway runs with {file.parent} (pid {holder.pid}, config {holder.configPath}).",
        remedy=f"Stop it, and run it again: gateway stop --config {holder.configPath}",
    )
