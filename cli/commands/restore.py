"""`gateway restore`: puts a backup into the state directory."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.command import Command, Interrupted, current_invocation
from cli.instance import Instance
from cli.lifecycle.gateway_locks import list_gateway_locks
from gateway import paths
from gateway.errors import AlreadyRunning, Conflict
from gateway.supervisor import interrupted_restore, lock, record, state_owner

if TYPE_CHECKING:
    from gateway.backup.contents import Installation
    from gateway.backup.restoring import RestoredBackup, RestoreOptions
    from gateway.backup.verifying import VerifiedBackup


@click.command(cls=Command)
@click.argument("file", metavar="FILE")
@click.option("--replace", is_flag=True, help="Replace what is there; it is kept in a directory that is named.")
@click.option("--resume/--no-resume", default=None, help="Whether tasks and deliveries that were open go on.")
@click.option("--fire-missed", is_flag=True, help="Let schedules fire the times that they missed since the backup.")
def COMMAND(file: str, replace: bool, resume: bool | None, fire_missed: bool) -> None:  # noqa: N802 the seam's name
    """Restore a backup that `gateway backup` made, here or on another machine.

    The backup is verified first, and nothing changes before all of it is unpacked. Then it is put in place; if that
    is interrupted, the next start finishes it. No gateway may run. What the backup does not contain stays as it is.

    If the gateway worked while the backup was made, it may have gone on: tasks that were open then are ended, and
    deliveries that were not sent are given up, so that nothing is done twice. gateway tasks retry and gateway
    deliveries retry repeat them; --resume lets all go on. With a backup of a gateway that was stopped, all goes on.

    \b
    Examples:
      gateway restore moongate-host-20260301T030000Z.tar.gz
      gateway restore all.tar.gz --replace

    Exit codes: 1 if the backup is damaged, something is there, or an update was interrupted; 75 if a gateway or an
    update runs; 78 if a newer version of Moongate made the backup.

    \b
    --json prints
      {"file": str, "version": str, "created_at": str, "host": str, "running": bool,
        "home": str, "config": str, "data": str, "kept": [str], "resumed": bool,
        "ended_tasks": int, "given_up_deliveries": int, "skipped_schedules": int,
        "variables": [str], "kept_secrets": [str], "restored_memories": int,
        "present_memories": int, "omitted": int, "lost": int, "dump": str | null}
    """
    from cli.backup import stopping
    from gateway.backup import restoring, verifying  # late: imports much
    from gateway.backup.restoring import RestoreOptions

    env = current_invocation().merged_environment
    path = paths.expand_path(file, "the backup")
    instance = Instance.from_environment(env)
    state_owner.refuse_foreign_state(instance.home, command="gateway restore")
    paths.make_private_directory(instance.home)
    try:
        with contextlib.ExitStack() as stack:
            stack.enter_context(stopping.interrupted_by_signals())
            waiting = stack.enter_context(output.show_waiting("verifying the backup"))
            found = verifying.verify_backup(path, waiting.set_text)
            verifying.check_version(found)
            place = restoring.find_installation(instance.home, instance.config, env, found)
            stack.enter_context(_locked(place))
            options = RestoreOptions(replace, resume, fire_missed)
            done = restoring.Restorer(place, found, options, waiting.set_text).restore_backup(env)
    except KeyboardInterrupt:
        raise _explain_interruption(instance.home) from None
    if current_invocation().json:
        output.print_json(_describe_restore(found, place, done))
    else:
        _print_restored(found, place, done, options)


def _explain_interruption(home: Path) -> Interrupted:
    if interrupted_restore.is_interrupted(home):
        return Interrupted("Stopped in the last step.", remedy="The next start finishes it: gateway start")
    return Interrupted("Stopped; nothing has changed.", remedy="Run the same command again.")


@contextlib.contextmanager
def _locked(place: Installation) -> Iterator[None]:
    """Let no gateway, no update and no other restore use the places of an installation.

    Raises:
        AlreadyRunning: one does.
        Conflict: an update was interrupted.
    """
    from cli.update import journal

    update, restore = paths.locks_directory(place.home) / journal.UPDATE_LOCK_FILE, paths.restore_lock_file(place.home)
    files = [update, restore, *list_gateway_locks(place.home, place.config, place.data)]
    with contextlib.ExitStack() as stack:
        for file in files:
            held = lock.try_lock(file)
            if held is None:
                raise _refuse_busy(file, place)
            stack.callback(held.release)
            if file == update:
                _refuse_interrupted_update(place.home)
            elif file == restore:
                _finish_earlier(place.home)
        yield


def _refuse_interrupted_update(home: Path) -> None:
    """Refuse to replace what an update goes on with.

    Raises:
        Conflict: an update was interrupted.
    """
    if (file := paths.update_journal_file(home)).exists():
        raise Conflict(
            "an update was interrupted, and would go on with another database; nothing has changed.",
            remedy="First finish or undo it: gateway update. If the environment that it updated is gone, remove"
            f" {paths.display_path(file)}.",
        )


def _finish_earlier(home: Path) -> None:
    from gateway.backup import pending

    if pending.finish_plan(home):
        output.print_note("An earlier restore was interrupted in its last step; that is finished now.")


def _refuse_busy(file: Path, place: Installation) -> AlreadyRunning:
    holder = record.read_record(file)
    if holder is None or not holder.is_alive:
        return AlreadyRunning(
            f"another command, or a gateway that starts, uses {output.shorten_home(place.home)}.",
            remedy="Wait until it has ended, or see: gateway status",
        )
    used = place.home if file.parent == paths.locks_directory(place.home) else file.parent
    return AlreadyRunning(
        f"a gateway runs with {output.shorten_home(used)} (pid {holder.pid}): nothing has changed.",
        remedy=f"Stop it first: gateway stop --config {holder.configPath}",
    )


def _describe_restore(found: VerifiedBackup, place: Installation, done: RestoredBackup) -> dict[str, Any]:
    return {
        "file": str(found.file),
        "version": found.header.version,
        "created_at": output.format_rfc3339(found.header.created_at),
        "host": found.header.host,
        "running": found.worked,
        "home": str(place.home),
        "config": str(place.config),
        "data": str(place.data),
        "kept": [str(path) for path in done.kept],
        "resumed": done.resumed,
        "ended_tasks": done.work.ended_runs,
        "given_up_deliveries": done.work.given_up_deliveries,
        "skipped_schedules": done.work.skipped_schedules,
        "variables": found.manifest.variables,
        "kept_secrets": [str(path) for path in done.kept_secrets],
        "restored_memories": done.memories.restored,
        "present_memories": done.memories.present,
        "omitted": found.manifest.omitted,
        "lost": found.manifest.lost,
        "dump": None if done.dump is None else str(done.dump),
    }


def _print_restored(found: VerifiedBackup, place: Installation, done: RestoredBackup, options: RestoreOptions) -> None:
    made = output.format_time(output.format_rfc3339(found.header.created_at))
    where = output.shorten_home(place.home)
    output.print_text(output.add_mark("✅", f"Restored the backup of {made} from {found.header.host} into {where}"))
    rows = [("What was there", ", ".join(output.shorten_home(path) for path in done.kept))] if done.kept else []
    work = done.work
    if work.ended_runs:
        rows.append(("Tasks", f"{work.ended_runs:,} were open and are ended; repeat one: gateway tasks retry ID"))
    if work.given_up_deliveries:
        said = f"{work.given_up_deliveries:,} are given up; send one: gateway deliveries retry ID"
        rows.append(("Deliveries", said))
    if work.skipped_schedules:
        rows.append(("Schedules", f"{work.skipped_schedules:,} do not fire the times that they missed"))
    if done.memories.restored or done.memories.present:
        stayed = f"; {done.memories.present:,} were there and stay" if done.memories.present else ""
        rows.append(("Memory of agents", f"{done.memories.restored:,} files{stayed}"))
    if rows:
        output.print_fields(rows)
    _print_notes(found, place, done)


def _print_notes(found: VerifiedBackup, place: Installation, done: RestoredBackup) -> None:
    where = output.shorten_home(place.home)
    if lost := found.manifest.lost:
        shown = paths.display_path(found.file)
        output.print_note(f"The backup lacks what was damaged or unreadable ({lost:,}): gateway backup verify {shown}")
    if done.kept_secrets:
        named = ", ".join(path.name for path in done.kept_secrets)
        output.print_note(f"The backup contains no secrets; these stay as they are here: {named}.")
    if found.manifest.variables:
        output.print_note(f"Secrets of the config are not in the backup. Set them in {where}/.env before the start:")
        for name in found.manifest.variables:
            output.print_note(f"  {name}=…")
        if formers := [kept / place.config.name for kept in done.kept if (kept / place.config.name).exists()]:
            output.print_note(f"The config from before may have their values: {output.shorten_home(formers[0])}")
    if done.dump is not None:
        shown = output.shorten_home(done.dump)
        output.print_note(f"Load the PostgreSQL database: pg_restore --clean --if-exists --dbname=URL {shown}")
    output.print_note("Start it: gateway start")
