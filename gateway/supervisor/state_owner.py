"""Keeps root from running the gateway of another user, whose files would then belong to root."""

from __future__ import annotations

import os
from pathlib import Path

from gateway.errors import ConfigError
from gateway.paths import display_path


def refuse_foreign_state(home: Path) -> None:
    """Refuse a start by root in a state directory of another user, or in a place of that user if there is none yet.

    `sudo` and `su` may keep HOME. Other users have no right to write there, so nothing happens to them.

    Raises:
        ConfigError: it belongs to another user.
    """
    if os.name != "posix" or os.geteuid() != 0:
        return
    place = next(place for place in (home, *home.parents) if os.path.lexists(place))
    owner = place.stat().st_uid if place.exists() else 0  # another check refuses a link that leads nowhere
    if owner != 0:
        name = _find_user_name(owner)
        who = f"user {name}" if name else f"the user with id {owner}"
        raise ConfigError(
            f"the state directory {display_path(home)} belongs to {who}, and this is root: the gateway and its agents"
            " would have all rights, and their files would belong to root.",
            remedy=f"Run the command as that user: sudo -u '{name or f'#{owner}'}' gateway start"
            f"\nIf root is meant to run it: chown -R root '{place}'",
        )


def _find_user_name(number: int) -> str | None:
    import pwd  # late: does not exist on Windows

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return None
