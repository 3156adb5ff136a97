"""What `gateway doctor` looks at: each check looks at one thing, changes nothing, and says what mends it."""

from __future__ import annotations

import asyncio
import os
import stat
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import apsw

import gateway
from cli import output
from cli.doctor import environment, service_drift
from cli.doctor.finding import Finding, Level
from cli.instance import Place
from cli.remote import probe
from cli.remote.client import Client, part
from cli.remote.probe import Look, State
from gateway import app, backends, channels, config, paths
from gateway.backends import Tools
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.domain.ports.backend import Health
from gateway.errors import ConfigError, GatewayError, PortTaken
from gateway.process.child import Children
from gateway.process.identity import Identity
from gateway.store.sqlite.opening import APPLICATION_ID
from gateway.supervisor import port

#: seconds that an agent may take to say how it is
AGENT = 15.0
#: bytes of a SQLite file's header
HEADER = 100


def examine(environ: Mapping[str, str]) -> list[Finding]:
    """Return what all checks find; those that need a config are left out without a usable one."""
    place = Place.of(environ)
    found = probe.look(place)
    findings = [_gateway(found), *_token(place, found), *_files(place), *environment.examine(place, found), *_plugins()]
    try:
        settings = config.load(environ)
        agents = app.check(settings, environ)
    except ConfigError as error:
        return [Finding("config", Level.ERROR, error.message, remedy=error.remedy or "Edit it."), *findings]
    return [
        Finding("config", Level.OK, _config_said(settings, agents)),
        *findings,
        _database(settings, found),
        _port(settings, found),
        *_agents(settings, agents, place, found),
    ]


def _config_said(settings: Config, agents: Iterable[Agent]) -> str:
    file = output.home(settings.path) if settings.path.exists() else "no file, all defaults"
    return f"{file}; agents: {', '.join(agent.id for agent in agents)}"


def _gateway(found: Look) -> Finding:
    record, health = found.record, found.health or {}
    if record is None:
        return Finding("gateway", Level.OK, "not running; it is started by: gateway start")
    if found.state is State.UNRESPONSIVE:
        said = f"pid {record.pid} is there, but does not answer on port {record.port}"
        return Finding(
            "gateway", Level.ERROR, said, "it starts, stops or hangs", f"gateway logs, then kill {record.pid}"
        )
    wrong = [f"{name}: {said}" for name, said in health.get("checks", {}).items() if said != "ok"]
    if wrong:
        return Finding(
            "gateway", Level.ERROR, "running, and not well", "; ".join(wrong), "gateway logs --level warning"
        )
    if record.version != gateway.__version__:
        said = f"running version {record.version}; installed is {gateway.__version__}"
        return Finding("gateway", Level.WARNING, said, "it was upgraded since its start", "stop it and start it again")
    return Finding("gateway", Level.OK, f"running, pid {record.pid}, {probe.url(record)}")


def _plugins() -> Iterator[Finding]:
    """Tell what other packages bring, and which of it cannot be used."""
    for kind, found in (("backend", backends.registered()), ("channel", channels.registered())):
        for name, origin in found.origins.items():
            yield Finding(f"plugin {name}", Level.OK, f"a {kind}, of {origin}")
        for name, broken in found.broken.items():
            said = f"the {kind} of {broken.origin} cannot be used"
            yield Finding(f"plugin {name}", Level.ERROR, said, broken.why, "mend it or install another version of it")


def _token(place: Place, found: Look) -> Iterator[Finding]:
    """Look whether the running gateway takes the token that is written down."""
    try:
        known = place.token
    except ConfigError:
        return  # the file that holds it is looked at by itself
    if probe.inside(found, None if known is None else known.value).token_drift:
        said = (
            f"the gateway refuses the one in {known.source}" if known else "the gateway wants one; none is written down"
        )
        yield Finding("token in use", Level.ERROR, said, "it was changed since the start", "gateway restart")


class Private(NamedTuple):
    """A file or directory that is for its owner's eyes only."""

    check: str
    path: Path
    mode: int
    #: how bad it is if it is open to others
    level: Level


