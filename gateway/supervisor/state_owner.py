"""Keeps root from running the gateway of another user, whose files would then belong to root."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from gateway.errors import ConfigError
from gateway.paths import display_path


def refuse_foreign_state(
    home: Path, environ: Mapping[str, str] = os.environ, *, command: str = "gateway start"
) -> None:
    """Refuse that root writes to the state directory of a user, or to a place of that user if there is none yet.

    `sudo` and `su` may keep HOME. A directory is a user's if it is in the home directory of its owner, or if its owner
    called `sudo`. Others are not refused: in a container, root often runs on a volume that has the host's user ids.
    Other users than root have no right to write there, so nothing happens to them.

    Args:
        command: what to run as that user instead.

    Raises:
        ConfigError: it belongs to another user.
    """
    if os.name != "posix" or os.geteuid() != 0:
        return
    place = next(place for place in (home, *home.parents) if os.path.lexists(place))
    owner = place.stat().st_uid if place.exists() else 0  # another check refuses a link that leads nowhere
    if owner == 0:
        return
    name, own_home = _find_user(owner)
    if environ.get("SUDO_UID") == str(owner) or (own_home is not None and place.resolve().is_relative_to(own_home)):
        who = f"user {name}" if name else f"the user with id {owner}"
        raise ConfigError(
            f"the state directory {display_path(home)} belongs to {who}, and this is root: the gateway and its agents"
            " would have all rights, and their files would belong to root.",
            remedy=f"Run the command as that user: sudo -u '{name or f'#{owner}'}' {command}"
            f"\nIf root is meant to run it: chown -R root '{place}'",
        )


def _find_user(number: int) -> tuple[str | None, Path | None]:
    """Return the name of a user and the home directory, if that is one of a person and not the root directory."""
    import pwd  # late: does not exist on Windows

    try:
        found = pwd.getpwuid(number)
    except KeyError:
        return None, None
    home = Path(found.pw_dir)
    return found.pw_name, home.resolve() if home.is_absolute() and home != Path("/") else None
