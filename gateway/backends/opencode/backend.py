"""opencode agents, driven over opencode's server: agents with the same options share one process.

The server starts when a turn needs it, and stops when no turn has needed it for a while. With `url`,
it is a server that somebody else runs. A turn is one prompt to one session. An agent's `permissions`
answer its permission requests: at once, or by asking people.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from gateway.backends import BackendType, Tools
from gateway.backends.opencode import server
from gateway.backends.opencode.api import Refused
from gateway.backends.opencode.connection import Connection
from gateway.backends.opencode.options import Options
from gateway.backends.opencode.server import Server
from gateway.backends.opencode.turn import Talk
from gateway.backends.opencode.wire import Session
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.domain.event import Log, Said
from gateway.domain.ports.backend import Health, Reply, SessionRef, Turn
from gateway.errors import AgentError, GatewayError

_INSTALL = "Install it (https://opencode.ai), or give its path as `command`."

#: seconds for a server to answer a health check
_PULSE = 3.0
#: seconds for `opencode --version`, and seconds that a good and a bad result are kept
_VERSION, _GOOD, _BAD = 10.0, 300.0, 10.0


class Opencode:
    """Drives opencode agents, each over the server for its options."""

    def __init__(self, resources: Tools) -> None:
        self._resources = resources
        self._servers: dict[bytes, Server] = {}
        #: results of `opencode --version` by command and PATH, and until when each is kept
        self._versions: dict[tuple[str, ...], tuple[float, Health]] = {}

    async def __aenter__(self) -> Opencode:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.gather(*(each.close() for each in self._servers.values()))

    async def prompt(self, turn: Turn) -> AsyncGenerator[Said | SessionRef | Reply, None]:
        prompt = _prompt(turn)
        if not await asyncio.to_thread(os.path.isdir, turn.workspace):
            # opencode would accept it, and fail later with errors that do not tell why
            raise AgentError(f"the workspace {turn.workspace} does not exist.")
        async with self._server(turn.agent, turn.depth).connected() as here, here.use_directory(turn.workspace):
            session, remark = await _session(here, turn)
            if remark is not None:
                yield remark
            yield SessionRef(session.id)
            await here.wait_for_stop(session.id)
            async with aclosing(_talk(here, turn, session, prompt)) as said:
                async for one in said:
                    yield one

    async def health(self, agent: Agent) -> Health:
        try:
            here = self._server(agent).live_connection()
            if here is not None:
                return Health(ok=True, version=(await here.api.health(_PULSE)).version, detail=here.api.base)
            if agent.options.url is not None:
                return await self._visit(agent.options)
            return await self._version(agent)
        except GatewayError as error:
            return Health(ok=False, detail=str(error))

    async def _visit(self, options: Options) -> Health:
        async with server.visit_server(options.url or "", self._password(options)) as api:
            return Health(ok=True, version=(await api.health(_PULSE)).version, detail=api.base)

    async def _version(self, agent: Agent) -> Health:
        env = self._environment(agent)
        key = (*agent.options.command, env.get("PATH", ""))
        until, known = self._versions.get(key, (0.0, Health(ok=False)))
        if time.monotonic() >= until:
            known = await self._ask_version(agent.options.command, env)
            self._versions[key] = (time.monotonic() + (_GOOD if known.ok else _BAD), known)
        return known

    async def _ask_version(self, command: list[str], env: Mapping[str, str]) -> Health:
        try:
            child = await self._resources.children.spawn([*command, "--version"], cwd="/", env=env)
        except AgentError as error:
            return Health(ok=False, detail=f"{error.message} {_INSTALL}")
        try:
            async with asyncio.timeout(_VERSION):
                said = await child.stdout.read(1024)
                code = await child.wait()
        except TimeoutError:
            return Health(ok=False, detail=f"`{' '.join(command)} --version` does not end. {_INSTALL}")
        finally:
            await child.stop()
        version = said.decode("utf-8", "replace").strip()
        if code != 0 or not version:
            return Health(ok=False, detail=f"`{' '.join(command)} --version` fails: {child.stderr_tail()}")
        return Health(ok=True, version=version, detail="its server is started when it is needed")

    def _server(self, agent: Agent, depth: int = 0) -> Server:
        """Return the server for an agent; agents that would start it in the same way share one."""
        options: Options = agent.options
        if options.url is not None:
            key = msgspec.json.encode([options.url, options.password, options.password_env])
        else:
            shape = [options.command, options.config, options.start_timeout, options.idle_stop]
            key = msgspec.json.encode([shape, self._environment(agent, depth)], order="deterministic")
        if key not in self._servers:
            self._servers[key] = self._new_server(agent, depth)
        return self._servers[key]

    def _new_server(self, agent: Agent, depth: int) -> Server:
        options: Options = agent.options

        async def attach() -> Connection:
            return await server.attach_to_server(options.url or "", self._password(options))

        async def launch() -> Connection:
            return await server.launch_server(
                self._resources.children,
                options.command,
                self._environment(agent, depth),
                self._resources.directory,
                options.start_timeout,
            )

        if options.url is not None:
            return Server(attach, idle_stop=options.idle_stop, backoff=[0.0])
        return Server(launch, idle_stop=options.idle_stop, backoff=server.START_BACKOFF_SECONDS)

    def _environment(self, agent: Agent, depth: int = 0) -> dict[str, str]:
        """Return the environment of the server. The agent's own settings override ours."""
        options: Options = agent.options
        config = {"autoupdate": False, "share": "disabled"} | options.config
        given = self._resources.environ
        ours = {
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_CONFIG_CONTENT": msgspec.json.encode(config).decode(),
        }
        passed = {name: given[name] for name in options.pass_env if name in given}
        return self._resources.children.environment(ours | passed | agent.env, depth)

    def _password(self, options: Options) -> str | None:
        if options.password is not None or options.password_env is None:
            return options.password
        if (found := self._resources.environ.get(options.password_env)) is None:
            raise AgentError(f"the variable {options.password_env} is not set: it holds opencode's password.")
        return found


