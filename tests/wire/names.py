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

    return openapi.build_document(routing.discover_routes())


def migrations() -> Iterator[tuple[str, str]]:
    from gateway.store.sql.migrations import read_package

    for prefix, database in (("", "sqlite"), ("postgres ", "postgres")):
        for one in read_package(f"gateway.store.{database}.migrations"):
            yield f"{prefix}{one.name}", one.checksum


def new_database(path: Path) -> apsw.Connection:
    from gateway.store.sqlite import opening

    return opening.open_writer(path, lambda: 0)


def stored_structs() -> Iterator[tuple[str, type[Struct]]]:
    from gateway.domain import event, run, schedule
    from gateway.engine.resources import named_sessions

    yield "run", run.RunSpec
    yield "schedule", schedule.ScheduleSpec
    yield "named session", named_sessions.NamedSession
    for kind in typing.get_args(event.AnyEventData):
        yield f"event {kind.__struct_config__.tag}", kind


def stored_words() -> Iterator[tuple[str, Iterable[Any]]]:
    from gateway.domain import delivery, permission, run, schedule, session

    yield "run's status", run.Status
    yield "run's outcome", run.Outcome
    yield "delivery's status", delivery.DeliveryStatus
    yield "schedule's outcome", schedule.FireOutcome
    yield "permission's answer", permission.Answer
    yield "permission's lapse", permission.DenialReason
    yield "message's role", session.Role


def control_messages() -> type[enum.Enum]:
    from gateway.control_channel import MessageType

    return MessageType


def kept_over_a_re_execution() -> Iterator[tuple[str, set[str]]]:
    """Yield what the dictionaries are about that a supervisor leaves its next self, and some keys to know them by."""
    yield "kept by a supervisor", {"listener", "instance"}
    yield "kept by a supervisor", {"who"}
    yield "kept of a generation", {"pid", "rest"}


def settings() -> Iterator[tuple[str, Any, Any, tuple[str, ...]]]:
    """Yield name, type, default and environment names of each."""
    from gateway import config

    yield from ((one.name, one.type, one.default, one.env) for one in config.list_settings())


def option_structs() -> Iterator[tuple[str, type[Struct]]]:
    """Yield what the settings hold whose fields are not in their table."""
    from gateway import backends, channels
    from gateway.domain.agent import Agent
    from gateway.domain.inbound import WebhookEndpointSettings

    yield "agent", Agent
    yield "inbound webhook", WebhookEndpointSettings
    yield from ((f"agent of {name}", kind.options) for name, kind in backends.find_backends().items())
    yield from ((f"channel {name}", kind.options) for name, kind in channels.find_channels().items() if kind.options)


def named_kinds() -> Iterator[tuple[str, Iterable[str]]]:
    """Yield what the settings choose from by name."""
    from gateway import backends, channels, inbound

    yield "backend", backends.find_backends()
    yield "channel", channels.find_channels()
    yield "inbound provider", inbound.find_providers()


def errors() -> Iterator[type[GatewayError]]:
    from gateway.api import routing

    program(), routing.discover_routes()  # these have loaded all that has errors of its own
    new: list[type[GatewayError]] = [GatewayError]
    while new:
        yield (found := new.pop())
        new += found.__subclasses__()


def files() -> Iterator[str]:
    """Yield where things are in the state directory, and what is made of the config's name."""
    from gateway import paths
    from gateway.config import Config

    state, usual, other = Path("/state"), Path("/state/config.json"), Path("/etc/other.json")
    yield from (
        str(found) for found in (paths.state_directory({"HOME": "/home"}), paths.config_file({"HOME": "/home"}))
    )
    yield from (
        str(found)
        for found in (paths.token_file(state), paths.webhook_secret_file(state), paths.scratch_directory(state))
    )
    for config in (usual, other):
        yield from (str(found(state, config)) for found in (paths.log_file, paths.start_output_file, paths.lock_file))
        yield str(paths.last_good_config(config))
    made = Config(home=state, path=usual)
    yield from (str(found) for found in (made.database_path, paths.data_lock_file(made.data_directory)))


#: names in the state directory, in data directories and in those of service managers that `files` does not come by
PARTS_OF_PATHS = r"\.env|backends|data|locks|logs|outputs|scratch|service\.log|workspaces"


def notes_beside(lock: Path) -> Iterator[tuple[str, Callable[[], object]]]:
    """Yield what processes leave for each other beside a lock, with what writes it."""
    from gateway.supervisor import intent, last_stop

    yield "restart", lambda: intent.leave_intent(lock, os.getpid(), hard=False, reason="")
    yield "restarted", lambda: intent.write_outcome(lock, intent.Outcome("0123456789abcdef", True, 1, 2, ""))
    yield "grace", lambda: intent.leave_grace(lock, os.getpid(), 1.0)
    yield "last stop", lambda: last_stop.write_last_stop(lock, "", 0, "")


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
