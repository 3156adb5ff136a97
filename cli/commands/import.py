# ruff: noqa: N999 the module has the name of its command
"""`gateway import`: takes over what another system, XCClaw, has in its files."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import click

from cli import output
from cli.command import Command, current_invocation
from cli.remote.client import GatewayClient, connect_to_gateway
from cli.takeover import xcclaw_files
from cli.takeover.xcclaw_files import XCCLAW_FILES, XCClawEntry
from gateway.errors import InvalidRequest, TooLarge

#: entries, and about how many bytes, in one request
MAX_ENTRIES_PER_REQUEST, MAX_BYTES_PER_REQUEST = 100, 1 << 20


class Outcome(NamedTuple):
    """What became of an entry."""

    entry: XCClawEntry
    #: imported, present or refused, as in the HTTP API
    state: str
    reason: str = ""


@click.command(cls=Command)
@click.argument("directory", metavar="DIR", type=click.Path(path_type=Path))
@click.option("--dry-run", is_flag=True, help="Say what would be imported, and change nothing.")
def COMMAND(directory: Path, dry_run: bool) -> int:  # noqa: N802 the seam's name
    """Import what XCClaw has in DIR: schedules, persistent sessions, tasks and their history.

    Reads schedules.json, persistent_sessions.json, task_history.json and tasks.json. No task is executed: one that
    had not ended is pending afterwards. What was imported earlier stays as it is, so the command may be repeated.

    \b
    Example:
      gateway import ~/Documents/XCDesktop/xcclaw --dry-run

    Exit code: 0 if all entries are in the gateway, 1 if some were left out.

    \b
    --json prints {"directory": str, "dry_run": bool,
      "files": {name: {"imported": int, "present": int, "left_out": int, "pending": int}},
      "left_out": [{"file", "entry", "reason"}], "ignored_fields": {name: [str]}}
    """
    if not directory.is_dir():
        raise click.ClickException(f"{directory} is not a directory, or does not exist.")
    files = xcclaw_files.find_files(directory)
    if not files:
        raise click.ClickException(f"{directory} has none of XCClaw's files: {', '.join(XCCLAW_FILES)}.")
    client = connect_to_gateway()
    with output.show_waiting("importing"):
        outcomes = _import_entries(client, directory, files, dry_run)
    _report_outcomes(directory, files, outcomes, dry_run)
    return 1 if any(one.state == "refused" for one in outcomes) else 0


def _import_entries(client: GatewayClient, directory: Path, files: Sequence[str], dry_run: bool) -> list[Outcome]:
    read = [entry for name in files for entry in xcclaw_files.read_entries(directory / name)]
    outcomes: list[Outcome] = []
    first: dict[tuple[str, str], XCClawEntry] = {}
    twins: list[tuple[XCClawEntry, XCClawEntry]] = []
    for entry in read:
        kind = XCCLAW_FILES[entry.file]
        if entry.body is None:
            outcomes.append(Outcome(entry, "refused", entry.problem))
        elif (earlier := first.setdefault((kind, entry.label), entry)) is not entry:
            twins.append((entry, earlier))
    for kind in dict.fromkeys(XCCLAW_FILES.values()):
        wanted = [entry for (of, _), entry in first.items() if of == kind]
        wanted.sort(key=lambda entry: str((entry.body or {}).get("created_at", "")))
        for batch in _split_into_batches(wanted):
            outcomes += _send_batch(client, kind, batch, dry_run)
    became = {(one.entry.file, one.entry.label): one for one in outcomes if one.entry.body is not None}
    return outcomes + [_compare_twins(entry, became[earlier.file, earlier.label]) for entry, earlier in twins]


def _compare_twins(entry: XCClawEntry, earlier: Outcome) -> Outcome:
    """Return what becomes of an entry whose id an earlier entry has, too. An ended task is in two files."""
    if entry.file == earlier.entry.file and entry.body != earlier.entry.body:
        return Outcome(entry, "refused", "an earlier entry of this file has the same id and other content.")
    return Outcome(entry, "refused" if earlier.state == "refused" else "present", earlier.reason)


def _split_into_batches(entries: Sequence[XCClawEntry]) -> Iterator[list[XCClawEntry]]:
    batch: list[XCClawEntry] = []
    size = 0
    for entry in entries:
        length = len(json.dumps(entry.body))
        if batch and (len(batch) == MAX_ENTRIES_PER_REQUEST or size + length > MAX_BYTES_PER_REQUEST):
            yield batch
            batch, size = [], 0
        batch.append(entry)
        size += length
    if batch:
        yield batch


def _send_batch(client: GatewayClient, kind: str, batch: Sequence[XCClawEntry], dry_run: bool) -> list[Outcome]:
    """Import some entries. If the gateway refuses them together, import each alone, to find the one that it refuses."""
    path = "/api/import?dry_run=true" if dry_run else "/api/import"
    try:
        answer = client.post(path, {kind: [entry.body for entry in batch]})
    except (InvalidRequest, TooLarge) as error:
        if len(batch) == 1:
            return [Outcome(batch[0], "refused", error.message.replace(f"{kind}[0].", ""))]
        return [outcome for entry in batch for outcome in _send_batch(client, kind, [entry], dry_run)]
    return [
        Outcome(entry, told["state"], told["reason"] or "") for entry, told in zip(batch, answer[kind], strict=True)
    ]


def _report_outcomes(directory: Path, files: Sequence[str], outcomes: Sequence[Outcome], dry_run: bool) -> None:
    counts = {name: _count_file(name, outcomes) for name in files}
    left_out = [one for one in outcomes if one.state == "refused"]
    ignored = {
        name: sorted({f for one in outcomes if one.entry.file == name for f in one.entry.ignored}) for name in files
    }
    if current_invocation().json:
        told = [{"file": one.entry.file, "entry": one.entry.label, "reason": one.reason} for one in left_out]
        output.print_json(
            {
                "directory": str(directory),
                "dry_run": dry_run,
                "files": counts,
                "left_out": told,
                "ignored_fields": {name: fields for name, fields in ignored.items() if fields},
            }
        )
        return
    output.print_table(
        ("file", "imported", "there already", "left out"),
        [(name, of["imported"], of["present"], of["left_out"]) for name, of in counts.items()],
    )
    if left_out:
        output.print_text("")
        output.print_table(
            ("left out", "entry", "reason"),
            [(one.entry.file, output.shorten_text(one.entry.label), one.reason) for one in left_out],
        )
    _print_remarks(counts, ignored, outcomes, dry_run)


def _count_file(name: str, outcomes: Sequence[Outcome]) -> dict[str, int]:
    of_file = [one for one in outcomes if one.entry.file == name]
    states = Counter(one.state for one in of_file)
    pending = sum(one.state == "imported" and (one.entry.body or {}).get("status") == "pending" for one in of_file)
    return {
        "imported": states["imported"],
        "present": states["present"],
        "left_out": states["refused"],
        "pending": pending,
    }


def _print_remarks(
    counts: dict[str, dict[str, int]], ignored: dict[str, list[str]], outcomes: Sequence[Outcome], dry_run: bool
) -> None:
    for name, fields in ignored.items():
        if fields:
            output.print_note(f"{name}: these fields have no counterpart and were left out: {', '.join(fields)}.")
    pending = sum(of["pending"] for of in counts.values())
    if pending:
        output.print_note(
            f"Tasks that had not ended: {pending}. They are pending, and start only when you execute them."
        )
    running = [one.entry.label for one in outcomes if one.entry.was_running and one.state == "imported"]
    if running:
        output.print_note(f"XCClaw had begun these, perhaps done part of them: {', '.join(running)}.")
    if dry_run:
        output.print_note("Nothing was changed: this was a dry run.")
