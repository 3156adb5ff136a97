"""The processes of a fleet, each on a host of its own, and what happens to them at random."""

from __future__ import annotations

import contextlib
import random
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import psutil

from drills import ProgramMissing, fleet_checks, network
from drills.network import Host
from gateway.domain.fleet import LEASE_MILLISECONDS
from harness.live_gateway import Live
from harness.postgres_server import PostgresServer, find_programs, running_server
from harness.waiting import PATIENCE

#: seconds between two things that happen to members
CHAOS_SECONDS = 2.0
#: seconds for which a member is away, if that is shorter or longer than its lease
SHORT_ABSENCE_SECONDS = (0.5, 8.0)
LONG_ABSENCE_SECONDS = LEASE_MILLISECONDS / 1000 + 5.0
#: the part of all absences that are longer than a lease
LONG_ABSENCES_SHARE = 0.1
#: seconds within which each kind of thing has happened
MAX_CHAOS_SECONDS = 2 * PATIENCE

#: runs of the agent `main` at the same time over the whole fleet, and those that each member works on
AGENT_LIMIT, MEMBER_SLOTS = 16, 4
#: what happens to members
KINDS = ("kill", "stop", "cut")

#: each attempt has a mark; it writes the mark, in one piece, to a file that all share, and into its answer
_AGENT = """IFS= read -r line
mark="$line/$$/$(date +%s%N)"
echo "begin $mark $(date +%s%N)" >> '{marks}'
echo "at work: $mark"
sleep 0.$(( $$ % 3 ))5
echo "end $mark $(date +%s%N)" >> '{marks}'
echo "did $mark"
"""


class Member(Live):
    """A gateway or a worker of the fleet."""

    def __init__(self, home: Path, role: str, url: str, host: Host | None, config: Mapping[str, Any]) -> None:
        self.role = role
        self.host = host
        #: held while something happens to it
        self.disturbed = threading.Lock()
        env = {"MOONGATE_ROLE": role, "MOONGATE_FLEET_HOST": home.name, "MOONGATE_STORE_URL": url}
        if host is None:
            super().__init__(home, config, env)
        else:
            super().__init__(home, config, env, prefix=host.prefix, address=host.address)

    @property
    def name(self) -> str:
        return self.home.name

    def kill(self) -> None:
        """Kill its whole process tree, as a crash of its host does: none of it may see another one end."""
        for one in (tree := self._freeze()):
            with contextlib.suppress(psutil.Error):
                one.kill()
        assert self.process is not None
        self.process.wait(PATIENCE)
        psutil.wait_procs(tree, PATIENCE)

    def freeze(self) -> None:
        """Stop its supervisor and its serving processes; the agents go on."""
        assert self.process is not None
        with contextlib.suppress(psutil.Error):
            supervisor = psutil.Process(self.process.pid)
            supervisor.suspend()
            for child in supervisor.children():
                child.suspend()

    def thaw(self) -> None:
        """Let go on what is stopped, the serving processes first: their supervisor shall not take them for hung."""
        assert self.process is not None
        with contextlib.suppress(psutil.Error):
            supervisor = psutil.Process(self.process.pid)
            for child in supervisor.children():
                child.resume()
            supervisor.resume()

    def close(self) -> None:
        if self.process is not None and self.process.poll() is None:
            self.kill()
        if self.host is not None:
            self.host.close()

    def _freeze(self) -> list[psutil.Process]:
        """Stop all its processes; return them."""
        assert self.process is not None
        stopped: dict[int, psutil.Process] = {}
        with contextlib.suppress(psutil.Error):
            supervisor = psutil.Process(self.process.pid)
            while new := [one for one in (supervisor, *supervisor.children(recursive=True)) if one.pid not in stopped]:
                for one in new:
                    stopped[one.pid] = one
                    with contextlib.suppress(psutil.Error):
                        one.suspend()
        return list(stopped.values())


class Members:
    """All members of a fleet."""

    def __init__(self, directory: Path, server: PostgresServer, url: str, *, workers: int, gateway_slots: int) -> None:
        self.server = server
        hosted = network.explain_impossible() is None
        #: the file to which the agents `main` write
        self.marks = directory / "marks"
        script = _AGENT.format(marks=self.marks)
        agents = [
            {"id": "main", "backend": "command", "command": ["/bin/sh", "-c", script], "max_concurrent": AGENT_LIMIT},
            {"id": "echo", "backend": "echo", "script": True, "max_concurrent": 64, "permissions": "ask"},
        ]
        roles = ["gateway"] * 2 + ["worker"] * workers
        self.all = []
        for number, role in enumerate(roles):
            slots = gateway_slots if role == "gateway" else MEMBER_SLOTS
            config: dict[str, Any] = {"agents": {"list": agents}, "fleet": {"slots": slots, "move_after": 120}}
            host = Host(number) if hosted else None
            if host is not None:
                config["gateway"] = {"host": host.address}
            self.all.append(Member(directory / f"{role}{number}", role, url, host, config))

    @property
    def gateways(self) -> list[Member]:
        return [one for one in self.all if one.role == "gateway"]

    @property
    def are_hosted(self) -> bool:
        """Whether each has a network namespace of its own."""
        return self.all[0].host is not None

    def start(self) -> None:
        for one in self.all:
            one.start(wait=False)
        for one in self.all:
            one.wait_ready()

    def close(self) -> None:
        for one in self.all:
            one.close()