def _privates(place: Place) -> list[Private]:
    """Return what is to be private; what holds secrets is an error if it is not."""
    found = [
        Private("state directory", place.home, 0o700, Level.WARNING),
        Private("token", paths.token(place.home), 0o600, Level.ERROR),
        Private("webhook secret", paths.webhook_secret(place.home), 0o600, Level.ERROR),
        Private(".env", place.home / ".env", 0o600, Level.ERROR),
    ]
    if place.config.parent != place.home:  # else the directory says it all
        found.insert(2, Private("config file", place.config, 0o600, Level.WARNING))
    return found


def _files(place: Place) -> Iterator[Finding]:
    for wanted in _privates(place):
        yield from _private(*wanted)


class Mended(NamedTuple):
    """What came of mending."""

    #: what was done
    done: list[str]
    #: what could not be done, and why
    failed: list[str]


def mend(environ: Mapping[str, str]) -> Mended:
    """Mend what can be mended without a question: the modes of what is to be private, and the service's unit."""
    place = Place.of(environ)
    mended = Mended([], [])
    for check, path, mode, _ in _privates(place):
        try:
            if _open_to_others(path):
                path.chmod(mode)
                mended.done.append(f"{check}: chmod {mode:o} {path}")
        except FileNotFoundError:
            continue
        except OSError as error:
            mended.failed.append(f"{check}: cannot chmod {mode:o} {path}: {error.strerror}.")
    try:
        if (unit := service_drift.mend(place)) is not None:
            mended.done.append(unit)
    except (GatewayError, OSError) as error:
        mended.failed.append(f"service: {error}")
    return mended


def _open_to_others(path: Path) -> bool:
    """Tell whether it is this user's own, no link, and others may have it."""
    if os.name != "posix":
        return False
    found = path.lstat()
    return not stat.S_ISLNK(found.st_mode) and found.st_uid == os.getuid() and bool(found.st_mode & 0o077)


def _private(check: str, path: Path, wanted: int, level: Level) -> Iterator[Finding]:
    try:
        found = path.stat()
    except FileNotFoundError:
        return
    except OSError as error:
        yield Finding(check, Level.ERROR, f"cannot look at {output.home(path)}", error.strerror)
        return
    if os.name != "posix":
        return
    if found.st_uid != os.getuid():
        yield Finding(
            check, Level.ERROR, f"{output.home(path)} belongs to another user", None, f"sudo chown $USER {path}"
        )
    elif stat.S_IMODE(found.st_mode) & 0o077:
        mode = f"its mode is {stat.S_IMODE(found.st_mode):o}"
        yield Finding(check, level, f"others can read {output.home(path)}", mode, f"chmod {wanted:o} {path}")
    else:
        yield Finding(check, Level.OK, f"{output.home(path)}, for you only")


def _database(settings: Config, found: Look) -> Finding:
    file = settings.database
    shown = output.home(file)
    if found.state is not State.STOPPED:
        return Finding("database", Level.OK, f"{shown}, in use; the gateway looks after it")
    restore = f"move {shown} away with its -wal, and restore a copy"
    try:
        with file.open("rb") as opened:
            header = opened.read(HEADER)
    except FileNotFoundError:
        return _no_database(file)
    except OSError as error:
        return Finding("database", Level.ERROR, f"cannot read {shown}", error.strerror)
    if len(header) < HEADER or not header.startswith(b"SQLite format 3\0"):
        return Finding("database", Level.ERROR, f"{shown} is damaged, or no SQLite database", None, restore)
    if int.from_bytes(header[68:72], "big") != APPLICATION_ID:
        return Finding("database", Level.ERROR, f"{shown} is another program's", None, "set data.directory elsewhere")
    wrong = _quick_check(file)
    if wrong:
        return Finding("database", Level.ERROR, f"{shown} is damaged", wrong, restore)
    return Finding("database", Level.OK, f"{shown}, checked")


def _no_database(file: Path) -> Finding:
    wal = file.with_name(f"{file.name}-wal")
    if wal.exists() and wal.stat().st_size:
        said = f"{output.home(file)} is missing, but its log is there"
        return Finding("database", Level.ERROR, said, None, f"restore it beside {wal.name}, or move that away")
    return Finding("database", Level.OK, "none yet; the first start makes it")


