"""Commands that are killed at some step of a backup or a restore, as by `kill -9` or a power failure."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence

from harness.command_line import Shell

#: what a backup does step by step, and what a restore does; before each of them the command may be killed
STEPS_OF_BACKUP = [
    *(
        f"gateway.backup.archive.ArchiveWriter.{name}"
        for name in ("add_bytes", "add_file", "add_link", "add_directory", "add_listing", "finish")
    ),
    "gateway.store.sqlite.snapshot.copy_database",
    "gateway.backup.drafts._place_draft",
    "gateway.backup.drafts.private_file.sync_path",
]
STEPS_OF_RESTORE = [
    "gateway.backup.unpacking._unpack_member",
    "gateway.backup.settling.settle_database",
    *(f"gateway.backup.pending.{name}" for name in ("write_plan", "_do_move", "private_file.sync_names")),
]
_PROGRAM = """
import os, pkgutil, signal, sys
from cli import main

left, sent, steps, words = int(sys.argv[1]), signal.Signals[sys.argv[2]], sys.argv[3].split(), sys.argv[4:]

def count(step):
    place, _, name = step.rpartition(".")
    place = pkgutil.resolve_name(place)
    inner = getattr(place, name)
    def counted(*given, **named):
        global left
        left -= 1
        if left == 0:
            os.kill(os.getpid(), sent)
        return inner(*given, **named)
    setattr(place, name, counted)

for step in steps:
    count(step)
raise SystemExit(main.main(words))
"""


def run_killed(
    shell: Shell, steps: Sequence[str], number: int, *words: str, sent: str = "SIGKILL"
) -> subprocess.CompletedProcess[str]:
    """Run a command of the CLI, which gets a signal before that step; one that has fewer steps ends by itself."""
    return subprocess.run(
        [sys.executable, "-c", _PROGRAM, str(number), sent, " ".join(steps), *words],
        env=shell.env,
        cwd=shell.cwd,
        capture_output=True,
        text=True,
        check=False,
    )
