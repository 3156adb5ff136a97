"""Commands of ours that a process runs itself: of its own version, and about this machine."""

from __future__ import annotations

from collections.abc import Mapping

from gateway.process.own_environment import find_own_executable


def spell_own_command(*words: str) -> list[str]:
    """Return the program and arguments that run a command of the version of this process."""
    # -P: a module of the working directory, which anyone may have written, is not imported.
    return [find_own_executable(), "-P", "-m", "cli.main", *words]


def mean_this_machine(environ: Mapping[str, str]) -> dict[str, str]:
    """Return an environment in which a command means the gateway of this machine, whatever the default remote is."""
    return {**{name: value for name, value in environ.items() if name != "MOONGATE_URL"}, "MOONGATE_REMOTE": "local"}
