"""How backups are shown: their parts, what they lack, and how large things are."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from cli import output
from gateway.backup.manifest import BackupHeader, BackupManifest, Part
from gateway.domain.file import describe_size

#: how parts are called
_PART_NAMES = {
    Part.CONFIG: "config",
    Part.STATE: "agent that was found",
    Part.SECRETS: "secrets",
    Part.DATABASE: "database",
    Part.FILES: "files",
    Part.OUTPUTS: "outputs of tools",
    Part.WORKSPACES: "workspaces",
    Part.AGENTS: "memory of agents",
}
#: things that were left out and are named one by one
_MAX_SHOWN_OMISSIONS = 10


def describe_backup(header: BackupHeader, described: BackupManifest) -> dict[str, Any]:
    """Return what `--json` tells of a backup."""
    return {
        "format": header.format,
        "version": header.version,
        "schema": header.schema,
        "created_at": output.format_rfc3339(header.created_at),
        "host": header.host,
        "home": header.home,
        "running": header.running or described.running,
        "purpose": header.purpose,
        "parts": {name: msgspec.to_builtins(size) for name, size in described.parts.items()},
        "omissions": msgspec.to_builtins(described.omissions),
        "omitted": described.omitted,
        "lost": described.lost,
        "variables": described.variables,
        "agents": msgspec.to_builtins(described.agents),
    }


def print_parts(header: BackupHeader, described: BackupManifest) -> None:
    """Print when and where a backup was made, and what is in it."""
    running = "while the gateway worked" if header.running or described.running else "while no gateway ran"
    made = output.format_time(output.format_rfc3339(header.created_at))
    rows = [("Made", f"{made} on {header.host}, by Moongate {header.version}, {running}")]
    for name, size in described.parts.items():
        files = "" if size.files == 1 else f" in {size.files:,} files"
        rows.append((_PART_NAMES[Part(name)].capitalize(), f"{describe_size(size.bytes)}{files}"))
    output.print_fields(rows)


def print_omissions(described: BackupManifest) -> None:
    """Say on stderr what a backup does not contain."""
    for note in list_notes(described):
        output.print_note(note)
    if lost := described.lost:
        output.print_note(
            output.add_mark("⚠️", f"Damaged, unreadable or elsewhere, so not in it as it should be: {lost:,}.")
        )
    for omission in described.omissions[:_MAX_SHOWN_OMISSIONS]:
        output.print_note(f"Not as it was: {omission.name}: {omission.reason}.")
    if described.omitted > _MAX_SHOWN_OMISSIONS:
        output.print_note(f"… and {described.omitted - _MAX_SHOWN_OMISSIONS:,} more: --json lists them.")


def list_notes(described: BackupManifest) -> Sequence[str]:
    """Return what a backup lacks that a restore elsewhere may need."""
    notes = []
    if Part.SECRETS in described.parts or not described.parts:
        notes.append("It contains secrets: keep it where only you can read it.")
    else:
        count = len(described.variables)
        taken = f", and {count} secret{'s' * (count > 1)} of the config" if count else ""
        notes.append(
            f"Not in it: .env, the token, the webhook secret{taken}. --secrets takes them along. Tokens that were made"
            " by gateway tokens are in the database."
        )
    if Part.DATABASE not in described.parts:
        notes.append("Not in it: the database and the files.")
    return notes + [
        f"Not in it: what {memory.agent} remembers ({describe_size(memory.bytes)} in {memory.path})."
        " --agents takes it along."
        for memory in described.agents
        if not memory.included
    ]