@contextlib.contextmanager
def running_fleet(directory: Path, *, workers: int, gateway_slots: int = MEMBER_SLOTS) -> Iterator[Members]:
    """Start a server, two gateways and some workers; at the end, end all of them."""
    programs = find_programs()
    if programs is None:
        raise ProgramMissing("PostgreSQL is not installed")
    with contextlib.ExitStack() as stack:
        address = stack.enter_context(network.private_network()) if network.explain_impossible() is None else ""
        server = stack.enter_context(running_server(programs, durable=True, address=address))
        server.create_database(fleet_checks.DATABASE)
        url = server.url(fleet_checks.DATABASE, address=address or None)
        yield stack.enter_context(started_members(directory, server, url, workers, gateway_slots))


@contextlib.contextmanager
def started_members(
    directory: Path, server: PostgresServer, url: str, workers: int, gateway_slots: int = MEMBER_SLOTS
) -> Iterator[Members]:
    """Start the members of a fleet; at the end, end all of them."""
    members = Members(directory, server, url, workers=workers, gateway_slots=gateway_slots)
    try:
        members.start()
        yield members
    finally:
        members.close()


class Chaos:
    """Every two seconds, something happens to a random member; another gateway and another worker are well then."""

    def __init__(self, members: Members, seed: str = "moon") -> None:
        self._members = members
        self._dice = random.Random(seed)  # noqa: S311 no secret
        self._kinds = [kind for kind in KINDS if kind != "cut" or members.are_hosted]
        self._ended = threading.Event()
        self._threads: list[threading.Thread] = []
        self._loop = threading.Thread(target=self._disturb_until_ended)
        self._lock = threading.Lock()
        self._began = time.monotonic()
        #: how often a member came through each
        self.counts: Counter[str] = Counter()
        #: what went wrong in a thread
        self.failures: list[BaseException] = []

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        """Let it happen during the block; after it, all members are well."""
        self._began = time.monotonic()
        self._loop.start()
        try:
            yield
        finally:
            self.stop()
        assert self.failures == [], self.failures

    def stop(self) -> None:
        self._ended.set()
        self._loop.join()
        for thread in self._threads:
            thread.join()

    def list_missing_kinds(self) -> list[str]:
        """Return the kinds of things through which no member has come yet."""
        with self._lock:
            return sorted(set(self._kinds) - {kind.split()[0] for kind in self.counts})

    def has_done_its_part(self) -> bool:
        """Return whether each kind has happened, or never will: something went wrong, or it takes too long."""
        is_late = time.monotonic() - self._began > MAX_CHAOS_SECONDS
        return not self.list_missing_kinds() or bool(self.failures) or is_late

    def _disturb_until_ended(self) -> None:
        for kind in self._draw_kinds():
            if self._ended.wait(CHAOS_SECONDS):
                return
            seconds = self._dice.uniform(*SHORT_ABSENCE_SECONDS)
            if kind != "kill" and self._dice.random() < LONG_ABSENCES_SHARE:
                kind, seconds = f"{kind} for longer than a lease", LONG_ABSENCE_SECONDS
            if member := self._choose_member():
                self._threads.append(threading.Thread(target=self._disturb, args=(member, kind, seconds)))
                self._threads[-1].start()

    def _draw_kinds(self) -> Iterator[str]:
        """Yield kinds at random, each as often as the others, without an end."""
        while True:
            yield from self._dice.sample(self._kinds, len(self._kinds))

    def _choose_member(self) -> Member | None:
        """Return a member, which is held, of whose role another one is well; None if there is none."""
        well = Counter(one.role for one in self._members.all if not one.disturbed.locked())
        may = [one for one in self._members.all if not one.disturbed.locked() and well[one.role] > 1]
        chosen = self._dice.choice(may) if may else None
        if chosen is not None:
            chosen.disturbed.acquire()
        return chosen

    def _disturb(self, member: Member, kind: str, seconds: float) -> None:
        try:
            disturb(member, kind.split()[0], lambda: self._ended.wait(seconds))
            with self._lock:
                self.counts[kind] += 1
        except BaseException as error:
            self.failures.append(error)
        finally:
            member.disturbed.release()


def disturb(member: Member, kind: str, wait: Callable[[], object]) -> None:
    """Let something happen to a member; return when it is well again. Args: wait: returns when it may come back."""
    if kind == "kill":
        member.kill()
        wait()
        member.start()
    elif kind == "stop":
        member.freeze()
        wait()
        member.thaw()
    else:
        assert member.host is not None
        member.host.cut()
        wait()
        member.host.mend()


def is_answering(member: Member) -> bool:
    try:
        return member.call("GET", "/readyz", timeout=2.0).status == 200
    except (OSError, AssertionError):
        return False


def wait_all_ready(members: Sequence[Member]) -> None:
    deadline = time.monotonic() + PATIENCE
    for one in members:
        while not is_answering(one):
            assert time.monotonic() < deadline, f"{one.name} is not ready: {one.output.read_text()[-2000:]}"
            time.sleep(0.2)