def _quick_check(file: Path) -> str:
    """Return what SQLite finds wrong with a database that nobody uses; nothing if it is whole."""
    try:
        connection = apsw.Connection(str(file), flags=apsw.SQLITE_OPEN_READONLY)
        try:
            said = [str(row[0]) for row in connection.execute("PRAGMA quick_check(3)")]
        finally:
            connection.close()
    except apsw.Error as error:
        return str(error)
    return "" if said == ["ok"] else "; ".join(said)


def _port(settings: Config, found: Look) -> Finding:
    host, wanted = settings.gateway.host, settings.gateway.port
    if found.record is not None:
        held = found.record.port
        if wanted not in (0, held):
            said = f"the gateway is on {held}; the settings say {wanted}"
            return Finding("port", Level.WARNING, said, "it was started with --port, or they changed", "start it again")
        return Finding("port", Level.OK, f"{held}, held by the gateway")
    try:
        port.bind(host, wanted).close()
    except PortTaken as error:
        cause = (error.remedy or "").strip()
        return Finding(
            "port", Level.ERROR, f"{wanted} is taken", cause, "end that program, or gateway run --port OTHER"
        )
    except ConfigError as error:
        return Finding("port", Level.ERROR, error.message, remedy="set gateway.host or gateway.port")
    return Finding("port", Level.OK, f"{wanted or 'any'} on {host}, free")


def _agents(settings: Config, agents: list[Agent], place: Place, found: Look) -> list[Finding]:
    enabled = [agent for agent in agents if agent.enabled]
    if found.state is State.RUNNING:
        return _ask_gateway(place)
    return asyncio.run(_ask_agents(settings, enabled, place.env))


def _ask_gateway(place: Place) -> list[Finding]:
    client = Client(place)
    try:
        listed = [agent["id"] for agent in client.get("/api/agents")["agents"] if agent["is_enabled"]]
        answers = {name: client.get(f"/api/agents/{part(name)}")["health"] for name in listed}
        stranded = client.get("/api/work").get("stranded", {})
    except GatewayError as error:
        return [Finding("agents", Level.ERROR, "the gateway does not tell", error.message, error.remedy)]
    return [*(_health(name, Health(**said)) for name, said in answers.items()), *_stranded(stranded)]


def _stranded(waiting: Mapping[str, int]) -> Iterator[Finding]:
    """Tell of tasks that wait for agents that are disabled or gone: nobody works on them."""
    for agent, count in waiting.items():
        said = f"{count} {'task waits' if count == 1 else 'tasks wait'} for it, and it is disabled or gone"
        remedy = f"enable it or put it back, or cancel them: gateway tasks list --status queued --agent {agent}"
        yield Finding(f"agent {agent}", Level.WARNING, said, remedy=remedy)


def _health(name: str, health: Health) -> Finding:
    if health.ok and health.missing:
        return Finding(f"agent {name}", Level.WARNING, f"is there ({health.detail})", health.missing)
    if health.ok:
        said = " ".join(filter(None, ["fine", health.version, f"({health.detail})" if health.detail else ""]))
        return Finding(f"agent {name}", Level.OK, said)
    return Finding(
        f"agent {name}", Level.ERROR, "could not answer now", health.detail, f"then: gateway agents show {name}"
    )


class _NoLedger:
    """Keeps no record: what is started here ends with the look at it."""

    async def record(self, who: Identity, run: str | None) -> None: ...

    async def forget(self, who: Identity) -> None: ...


async def _ask_agents(settings: Config, agents: list[Agent], environ: Mapping[str, str]) -> list[Finding]:
    """Ask the backends themselves, as a gateway would."""
    with tempfile.TemporaryDirectory(prefix="moongate-doctor-") as directory:
        tools = Tools(children=Children(_NoLedger(), environ), environ=environ, directory=Path(directory))
        return list(await asyncio.gather(*(_ask_agent(agent, tools) for agent in agents)))


async def _ask_agent(agent: Agent, tools: Tools) -> Finding:
    try:
        async with asyncio.timeout(AGENT), backends.kinds()[agent.backend].open(tools) as opened:
            return _health(agent.id, await opened.health(agent))
    except TimeoutError:
        return _health(agent.id, Health(ok=False, detail=f"no answer in {output.duration(AGENT)}"))
    except GatewayError as error:
        return _health(agent.id, Health(ok=False, detail=str(error)))
