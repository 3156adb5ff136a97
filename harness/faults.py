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
    # As with sockets of a service manager (here 0), the first one is executed, as later ones are: a fork runs no code.
    live.env |= {"LISTEN_FDS": "0", "PYTHONPATH": path, "MOONGATE_TEST_FAULT": str(live.home / "fault.py")}
    return live


def give(live: Live, fault: str) -> None:
    """Make all serving processes that start from now on misbehave."""
    (live.home / "fault.py").write_text(fault)


def cure(live: Live) -> None:
    (live.home / "fault.py").unlink()


#: the steps of storing a file, in their order, as `trip_at_steps` knows them
FILE_STEPS = (
    "open the draft",
    "write",
    "sync the draft",
    "link",
    "sync the directory",
    "place again",
    "before the commit",
    "after the commit",
    "remove the draft",
)
_TRIP_AT_STEPS = """
import errno, os, signal
import apsw
from gateway import private_file
from gateway.store import file_directory
from gateway.store.sql import database, files

def trips(step):
    try:
        with open({trip!r}) as file:
            if file.read() != step:
                return False
        os.unlink({trip!r})
    except FileNotFoundError:
        return False
    if {kills}:
        os.kill(os.getpid(), signal.SIGKILL)
    return True

def refuse(step):
    if trips(step):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

class System:
    def __getattr__(self, name):
        return getattr(os, name)
    def open(self, path, flags, mode=0o777):
        if flags & os.O_CREAT:
            refuse("open the draft")
        return os.open(path, flags, mode)
    def write(self, descriptor, data):
        refuse("write")
        return os.write(descriptor, data)
    def fsync(self, descriptor):
        refuse("sync the draft")
        return os.fsync(descriptor)
    def link(self, source, to):
        refuse("link")
        return os.link(source, to)

file_directory.os = System()

class PrivateFile:
    @staticmethod
    def sync_path(path):
        refuse("sync the directory")
        private_file.sync_path(path)

file_directory.private_file = PrivateFile

def go_first(kind, name, step):
    known = getattr(kind, name)
    def watched(self, *given):
        refuse(step)
        return known(self, *given)
    setattr(kind, name, watched)

go_first(file_directory.DirectoryDraft, "place", "place again")
go_first(file_directory.DirectoryDraft, "discard", "remove the draft")

store_staged, stored, doomed = files.store_staged, [], set()
def store_and_trip(tx, staged, **more):
    store_staged(tx, staged, **more)
    stored.extend(staged)
    names = {{one.file.id for one in staged}}
    if names & doomed or (names and trips("before the commit")):
        doomed.update(names)  # a batch that fails is tried again, one operation after the other
        raise apsw.FullError("database or disk is full")
files.store_staged = store_and_trip

announce = database.Database._announce_commit
def trip_and_announce(self, *given):
    if stored:
        stored.clear()
        trips("after the commit")
    announce(self, *given)
database.Database._announce_commit = trip_and_announce
"""


def trip_at_steps(trip: Path, *, kills: bool) -> str:
    """Return a fault: once, at the step of storing a file that the file `trip` names, the disk is full.

    Args:
        kills: whether the process is killed there instead.
    """
    return _TRIP_AT_STEPS.format(trip=str(trip), kills=kills)
