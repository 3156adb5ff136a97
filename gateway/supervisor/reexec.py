"""Re-execution in place: the supervisor becomes its new version with the same PID, lock, sockets and generations.

The old version passes its state in one environment variable, as JSON; descriptors are inherited.
The two versions may be different releases: the state may get new names, but no name may change.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping
from typing import Any

from gateway.process import identity
from gateway.supervisor import signals
from gateway.supervisor.signals import SignalInbox

#: environment variable with the state of a re-executed supervisor
RESUME_VARIABLE = "MOONGATE_RESUME"


def reexec_in_place(
    kept: Mapping[str, Any], descriptors: Iterable[int], inbox: SignalInbox, env: Mapping[str, str]
) -> str:
    """Execute this program again, with the state that is kept.

    Args:
        descriptors: inherited by the new version.
        inbox: its signals are sent again, to the new version.

    Returns:
        What was wrong; if nothing was, it does not return.
    """
    for descriptor in descriptors:
        os.set_inheritable(descriptor, True)
    signals.block_handled()
    for number in inbox.take_signals():  # they came too late for this version
        os.kill(os.getpid(), number)
    whole = {**env, RESUME_VARIABLE: json.dumps({**kept, "who": str(identity.own_identity())})}
    try:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], whole)  # noqa: S606 this program
    except OSError as error:
        signals.unblock_handled()
        return f"{sys.executable} cannot be started: {error.strerror}"


def find_kept(given: str) -> dict[str, Any] | None:
    """Return the state of the old version; None if another process set the variable."""
    try:
        found = json.loads(given)
        return found if found["who"] == str(identity.own_identity()) else None
    except (ValueError, TypeError, KeyError, RecursionError):
        return None
