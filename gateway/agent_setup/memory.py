"""Remembers, in the state directory, the agent that was found on this machine when none was configured.

Another start may see another PATH: that of cron, of a service, of another shell. What was found at first
stays in force, so that a gateway does not change its agent because of that.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
from msgspec import Struct

from gateway import paths, private_file
from gateway.errors import ConfigError
from gateway.paths import display_path

#: bytes of the file that are read
MAX_MEMORY_BYTES = 64 * 1024
#: how a user repairs the file
_REPAIR_REMEDY = "Look for an agent again: gateway agents detect"


class _Memory(Struct, frozen=True):
    """The content of the file. A later version may add fields."""

    #: the agent, as an entry of `agents.list`
    agent: dict[str, Any]


def read_remembered_agent(home: Path) -> dict[str, Any] | None:
    """Return the entry of the agent that was found; None if none ever was.

    Raises:
        ConfigError: the file cannot be read.
    """
    file = paths.found_agent_file(home)
    try:
        return msgspec.json.decode(private_file.read_private_file(file, MAX_MEMORY_BYTES), type=_Memory).agent
    except FileNotFoundError:
        return None
    except OSError as error:
        why = error.strerror or str(error)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        why = "its content is damaged"
    raise ConfigError(f"cannot read {display_path(file)}: {why.rstrip('.')}.", remedy=_REPAIR_REMEDY)


def remember_agent(home: Path, entry: dict[str, Any]) -> None:
    """Store the entry of the agent that was found.

    Raises:
        OSError: it cannot be written.
    """
    file = paths.found_agent_file(home)
    paths.make_private_directory(home)
    private_file.replace_private_file(file, msgspec.json.encode(_Memory(entry)) + b"\n")
