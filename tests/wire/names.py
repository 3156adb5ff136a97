"""Where the code has what is promised. When something moves or gets another name, this is the one place to follow."""

from __future__ import annotations

import enum
import os
import typing
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import apsw
import click
from msgspec import Struct

from gateway.errors import GatewayError


def openapi_document() -> dict[str, Any]:
    from gateway.api import openapi, routing

    return openapi.document(routing.all_routes())


def migrations() -> Iterator[tuple[str, str]]:
    from gateway.store.sqlite import opening

    yield from ((one.name, one.checksum) for one in opening.migrations())


def new_database(path: Path) -> apsw.Connection:
    from gateway.store.sqlite import opening

    return opening.connect(path, lambda: 0)


def stored_structs() -> Iterator[tuple[str, type[Struct]]]:
    from gateway.domain import event, run, schedule
    from gateway.engine.resources import named_sessions

    yield "run", run.RunSpec
    yield "schedule", schedule.ScheduleSpec
    yield "named session", named_sessions.Named
    for kind in typing.get_args(event.AnyHappening):
        yield f"event {kind.__struct_config__.tag}", kind


def stored_words() -> Iterator[tuple[str, Iterable[Any]]]:
    from gateway.domain import delivery, permission, run, schedule, session

    yield "run's status", run.Status
    yield "run's outcome", run.Outcome
    yield "delivery's status", delivery.DeliveryStatus
    yield "schedule's outcome", schedule.FireOutcome
    yield "permission's answer", permission.Answer
    yield "permission's lapse", permission.Lapse
    yield "message's role", session.Role


def control_messages() -> type[enum.Enum]:
    from gateway.control_channel import Word

    return Word


def kept_over_a_re_execution() -> Iterator[tuple[str, set[str]]]:
    """Yield what the dictionaries are about that a supervisor leaves its next self, and some keys to know them by."""
    yield "kept by a supervisor", {"listener", "instance"}
    yield "kept by a supervisor", {"who"}
    yield "kept of a generation", {"pid", "rest"}


def settings() -> Iterator[tuple[str, Any, Any, tuple[str, ...]]]:
    """Yield name, type, default and environment names of each."""
    from gateway import config

    yield from ((one.name, one.type, one.default, one.env) for one in config.table())


def option_structs() -> Iterator[tuple[str, type[Struct]]]:
    """Yield what the settings hold whose fields are not in their table."""
    from gateway import backends, channels
    from gateway.domain.agent import Agent
    from gateway.domain.inbound import InletSettings

    yield "agent", Agent
    yield "inbound webhook", InletSettings
    yield from ((f"agent of {name}", kind.options) for name, kind in backends.kinds().items())
    yield from ((f"channel {name}", kind.options) for name, kind in channels.kinds().items() if kind.options)


def named_kinds() -> Iterator[tuple[str, Iterable[str]]]:
    """Yield what the settings choose from by name."""
    from gateway import backends, channels, inbound

    yield "backend", backends.kinds()
    yield "channel", channels.kinds()
    yield "inbound provider", inbound.providers()


def errors() -> Iterator[type[GatewayError]]:
    from gateway.api import routing

    program(), routing.all_routes()  # these have loaded all that has errors of its own
    new: list[type[GatewayError]] = [GatewayError]
    while new:
        yield (found := new.pop())
        new += found.__subclasses__()


def files() -> Iterator[str]:
    """Yield where things are in the state directory, and what is made of the config's name."""
    from gateway import paths
    from gateway.config import Config

    state, usual, other = Path("/state"), Path("/state/config.json"), Path("/etc/other.json")
    yield from (str(found) for found in (paths.home({"HOME": "/home"}), paths.config({"HOME": "/home"})))
    yield from (str(found) for found in (paths.token(state), paths.webhook_secret(state), paths.scratch(state)))
    for config in (usual, other):
        yield from (str(found(state, config)) for found in (paths.log_file, paths.start_file, paths.lock))
        yield str(paths.last_good(config))
    made = Config(home=state, path=usual)
    yield from (str(found) for found in (made.database, paths.data_lock(made.data_directory)))


#: names in the state directory, in data directories and in those of service managers that `files` does not come by
PARTS_OF_PATHS = r"\.env|backends|data|locks|logs|outputs|scratch|service\.log|workspaces"


def notes_beside(lock: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what processes leave for each other beside a lock, with what writes it."""
    from gateway.supervisor import intent, last_stop

    yield "restart", lambda: intent.ask(lock, os.getpid(), hard=False, reason="")
    yield "restarted", lambda: intent.answer(lock, intent.Outcome("0123456789abcdef", True, 1, 2, ""))
    yield "grace", lambda: intent.say_grace(lock, os.getpid(), 1.0)
    yield "last stop", lambda: last_stop.write(lock, "", 0, "")


def lock_record_fields() -> Iterable[str]:
    from gateway.supervisor.record import Record

    return Record._fields


def services() -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield what service managers know our services by: the usual one, and one with a suffix."""
    from service_templates import launchd, systemd, taskscheduler

    for manager in (launchd, systemd, taskscheduler):
        yield manager.__name__.rpartition(".")[2], (manager.name(""), manager.name("other"))


def program() -> click.Command:
    from cli.main import COMMAND

    return COMMAND
