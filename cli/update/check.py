"""Asks which version is the newest, and stores the answer in the state directory."""

from __future__ import annotations

import os
import shlex

from cli.instance import Instance
from cli.update import origin, release, tools
from cli.update.installation import Installation, Kind
from gateway.domain.times import wall_clock
from gateway.errors import GatewayError, Unavailable
from gateway.updates import versions
from gateway.updates.status import UpdateStatus, read_update_status, write_update_status


def find_newest(instance: Instance, site: Installation) -> str | None:
    """Return the newest version; None if there is none that counts as released.

    Raises:
        GatewayError: it cannot be asked.
    """
    try:
        latest = _ask(instance, site)
    except GatewayError as error:
        known = read_update_status(instance.home) if isinstance(error, Unavailable) else None
        latest = None if known is None else known.latest
        _store(instance, UpdateStatus(wall_clock(), latest, error.message))
        raise
    _store(instance, UpdateStatus(wall_clock(), latest, None))
    return latest


def explain_none(site: Installation) -> str:
    """Return why no released version is known, and what to do."""
    if site.kind is Kind.CLONE:
        return (
            "No released version is known: this clone has no tags of releases (such as v0.3.0), also after"
            " `git fetch --tags`. Take them from a repository that has them:"
            f" git -C {shlex.quote(str(site.source))} fetch URL --tags. Or update by hand: git pull, then scripts/run"
        )
    return (
        "No released version is known: where Moongate comes from, there are only versions from before a release."
        " To install one: gateway update --version VERSION"
    )


def _ask(instance: Instance, site: Installation) -> str | None:
    if site.kind is Kind.CLONE:
        return versions.choose_newest(release.list_tags(site.source, instance.env))
    asked = origin.find_origin(site, instance.env)
    python = tools.interpreter_of(site.environment)
    place = instance.home / "scratch" / f"update-tools-{os.getpid()}"
    try:
        installer = tools.find_installer(site.environment, instance.env, place)
        return versions.choose_newest([release.find_offered_version(installer, python, asked)])
    finally:
        tools.remove_tools(place)


def _store(instance: Instance, status: UpdateStatus) -> None:
    if instance.home.is_dir():
        write_update_status(instance.home, status)
