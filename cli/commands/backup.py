"""`gateway backup`: everything of this installation in one file."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from cli import output
from cli.command import Group, Interrupted, current_invocation, find_first_other_word, require_config
from gateway import paths
from gateway.domain.file import describe_size
from gateway.errors import ConfigError, GatewayError
from gateway.supervisor import interrupted_restore, state_owner

if TYPE_CHECKING:
    from gateway.backup.contents import BackupChoice
    from gateway.backup.writing import WrittenBackup
    from gateway.config import Config


class _BackupGroup(Group):
    """A group whose first word may be the place of a backup, too."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not ctx.resilient_parsing and "--help" not in args[:1]:
            at = _find_first_argument(args)
            if at < len(args) and args[at] in self.commands:  # options may stand before it
                args = [args[at], *args[:at], *args[at + 1 :]]
            else:
                args = ["create", *args]
        return super().parse_args(ctx, args)


def _find_first_argument(args: list[str]) -> int:
    at = 0
    while at < len(args):
        at += find_first_other_word(args[at:])
        if at < len(args) and not args[at].startswith("-"):
            break
        at += 1
    return at


@click.group(cls=_BackupGroup, subcommand_metavar="[DIR|FILE] [OPTIONS] | COMMAND [ARGUMENTS]...")
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Back up everything into one file, while the gateway works.

    The file contains the config, the database with its sessions, tasks, schedules and tokens, the files of messages,
    and the agents' workspaces. It gets its name when it is whole. In a directory, its name tells the machine and the
    time. Without a place, the backup is made in the directory of the setting `backup.directory`.

    \b
    Examples:
      gateway backup                            make a backup in the usual directory
      gateway backup /mnt/backups               make one in that directory
      gateway backup /mnt/all.tar.gz --secrets  with .env, token and webhook secret
      gateway backup verify /mnt/all.tar.gz     read it through, and compare its checksums
      gateway backup list                       list the backups of the usual directory

    To make one each day by itself, set backup.every to 24. To use one: gateway restore FILE.
    """


@COMMAND.command()
@click.argument("place", metavar="[DIR|FILE]", required=False)
@click.option(
    "--secrets", is_flag=True, help="Take .env, the token, the webhook secret, and those in the config along."
)
@click.option("--no-workspaces", is_flag=True, help="Leave the directories of sessions out.")
@click.option("--no-database", is_flag=True, help="Leave the database and the files of messages out.")
@click.option("--agents", is_flag=True, help="Take along what opencode, Claude Code and Gemini CLI remember.")
@click.option("--for", "purpose", type=click.Choice(["hand", "plan", "update"]), default="hand", hidden=True)
def create(
    place: str | None, secrets: bool, no_workspaces: bool, no_database: bool, agents: bool, purpose: str
) -> None:
    """Make a backup. The name of this command may be left out.

    DIR|FILE is a directory, which is created if it is missing, or a file that ends with .tar.gz.

    Without --secrets, secrets in the config are replaced by variables, which the restore names.

    \b
    Examples:
      gateway backup /mnt/backups
      gateway backup /mnt/all.tar.gz --secrets --agents

    \b
    --json prints
      {"file": str, "bytes": int, "format": int, "version": str, "schema": int,
        "created_at": str, "host": str, "home": str, "running": bool,
        "purpose": str, "parts": {NAME: {"files": int, "bytes": int}}, "omitted": int, "lost": int,
        "omissions": [{"name": str, "reason": str}], "variables": [str],
        "agents": [{"agent": str, "path": str, "bytes": int, "included": bool}]}
    """
    from cli.backup import shown, stopping  # late: imports much, as below
    from gateway import config
    from gateway.backup.contents import BackupChoice

    require_config()
    env = current_invocation().merged_environment
    home = paths.state_directory(env)
    state_owner.refuse_foreign_state(home, command="gateway backup")
    interrupted_restore.finish_interrupted_restore(home)  # first: it may bring another config
    settings = config.load(env)
    to = settings.backup_directory if place is None else paths.expand_path(place, "the backup")
    wanted = BackupChoice(secrets, not no_database, not no_workspaces, agents)
    try:
        with stopping.interrupted_by_signals():
            made = _make_backup(settings, wanted, to, purpose)
    except KeyboardInterrupt:
        raise Interrupted("Stopped; no backup was made.", remedy="Nothing is left of it.") from None
    if current_invocation().json:
        told = shown.describe_backup(made.header, made.manifest)
        output.print_json({"file": str(made.file), "bytes": made.size, **told})
        return
    size = describe_size(made.size)
    output.print_text(output.add_mark("✅", f"Backup {output.shorten_home(made.file)} ({size})"))
    shown.print_parts(made.header, made.manifest)
    shown.print_omissions(made.manifest)


def _make_backup(settings: Config, wanted: BackupChoice, to: Path, purpose: str) -> WrittenBackup:
    from gateway.backup import making
    from gateway.backup.manifest import Purpose
    from gateway.supervisor import lock

    env = current_invocation().merged_environment
    data_lock = paths.data_lock_file(settings.data_directory)

    def is_running() -> bool:
        return data_lock.exists() and lock.is_held(data_lock)

    with output.show_waiting("making a backup") as waiting:
        secrets = [] if wanted.secrets else _find_secrets(settings, env)
        return making.make_backup(
            settings,
            wanted,
            to,
            secrets=secrets,
            is_running=is_running,
            report=waiting.set_text,
            purpose=Purpose(purpose),
        )


def _find_secrets(settings: Config, env: Mapping[str, str]) -> list[str]:
    """Return the values of the config that must not be in a backup.

    Raises:
        ConfigError: a channel or an endpoint names a secret that cannot be read.
    """
    from gateway.assembly.checks import check_settings
    from gateway.assembly.secret_values import collect_secrets

    try:
        agents = check_settings(settings, env)
    except ConfigError:  # one that cannot be used now must not keep a backup from being made
        agents = []
    return collect_secrets(settings, agents, env)


@COMMAND.command()
@click.argument("file", metavar="FILE")
def verify(file: str) -> None:
    """Read a backup through, compare the checksum of each member, and check the database.

    \b
    Example:
      gateway backup verify /mnt/backups/moongate-host-20260301T030000Z.tar.gz

    Exit code 1 if it is damaged, 78 if a newer version made it.

    \b
    --json prints the same as gateway backup, and "ok": true
    """
    from cli.backup import shown
    from gateway.backup import verifying

    path = paths.expand_path(file, "the backup")
    try:
        with output.show_waiting("verifying the backup") as waiting:
            found = verifying.verify_with_database(path, waiting.set_text)
            verifying.check_version(found)
    except KeyboardInterrupt:
        raise Interrupted("Stopped; the backup was not read to its end.") from None
    if current_invocation().json:
        told = shown.describe_backup(found.header, found.manifest)
        output.print_json({"ok": True, "file": str(path), "bytes": path.stat().st_size, **told})
        return
    size = describe_size(path.stat().st_size)
    said = f"{output.shorten_home(path)} is whole ({size}, {found.manifest.members:,} members)"
    output.print_text(output.add_mark("✅", said))
    shown.print_parts(found.header, found.manifest)
    shown.print_omissions(found.manifest)


@COMMAND.command("list")
@click.argument("directory", metavar="[DIR]", required=False)
def list_backups(directory: str | None) -> None:
    """List the backups of a directory, the newest first. They are not verified.

    \b
    Example:
      gateway backup list /mnt/backups

    \b
    --json prints
      {"directory": str, "backups": [{"file": str, "bytes": int, "created_at": str | null,
        "version": str | null, "host": str | null, "error": str | null}]}
    """
    from gateway import config
    from gateway.backup import keeping, reading

    if directory is None:
        require_config()
        place = config.load(current_invocation().merged_environment).backup_directory
    else:
        place = paths.expand_path(directory, "the directory")
    rows: list[dict[str, Any]] = []
    for file in keeping.list_backups(place):
        try:
            size = file.stat().st_size
        except OSError:  # the gateway has just removed it
            continue
        told = {"file": str(file), "bytes": size, "created_at": None, "version": None, "host": None}
        try:
            with reading.open_backup(file) as reader:
                header = reader.read_header()
        except GatewayError as error:
            rows.append({**told, "error": error.message})
            continue
        made = output.format_rfc3339(header.created_at)
        rows.append({**told, "created_at": made, "version": header.version, "host": header.host, "error": None})
    if current_invocation().json:
        output.print_json({"directory": str(place), "backups": rows})
        return
    table = [
        (Path(row["file"]).name, describe_size(row["bytes"]), output.format_time(row["created_at"]), row["error"] or "")
        for row in rows
    ]
    output.print_list(("file", "size", "made", "error"), table)
