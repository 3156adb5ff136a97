"""Where the programs of agents keep their conversations: outside of the state directory, in the user's home directory.

A gateway that is restored elsewhere goes on in the same conversation only if the program of the agent knows it there,
too. Credentials are never taken: sign in on the other machine.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from typing import NamedTuple

from gateway import paths

#: names of files and directories that are never taken, wherever they are: credentials, programs and caches
_NEVER_TAKEN = frozenset(
    {
        ".credentials.json",
        "auth.json",
        "mcp-auth.json",
        "oauth_creds.json",
        "google_accounts.json",
        "bin",
        "cache",
        "log",
        "logs",
        "node_modules",
        "statsig",
        "telemetry",
        "shell-snapshots",
        "debug",
        "repos",
    }
)


class MemoryPlace(NamedTuple):
    """A directory in which the program of an agent keeps conversations."""

    #: name of the program, and in a backup of its directory
    name: str
    path: Path

    def is_skipped(self, below: str) -> bool:
        """Return whether something in it is left out, by its relative path."""
        if below.endswith(("-wal", "-shm")):  # the copy of a database contains them
            return True
        return any(part in _NEVER_TAKEN for part in PurePosixPath(below).parts)


def find_memories(env: Mapping[str, str]) -> list[MemoryPlace]:
    """Return the places that agents' programs would use in an environment; they need not exist."""
    claude = env.get("CLAUDE_CONFIG_DIR")
    home = paths.home_directory(env)
    return [
        MemoryPlace("opencode", paths.base_directory(env, "XDG_DATA_HOME", ".local/share") / "opencode"),
        MemoryPlace("claude", (Path(claude) if claude else home / ".claude") / "projects"),
        MemoryPlace("gemini", home / ".gemini" / "tmp"),
    ]
