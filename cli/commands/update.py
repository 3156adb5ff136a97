"""`gateway update`: another version of Moongate, or the present one goes on."""

from __future__ import annotations

import contextlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import click

import gateway
from cli import output
from cli.arguments import Duration
from cli.command import Command, current_invocation, require_config
from cli.instance import Instance
from gateway.errors import ConfigError, GatewayError, NotFound
from gateway.process.own_environment import keep_own_environment
from gateway.supervisor import interrupted_restore, lock
from gateway.supervisor.own_agent import refuse_own_agent
from gateway.updates.versions import version_key

if TYPE_CHECKING:
    from cli.output import WaitIndicator
    from cli.update.installation import Installation
    from cli.update.job import Result


@click.command(cls=Command)
@click.option("--check", is_flag=True, help="Only say whether there is a newer version.")
@click.option("--version", "version", metavar="VERSION", help="The version to install.  [default: the newest]")
@click.option("--rollback", is_flag=True, help="Go back to the version from before the last update.")
@click.option(
    "--discard-work-since-update",
    "discard",
    is_flag=True,
    help="With --rollback: also if the version before cannot read what came since then. It is kept aside.",
)
@click.option(
    "--trial/--no-trial",
    default=True,
    help="Start the new version with a copy of the database first, which needs room for one.  [default: --trial]",
)
@click.option(
    "--watch",
    type=Duration(most=3600),
    default=15.0,
    metavar="DURATION",
    help="How long to watch the other version before the update counts as done.  [default: 15s]",
)
def COMMAND(  # noqa: N802 the seam's name
    check: bool, version: str | None, rollback: bool, discard: bool, trial: bool, watch: float
) -> None:
    """Update Moongate; if the new version does not serve, the present one does again.

    The new version is built next to the present one and tried. Then a backup is made, the two are exchanged, the
    gateway restarts without refusing anybody, and is watched. If it fails, the present version is put back, with the
    database as it was if that was migrated. An update that was interrupted is finished or undone first.

    It works where Moongate was installed with pip in a virtual environment, with pipx, with uv tool, or from a clone.
    Elsewhere it says what to run (exit code 1).

    \b
    Examples:
      gateway update --check
      gateway update
      gateway update --version 0.3.1
      gateway update --rollback

    \b
    --json prints
      with --check: {"current", "latest": str or null, "available": bool, "kind", "how": the command to run}
      otherwise: {"updated": bool, "from", "to", "kind", "backup": str or null, "replaced": bool, "notes": [str]}
    """
    keep_own_environment()  # the exchange comes while this process runs
    from cli.update import installation, locking, recovery, rights  # late: they import all of the gateway

    require_config()
    if ((version or check) and rollback) or (discard and not rollback):
        raise click.UsageError("--rollback goes with neither --check nor --version, and --discard-… only with it.")
    if version is not None and version_key(version := version.strip().removeprefix("v")) is None:
        raise click.UsageError("--version is that of a release, such as 0.3.1.")
    instance = Instance.from_environment(current_invocation().merged_environment)
    site = _find_site(instance)
    if check:
        _print_check(instance, site)
        return
    refuse_own_agent(lock.lock_holder(instance.lock_file), "gateway update")
    if site.kind in installation.UPDATABLE:
        rights.require_rights(instance, site)
    with output.show_waiting("looking for an interrupted update") as told, locking.hold_lock(instance, site):
        interrupted_restore.finish_interrupted_restore(instance.home)  # first: it brings another database
        is_gone_back = recovery.was_rollback(instance)
        ended = recovery.recover(instance, site, told, watch)
        if ended is None or version is not None or (rollback and not is_gone_back):
            ended = _update(instance, site, told, version, Ways(watch, rollback, discard, trial))
    _print_result(ended, site, is_named=version is not None)


class Ways(NamedTuple):
    """The options of an update."""

    watch: float
    rollback: bool
    discard: bool
    trial: bool


def _find_site(instance: Instance) -> Installation:
    from cli.update import installation

    source = Path(gateway.__file__).parent.parent
    return installation.find_installation(Path(sys.prefix), Path(sys.base_prefix), source, instance.env)


def _update(
    instance: Instance,
    site: Installation,
    told: WaitIndicator,
    version: str | None,
    ways: Ways,
) -> Result:
    from cli.update import check, driver, installation, kept_environment, release
    from cli.update.job import Job, Result

    if ways.rollback:
        wanted = kept_environment.read_kept_version(site, instance.env)
        if wanted in (None, gateway.__version__):
            raise NotFound("there is no version from before an update.", remedy="Or: gateway update --version VERSION")
    else:
        told.set_text("asking which versions there are")
        newest = version or check.find_newest(instance, site)
        if newest is None:
            note = check.explain_none(site)
            return Result(gateway.__version__, gateway.__version__, None, replaced=False, notes=(note,))
        wanted = version or release.choose_update(newest, gateway.__version__)
    if wanted is None or version_key(wanted) == version_key(gateway.__version__):
        return Result(gateway.__version__, gateway.__version__, None, replaced=False)
    if site.kind not in installation.UPDATABLE:
        raise GatewayError(
            f"version {wanted} was not installed: this Moongate was installed as {site.kind}.",
            remedy=f"Run: {_explain_update(instance, site, wanted)}",
        )
    return driver.update(
        Job(
            instance,
            site,
            wanted,
            told,
            ways.watch,
            is_rollback=ways.rollback,
            discard=ways.discard,
            has_trial=ways.trial,
        )
    )


def _explain_update(instance: Instance, site: Installation, version: str | None) -> str:
    """Return the commands for an installation that `gateway update` does not change."""
    from cli.update import origin

    words: list[str] = []
    with contextlib.suppress(ConfigError):  # not known
        words = origin.find_origin(site, instance.env).list_words(is_uv=False)
    return site.explain_update(version or "VERSION", words)


def _print_check(instance: Instance, site: Installation) -> None:
    from cli.update import check, installation
    from gateway.updates import versions

    with output.show_waiting("asking which versions there are"):
        latest = check.find_newest(instance, site)
    available = latest is not None and versions.is_newer(latest, gateway.__version__)
    how = "gateway update" if site.kind in installation.UPDATABLE else _explain_update(instance, site, latest)
    said = f"Version {latest} is available (this is {gateway.__version__}). Update: {how}"
    if not available:
        said = check.explain_none(site) if latest is None else f"Version {gateway.__version__} is the newest."
    told = {"current": gateway.__version__, "latest": latest, "available": available, "kind": site.kind, "how": how}
    output.print_result(told, said)


def _print_result(ended: Result, site: Installation, *, is_named: bool) -> None:
    updated = ended.from_version != ended.to_version
    told = {
        "updated": updated,
        "from": ended.from_version,
        "to": ended.to_version,
        "kind": site.kind,
        "backup": ended.backup,
        "replaced": ended.replaced,
        "notes": list(ended.notes),
    }
    if not updated:
        said = "is installed already" if is_named else "is the newest"
        output.print_result(told, "\n".join(ended.notes) or f"Version {ended.to_version} {said}.")
        return
    rows = [output.add_mark("✅", f"Moongate {ended.from_version} → {ended.to_version}")]
    rows += [f"   Backup: {ended.backup}"] if ended.backup else []
    rows += ["   Go back: gateway update --rollback"]
    rows += [] if ended.replaced else ["   The gateway does not run: gateway start"]
    output.print_result(told, "\n".join([*rows, *(f"   {note}" for note in ended.notes)]))
