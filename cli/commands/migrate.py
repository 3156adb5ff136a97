"""`gateway migrate`: copies the store of this installation into PostgreSQL, or back into a SQLite file."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import click

from cli import output
from cli.command import Command, Interrupted, current_invocation, require_config
from gateway import paths
from gateway.errors import AlreadyRunning
from gateway.supervisor import lock, record

if TYPE_CHECKING:
    from gateway.config import Config
    from gateway.store.moving.choice import Move
    from gateway.store.moving.copying import CopiedTable


@click.command(cls=Command)
@click.option(
    "--to",
    required=True,
    metavar="URL|sqlite|PATH",
    help="Where the copy is made: the URL of an empty PostgreSQL database; `sqlite` for the file in the data"
    " directory; or another file.",
)
def COMMAND(to: str) -> None:  # noqa: N802 the seam's name
    """Copy the whole store into PostgreSQL, or from there back into a SQLite file.

    The store of the settings is copied row for row, and is not changed. Then both are compared. The gateway must be
    stopped, on all machines. If the command is interrupted, run it again: it goes on. Until it has ended, no gateway
    starts with the copy. The contents of files are copied, too.

    The settings stay as they are; at the end the command says what to set. A password need not be in the URL: see
    store.password_file, or PGPASSFILE of PostgreSQL.

    \b
    Examples:
      gateway migrate --to postgresql://moongate@db.example.com/moongate
      gateway migrate --to sqlite

    Exit code 75 if a gateway runs, 1 if the target has other rows.

    \b
    --json prints
      {"from": str, "to": str, "seconds": float,
        "tables": [{"name": str, "rows": int, "checksum": str}]}
    """
    from gateway import config  # late: imports much
    from gateway.store.moving import choice

    require_config()
    settings = config.load(current_invocation().merged_environment)
    move = choice.choose_move(settings, to)
    began = time.monotonic()
    try:
        with _locked(settings.data_directory, move.file.parent):
            source, target, tables = _copy_store(move)
    except KeyboardInterrupt:
        raise Interrupted(
            "Stopped; the copy is not finished.", remedy="Run the same command again: it goes on."
        ) from None
    _print_tables(source, target, tables, time.monotonic() - began)
    output.print_note(_describe_next_step(move, settings, to))


@contextlib.contextmanager
def _locked(directory: Path, of_file: Path) -> Iterator[None]:
    """Let no gateway use the data directory, nor that of the file if it is one.

    Raises:
        AlreadyRunning: a gateway uses it.
    """
    places = [directory]
    if of_file.resolve() != directory.resolve() and paths.data_lock_file(of_file).exists():
        places.append(of_file)
    with contextlib.ExitStack() as stack:
        for place in places:
            file = paths.data_lock_file(place)
            held = lock.try_lock(file)
            if held is None:
                raise _refuse_running(place, record.read_record(file))
            stack.callback(held.release)
        yield


def _refuse_running(directory: Path, holder: record.Record | None) -> AlreadyRunning:
    shown = output.shorten_home(directory)
    if holder is None or not holder.is_alive:
        return AlreadyRunning(
            f"the data directory {shown} is in use by another command, or by a gateway that starts.",
            remedy="Wait until it has ended, or see: gateway status",
        )
    stop = f"gateway stop --config {holder.configPath}"
    return AlreadyRunning(
        f"a gateway runs with the data directory {shown} (pid {holder.pid}).", remedy=f"Stop it first: {stop}"
    )


def _copy_store(move: Move) -> tuple[str, str, list[CopiedTable]]:
    """Return the names of the two stores, and their tables by name."""
    from gateway.domain.times import wall_clock
    from gateway.store.moving import copying

    with (
        output.show_waiting("opening both stores") as waiting,
        move.open_sides(wall_clock) as (source, target, tables),
    ):
        missing: list[str] = []

        def copy_contents(hashes: Iterable[str]) -> None:
            missing.extend(move.copy_contents(hashes, waiting.set_text))

        copied = sorted(copying.copy_store(source, target, tables, waiting.set_text, copy_contents))
    if missing:
        output.print_note(f"{len(missing):,} files have no content in {source.shown}, and none in the copy.")
    return source.shown, target.shown, copied


def _print_tables(source: str, target: str, tables: list[CopiedTable], seconds: float) -> None:
    if current_invocation().json:
        told = [{"name": table.name, "rows": table.rows, "checksum": table.checksum} for table in tables]
        output.print_json({"from": source, "to": target, "seconds": round(seconds, 3), "tables": told})
        return
    output.print_table(("table", "rows", "checksum"), [(table.name, table.rows, table.checksum) for table in tables])
    rows = sum(table.rows for table in tables)
    said = f"Copied {rows:,} rows from {source} to {target} in {output.format_duration(seconds)}; both are the same."
    output.print_text(output.add_mark("✅", said))


def _describe_next_step(move: Move, settings: Config, to: str) -> str:
    from gateway.config import hide_password

    where = output.shorten_home(settings.path)
    stays = "What is in the old store stays there, and is no longer used then."
    if move.to_server:
        return f"To use it, set store.url to {hide_password(to)} in {where}, then: gateway start. {stays}"
    place = ""
    if move.file != settings.database_path:
        place = f"move {output.shorten_home(move.file)} to {output.shorten_home(settings.database_path)}, "
    return f"To use it, {place}unset store.url in {where}, then: gateway start. {stays}"
