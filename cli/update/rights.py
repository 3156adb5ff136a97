"""Who may update: the owner of the environment and of the state directory."""

from __future__ import annotations

import os

from cli.instance import Instance
from cli.update.installation import Installation
from gateway.errors import Forbidden


def require_rights(instance: Instance, site: Installation) -> None:
    """Refuse an update by somebody else than the owner of the environment and the state directory.

    Its files, and a gateway that it starts, would belong to that user.

    Raises:
        Forbidden: this user may not do it.
    """
    if os.name == "nt":
        return
    me = os.geteuid()
    for what, place in (("environment", site.environment), ("state directory", instance.home)):
        owner = place.stat().st_uid if place.exists() else me
        if owner != me:
            name = _name_user(owner)
            raise Forbidden(
                f"the {what} {place} belongs to {name}, and this is {_name_user(me)}.",
                remedy=f"Run it as that user: sudo -u '{name}' gateway update. If environment and state directory"
                " belong to two users, install the version by hand: docs/operations/upgrade.md",
            )
    if not os.access(site.candidate.parent, os.W_OK):
        raise Forbidden(
            f"{site.candidate.parent} cannot be written to, and an update builds the new version there.",
            remedy="Make it writable, or install the version by hand: docs/operations/upgrade.md",
        )


def _name_user(number: int) -> str:
    import pwd  # late: does not exist on Windows

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"#{number}"
