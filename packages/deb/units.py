"""Writes the systemd units of the Debian package: one for the whole system, one that each user may enable.

    python packages/deb/units.py DIRECTORY

`service_templates` renders both, so they say what `gateway install` says. `gateway install` writes a unit of the same
name to a place that comes first.
"""

from __future__ import annotations

import sys
from pathlib import Path

import gateway
from gateway.supervisor.command_line import PACKAGE_ACCOUNT, PACKAGE_CONFIG, PACKAGE_HOME, PACKAGE_PREFIX
from service_templates import ServiceSpec, systemd

#: stands for the user's home until the unit is rendered: a rendered `%` would not be systemd's
_HOME_MARK = "/HOME-OF-THE-USER"
_SYSTEM_PATH = "/usr/local/bin:/usr/bin:/bin"
#: seconds of `gateway.stop_grace`, and what a stop may take beyond it
_STOP_SECONDS = 20


def render_system_unit() -> str:
    """Return the unit of the service that runs as its own account."""
    environment = (("MOONGATE_HOME", str(PACKAGE_HOME)), ("MOONGATE_CONFIG", str(PACKAGE_CONFIG)))
    return systemd.render(_make_spec(str(PACKAGE_HOME), _SYSTEM_PATH, environment, system=True))


def render_user_unit() -> str:
    """Return the unit that runs as the user who enables it, with the user's own state directory."""
    spec = _make_spec(_HOME_MARK, f"{_HOME_MARK}/.local/bin:{_SYSTEM_PATH}", (), system=False)
    return systemd.render(spec).replace(_HOME_MARK, "%h")


def _make_spec(directory: str, path: str, environment: tuple[tuple[str, str], ...], *, system: bool) -> ServiceSpec:
    return ServiceSpec(
        program=f"{PACKAGE_PREFIX}/bin/python",
        arguments=("-m", "gateway"),
        reload=("-m", "cli.main", "restart"),
        directory=directory,
        path=path,
        environment=(*environment, ("PYTHONSAFEPATH", "1")),
        output="/dev/null",  # systemd has its journal
        stop_seconds=_STOP_SECONDS,
        confined=True,
        user=PACKAGE_ACCOUNT,
        system=system,
        version=gateway.__version__,
    )


def main(directory: Path) -> None:
    for kind, text in (("system", render_system_unit()), ("user", render_user_unit())):
        folder = directory / kind
        folder.mkdir(parents=True)
        (folder / systemd.name("")).write_text(text)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
