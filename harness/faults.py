"""Serving processes that misbehave: they run this code first, so the product needs no hooks for tests."""

from __future__ import annotations

import os
from pathlib import Path

from harness.live_gateway import Live

_DIRECTORY = Path(__file__).parent / "misbehaviour"

#: its import fails
NO_IMPORT = "raise SystemExit('ImportError: no module named missing')"
#: it never reports that it is ready
NEVER_READY = "import time; time.sleep(3600)"
#: SIGWINCH blocks its event loop: handlers run in the loop's thread
HANGS_ON_SIGWINCH = """
import signal, time
def hang_here(*_): time.sleep(3600)
signal.signal(signal.SIGWINCH, hang_here)
"""
#: there is one more migration
PENDING_MIGRATION = """
from gateway.store.sqlite import opening
known = opening.read_migrations()
further = opening.Migration(len(known) + 1, "further.sql", "CREATE TABLE further (x)")
opening.read_migrations = lambda: [*known, further]
"""
#: it ends with an error after its migration
FAILS_AFTER_MIGRATION = """
from gateway.engine.engine import Engine
async def fail(self): raise RuntimeError('it cannot')
Engine.__aenter__ = fail
"""


def able(live: Live) -> Live:
    """Prepare a gateway that has not started, so that its serving processes can misbehave; return it."""
    path = os.pathsep.join(filter(None, [str(_DIRECTORY), live.env.get("PYTHONPATH")]))
    live.env |= {"PYTHONPATH": path, "MOONGATE_TEST_FAULT": str(live.home / "fault.py")}
    return live


def give(live: Live, fault: str) -> None:
    """Make all serving processes that start from now on misbehave."""
    (live.home / "fault.py").write_text(fault)


def cure(live: Live) -> None:
    (live.home / "fault.py").unlink()
