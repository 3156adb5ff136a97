"""Tells what a change of the settings did, and reads a secret from standard input."""

from __future__ import annotations

import sys

from cli import output
from cli.command import complete_commands, current_invocation
from cli.config_edit import settings
from cli.config_edit.settings import KeyChange
from cli.config_edit.values import find_bare_secret, format_value, hide_value, is_secret
from cli.instance import Instance
from cli.remote import config_drift, probe
from cli.remote.probe import State
from gateway.errors import InvalidRequest

#: characters of a value on standard input, at most
MAX_GIVEN_CHARACTERS = 1 << 20
#: characters of a value in a message, at most
MAX_SHOWN_VALUE_CHARACTERS = 60

#: settings that the service's unit contains
_SERVICE_SETTINGS = {("gateway", "confined"), ("gateway", "stop_grace")}


def read_hidden_value(name: str) -> str:
    """Return a value from standard input, without the line break at its end; a terminal does not show it.

    Raises:
        InvalidRequest: there is none.
    """
    if sys.stdin.isatty():
        import getpass  # late: only for terminals

        text = getpass.getpass(f"Value of {name} (it is not shown): ")
    else:
        text = sys.stdin.read(MAX_GIVEN_CHARACTERS + 1)
    text = text.removesuffix("\n").removesuffix("\r")
    if not text or len(text) > MAX_GIVEN_CHARACTERS:
        raise InvalidRequest("the value on standard input is empty or too long.")
    return text


def print_change(instance: Instance, done: KeyChange, *, typed: bool, is_removal: bool = False) -> None:
    """Print what a change did, where the file before is, and what brings the change into force.

    Args:
        typed: whether the value was a word of the command line.
    """
    key, change = done.key, done.change
    override = settings.find_override(instance, key)
    is_running = probe.probe_gateway(instance).state is not State.STOPPED
    needs_restart = change.has_changed and is_running
    told = {
        "status": "ok",
        "key": key.name,
        "changed": change.has_changed,
        "config": str(change.file),
        "copy": None if change.copy is None else str(change.copy),
        "restart": needs_restart,
        "overridden_by": override or None,
    }
    output.print_result(told, _describe_change(done, is_removal=is_removal))
    if change.copy is not None and not current_invocation().json:
        output.print_note(f"The file before: {output.shorten_home(change.copy)}")
    if override:
        output.print_note(f"It has no effect now: another value comes from {_describe_source(override)}.")
    if change.has_changed and key.path == ("data", "directory"):
        output.print_note("What is stored stays in the directory before: move it while the gateway is stopped.")
    if change.has_changed and key.path in _SERVICE_SETTINGS:
        output.print_note(complete_commands("A service takes it with: gateway install"))
    elif needs_restart:
        advice = config_drift.advise_restart(instance)
        output.print_note(complete_commands(f"The running gateway takes it with: {advice}"))
    if typed and isinstance(done.after, str) and find_bare_secret(key, done.after):
        output.print_note("The secret may now be in the history of your shell. Next time, use --stdin.")


def _describe_source(override: str) -> str:
    origin, _, name = override.partition(": ")
    return f"the variable {name}" + (" in .env" if origin == ".env" else "")


def _describe_change(done: KeyChange, *, is_removal: bool) -> str:
    name, change = done.key.name, done.change
    if not change.has_changed:
        return f"{name} is not in the config file." if is_removal else f"{name} already has this value."
    if is_removal:
        default = done.key.default
        has_default = default is not None and not is_secret(done.key)
        return f"Removed {name}." + (f" It has its default again: {_shorten(done, default)}" if has_default else "")
    if is_secret(done.key):
        return f"Set {name}."
    was = f" (before: {_shorten(done, done.before)})" if done.before is not None else ""
    return f"Set {name} to {_shorten(done, done.after)}{was}."


def _shorten(done: KeyChange, value: object) -> str:
    return output.shorten_text(format_value(hide_value(done.key, value)), MAX_SHOWN_VALUE_CHARACTERS)