async def _talk(
    here: Connection, turn: Turn, session: Session, prompt: dict[str, Any]
) -> AsyncGenerator[Said | Reply, None]:
    with here.stream.subscribed(session.id) as inbox:
        talk = Talk(here.api, inbox, session, turn)
        try:
            async with aclosing(talk.run(prompt)) as said:
                async for one in said:
                    yield one
        finally:
            if talk.stopped_early:
                here.keep_stopping(session)


async def _session(here: Connection, turn: Turn) -> tuple[Session, Log | None]:
    """Return the session of a turn, and a warning if it is not the earlier one."""
    remark = None
    if turn.session_ref is not None:
        try:
            known = await here.api.session(turn.session_ref)
        except Refused as error:
            if error.http_status not in (400, 404):
                raise
            why = "opencode does not know the conversation any more"
        else:
            if await asyncio.to_thread(_same, known.directory, turn.workspace):
                return known, None
            why = "the workspace has changed, and an opencode conversation cannot move"
        remark = Log(level="warning", message=f"{why}: the agent starts a new session, without memory of the old one")
    return await here.api.create_session(turn.workspace, turn.session), remark


def _same(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _prompt(turn: Turn) -> dict[str, Any]:
    """Return the body of a prompt.

    Raises:
        AgentError: the model's name does not have the form provider/model.
    """
    body: dict[str, Any] = {"parts": [{"type": "text", "text": turn.input}]}
    model = turn.model or turn.agent.model
    if model is not None:
        provider, _, name = model.partition("/")
        if not (provider and name):
            raise AgentError(
                f"opencode has no model {model!r}: its models are named provider/model.",
                remedy="`opencode models` lists them.",
            )
        body["model"] = {"providerID": provider, "modelID": name}
    if turn.agent.system_prompt is not None:
        body["system"] = turn.agent.system_prompt
    if turn.agent.options.agent is not None:
        body["agent"] = turn.agent.options.agent
    return body


def detect(environ: Mapping[str, str], config: Config) -> Agent | None:
    """Find the server that the settings name, or the program on PATH."""
    named = config.opencode.host or config.opencode.port
    if named or shutil.which("opencode", path=environ.get("PATH", os.defpath)):
        return Agent(id="main", backend="opencode", options=Options())
    return None


def adapt(options: Options, config: Config) -> Options:
    """Use the server that the settings name, unless the agent names its own."""
    named = config.opencode
    if options.url is not None or not (named.host or named.port):
        return options
    url = f"http://{named.host or '127.0.0.1'}:{named.port or 4096}"
    return msgspec.structs.replace(options, url=url, password=options.password or named.password)


BACKEND = BackendType(options=Options, open=Opencode, detect=detect, adapt=adapt, rank=10, secrets=("password",))
