"""opencode agents, driven over opencode's server: agents with the same options share one process.

The server starts when a turn needs it, and stops when no turn has needed it for a while. With `url`,
it is a server that somebody else runs. A turn is one prompt to one session. An agent's `permissions`
answer its permission requests: at once, or by asking people. If the server of the program speaks version 2 of
opencode's API, the program is driven over `opencode acp` instead.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections.abc import AsyncGenerator, Iterator, Mapping
from contextlib import aclosing
from typing import Any

import msgspec

from gateway.backends import BackendResources, BackendType
from gateway.backends.acp.backend import AcpBackend
from gateway.backends.acp.presets import OPENCODE_ASKING_RULES
from gateway.backends.opencode import over_acp, server
from gateway.backends.opencode.api import OpencodeApi
from gateway.backends.opencode.calls import RequestRefused
from gateway.backends.opencode.connection import ServerConnection
from gateway.backends.opencode.driven_server import DISABLED_AGENT, ModelName, Prompt
from gateway.backends.opencode.offers import Offers
from gateway.backends.opencode.options import Options
from gateway.backends.opencode.over_acp import AcpProgram
from gateway.backends.opencode.prompt_files import choose_prompt_files
from gateway.backends.opencode.refs import parse_ref
from gateway.backends.opencode.server import SharedServer
from gateway.backends.opencode.turn import FilesRefused, TurnRunner
from gateway.backends.opencode.wire import Session
from gateway.config import Config
from gateway.domain.agent import Agent, PermissionPolicy
from gateway.domain.candidate import Candidate
from gateway.domain.event import Log
from gateway.domain.newest import NewestValues
from gateway.domain.offer import Offer
from gateway.domain.ports.backend import AgentHealth, FileKind, SessionRef, Turn, TurnOutput
from gateway.errors import AgentError, GatewayError, TimedOut
from gateway.process.version_probe import ask_version

_INSTALL_REMEDY = "Install it (https://opencode.ai), or give its path as `command`."

_FOREIGN_RULES = (
    "The configuration with which this server was started says what opencode asks for:"
    " `permissions` only answers what it asks."
)

#: servers that are known, at most, if so many are not in use: an unused one is only how to start it
MAX_KNOWN_SERVERS = 256
#: seconds for a server to answer a health check
_HEALTH_TIMEOUT_SECONDS = 3.0
#: seconds for `opencode --version`, and seconds that a good and a bad result are kept
_VERSION_CACHE_SECONDS, _VERSION_FAILURE_CACHE_SECONDS = 300.0, 10.0


class OpencodeBackend:
    """Drives opencode agents, each over the server for its options."""

    def __init__(self, resources: BackendResources) -> None:
        self._resources = resources
        self._servers: dict[bytes, SharedServer] = {}
        #: does the turns of programs that are driven over ACP
        self._acp = AcpBackend(resources)
        self._offers = Offers()
        #: newer programs by version and command: what stands for one that is driven over ACP, None over its server
        self._driven_over: NewestValues[tuple[str, ...], AcpProgram | None] = NewestValues()
        #: results of `opencode --version` by command and PATH, and until when each is kept
        self._versions: NewestValues[tuple[str, ...], tuple[float, AgentHealth]] = NewestValues()

    async def __aenter__(self) -> OpencodeBackend:
        return self

    async def __aexit__(self, *exc: object) -> None:
        await asyncio.gather(self._acp.__aexit__(*exc), *(each.close() for each in self._servers.values()))

    async def stream_turn(self, turn: Turn) -> AsyncGenerator[TurnOutput, None]:
        if not await asyncio.to_thread(os.path.isdir, turn.workspace):
            # opencode would accept it, and fail later with errors that do not tell why
            raise AgentError(f"the workspace {turn.workspace} does not exist.")
        async with self._find_server(turn.agent, turn.depth).use_connection() as connection:
            if isinstance(connection, AcpProgram):
                streaming = over_acp.stream_turn_over_acp(self._acp, turn, self._list_variables(turn.agent))
            else:
                streaming = _stream_server_turn(connection, turn, self._offers)
            async with aclosing(streaming) as said:
                async for one in said:
                    yield one

    def accepts(self, agent: Agent) -> frozenset[FileKind] | None:
        """Return what its server takes; of what its model does not, opencode tells the model."""
        connection = self._find_server(agent).live_connection()
        if isinstance(connection, ServerConnection):
            return connection.api.taken_files.kinds
        return self._acp.accepts(over_acp.make_acp_agent(agent, self._list_variables(agent)))

    def find_offer(self, agent: Agent) -> Offer | None:
        """Return what an agent offered in its last session."""
        over = self._acp.find_offer(over_acp.make_acp_agent(agent, self._list_variables(agent)))
        return self._offers.find(agent) if over is None else over

    async def check_health(self, agent: Agent) -> AgentHealth:
        try:
            shared = self._find_server(agent)
            if agent.options.url is not None:
                return await self._check_foreign_server(agent)
            if (connection := shared.live_connection()) is not None:
                return await self._check_connection(agent, connection)
            found = await self._check_program(agent)
            if not found.ok or found.version.startswith(("0.", "1.")):
                return found
            # How a newer one is driven, only its server tells, once; that may take longer than a check may.
            key = (found.version, *agent.options.command)
            if key not in self._driven_over:
                async with asyncio.timeout(_HEALTH_TIMEOUT_SECONDS), shared.use_connection() as connection:
                    self._driven_over[key] = connection if isinstance(connection, AcpProgram) else None
            program = self._driven_over[key]
            return found if program is None else await self._check_connection(agent, program)
        except TimeoutError:
            return msgspec.structs.replace(found, detail="its server is starting, to find out how it is driven")
        except GatewayError as error:
            return AgentHealth(ok=False, detail=str(error))

    async def _check_connection(self, agent: Agent, connection: server.Connection) -> AgentHealth:
        if isinstance(connection, AcpProgram):
            return await over_acp.check_program_over_acp(self._acp, agent, self._list_variables(agent), connection)
        version = await connection.api.read_version(_HEALTH_TIMEOUT_SECONDS)
        return AgentHealth(ok=True, version=version, detail=connection.api.base)

    async def _check_foreign_server(self, agent: Agent) -> AgentHealth:
        options: Options = agent.options
        url = options.url or ""
        found = await server.find_server_version(url, self._find_password(options), _HEALTH_TIMEOUT_SECONDS)
        missing = _FOREIGN_RULES if agent.must_ask else ""
        return AgentHealth(ok=True, version=found.program, detail=url.rstrip("/"), missing=missing)

    async def _check_program(self, agent: Agent) -> AgentHealth:
        env = self._build_environment(agent)
        key = (*agent.options.command, env.get("PATH", ""))
        until, known = self._versions.get(key, (0.0, AgentHealth(ok=False)))
        if time.monotonic() >= until:
            known = await self._run_version_command(agent.options.command, env)
            self._versions[key] = (
                time.monotonic() + (_VERSION_CACHE_SECONDS if known.ok else _VERSION_FAILURE_CACHE_SECONDS),
                known,
            )
        return known

    async def _run_version_command(self, command: list[str], env: Mapping[str, str]) -> AgentHealth:
        try:
            version = await ask_version(self._resources.children, command, env)
        except (AgentError, TimedOut) as error:
            return AgentHealth(ok=False, detail=f"{error.message} {_INSTALL_REMEDY}")
        return AgentHealth(ok=True, version=version, detail="its server is started when it is needed")

    def _find_server(self, agent: Agent, depth: int = 0) -> SharedServer:
        """Return the server for an agent; agents that would start it in the same way share one."""
        options: Options = agent.options
        if options.url is not None:
            key = msgspec.json.encode([options.url, options.password, options.password_env])
        else:
            shape = [options.command, options.config, options.start_timeout, options.idle_stop]
            key = msgspec.json.encode([shape, self._build_environment(agent, depth)], order="deterministic")
        if key not in self._servers:
            self._forget_unused_servers()
            self._servers[key] = self._make_server(agent, depth)
        return self._servers[key]

    def _forget_unused_servers(self) -> None:
        """Make room for another server: an agent that was changed or deleted never comes back to its own."""
        unused = [key for key, shared in self._servers.items() if shared.is_unused]
        for key in unused[: max(0, len(self._servers) - MAX_KNOWN_SERVERS + 1)]:
            del self._servers[key]

    def _make_server(self, agent: Agent, depth: int) -> SharedServer:
        options: Options = agent.options

        async def attach() -> ServerConnection:
            return await server.attach_to_server(options.url or "", self._find_password(options))

        async def launch() -> server.Connection:
            return await server.launch_server(
                self._resources.children,
                options.command,
                self._build_environment(agent, depth),
                self._resources.directory,
                options.start_timeout,
            )

        if options.url is not None:
            return SharedServer(attach, idle_stop=options.idle_stop, backoff=[0.0])
        return SharedServer(launch, idle_stop=options.idle_stop, backoff=server.START_BACKOFF_SECONDS)

    def _build_environment(self, agent: Agent, depth: int = 0) -> dict[str, str]:
        return self._resources.children.make_environment(self._list_variables(agent), depth)

    def _list_variables(self, agent: Agent) -> dict[str, str]:
        """Return the variables of its own that opencode's process gets. The agent's own settings override ours."""
        options: Options = agent.options
        config = {"autoupdate": False, "share": "disabled"} | options.config
        if agent.must_ask and isinstance(rules := config.get("permission", {}), dict):
            # The later rule counts: those of the agent's entry come after ours.
            config["permission"] = {**OPENCODE_ASKING_RULES, **rules}
        if isinstance(agents := config.get("agent", {}), dict):
            # Over ACP a session cannot be given a title, and opencode would ask the model for one.
            config |= {"agent": {DISABLED_AGENT: {"disable": True}} | agents}
        given = self._resources.environ
        ours = {
            "OPENCODE_DISABLE_AUTOUPDATE": "1",
            "OPENCODE_CONFIG_CONTENT": msgspec.json.encode(config).decode(),
        }
        passed = {name: given[name] for name in options.pass_env if name in given}
        return ours | passed | agent.env

    def _find_password(self, options: Options) -> str | None:
        if options.password is not None or options.password_env is None:
            return options.password
        if (found := self._resources.environ.get(options.password_env)) is None:
            raise AgentError(f"the variable {options.password_env} is not set: it holds opencode's password.")
        return found


async def _stream_server_turn(
    connection: ServerConnection, turn: Turn, offers: Offers
) -> AsyncGenerator[TurnOutput, None]:
    """Do a turn over a server."""
    named = await turn.place_and_name(turn.attachments)
    turn = named.turn
    prompt = _make_prompt(turn)
    prompt.files = await choose_prompt_files(named, connection.api.taken_files)
    async with connection.use_directory(turn.workspace):
        _check_config(connection, turn.agent)
        session, lost = await _open_session(connection, turn)
        if lost is not None:
            prompt.begins_session = True
            if (restarted := await turn.restart_conversation(lost)) is not None:
                yield restarted.remark
                turn = restarted.turn
                prompt.text = turn.input
        yield SessionRef(session.id)
        await connection.wait_for_stop(session.id)
        try:
            async with aclosing(_stream_answer(connection, turn, session, prompt)) as said:
                async for one in said:
                    yield one
        except FilesRefused as refused:
            async with aclosing(_stream_without_files(connection, named.turn, session, prompt, refused)) as said:
                async for one in said:
                    yield one
        if isinstance(connection.api, OpencodeApi):  # what a server of version 2 offers is not read
            # only now: it takes seconds in a directory that the server has not prepared yet
            await offers.refresh(turn.agent, connection.api, turn.workspace)


async def _stream_without_files(
    connection: ServerConnection, turn: Turn, session: Session, prompt: Prompt, refused: FilesRefused
) -> AsyncGenerator[TurnOutput, None]:
    """Send a prompt again that was refused, perhaps for its files, which its text names, or for those of earlier ones.

    Raises:
        FilesRefused: it is refused again, or neither has files.
    """
    may_keep_session = refused.is_forgotten
    if prompt.files:
        names = ", ".join(file.name for file in prompt.files)
        why = f"{refused.message.rstrip('.')}. The prompt is sent again, and only names its files: {names}."
        yield Log(level="warning", message=why)
        prompt.files, prompt.is_repeated = (), True
        if refused.is_forgotten:
            try:
                async with aclosing(_stream_answer(connection, turn, session, prompt)) as said:
                    async for one in said:
                        yield one
                return
            except FilesRefused as again:
                refused = again
    if may_keep_session and (prompt.begins_session or not any(message.files for message in await turn.read_history())):
        raise refused
    fresh = await _create_session(connection, turn)
    prompt.begins_session = prompt.is_repeated = True
    lost = f"opencode's model may refuse a file of the conversation ({refused.message.rstrip('.')})"
    if (restarted := await turn.restart_conversation(lost)) is not None:
        yield restarted.remark
        prompt.text = restarted.turn.input
    yield SessionRef(fresh.id)
    try:
        async with aclosing(_stream_answer(connection, turn, fresh, prompt)) as said:
            async for one in said:
                yield one
    except AgentError:
        if may_keep_session:  # the files were not why
            yield SessionRef(session.id)
        raise


def _check_config(connection: ServerConnection, agent: Agent) -> None:
    """Check that a server of ours reads an agent's configuration, which may say what the agent must not do.

    Raises:
        AgentError: it does not.
    """
    config: Mapping[str, Any] = agent.options.config
    if not connection.is_ours or not connection.api.ignores_config or DISABLED_AGENT in config.get("agent", {}):
        return
    if agent.must_ask:
        raise AgentError(
            f"the agent's permissions are {agent.permission_policy.value!r}, but this version of opencode cannot be "
            "made to ask.",
            remedy="Update opencode; or remove `permissions`, so that opencode's own configuration says what may run.",
        )
    if config:
        raise AgentError(
            "this version of opencode does not read the agent's `config`.",
            remedy="Update opencode, or move that configuration to ~/.config/opencode/opencode.json.",
        )


async def _stream_answer(
    connection: ServerConnection, turn: Turn, session: Session, prompt: Prompt
) -> AsyncGenerator[TurnOutput, None]:
    with connection.stream.subscribe_session(session.id) as inbox:
        runner = TurnRunner(connection.api, inbox, session, turn)
        try:
            async with aclosing(runner.stream_events(prompt)) as said:
                async for one in said:
                    yield one
        finally:
            if runner.stopped_early:
                connection.keep_stopping(session)


async def _open_session(connection: ServerConnection, turn: Turn) -> tuple[Session, str | None]:
    """Return the session for a turn: the earlier one if it can be continued, else a new one.

    With a new one comes what has become of the earlier one, if there was one.
    """
    lost = "opencode has no conversation for this session"
    asks = turn.agent.permission_policy is PermissionPolicy.ASK
    if turn.session_ref is not None:
        try:
            known = await connection.api.read_session(parse_ref(turn.session_ref).session)
        except RequestRefused as error:
            if error.http_status not in (400, 404):
                raise
            lost = "opencode does not know the conversation any more"
        else:
            if await asyncio.to_thread(_is_same_directory, known.directory, turn.workspace):
                await connection.api.allow_questions(known, may_ask_questions=asks)
                return known, None
            lost = "the workspace has changed, and an opencode conversation cannot move"
    return await _create_session(connection, turn), lost


async def _create_session(connection: ServerConnection, turn: Turn) -> Session:
    asks = turn.agent.permission_policy is PermissionPolicy.ASK
    return await connection.api.create_session(turn.workspace, turn.session, may_ask_questions=asks)


def _is_same_directory(one: str, other: str) -> bool:
    return os.path.realpath(one) == os.path.realpath(other)


def _make_prompt(turn: Turn) -> Prompt:
    """Return the prompt of a turn.

    Raises:
        AgentError: the model's name does not have the form provider/model.
    """
    model = None
    if (named := turn.model or turn.agent.model) is not None:
        provider, _, name = named.partition("/")
        if not (provider and name):
            raise AgentError(
                f"opencode has no model {named!r}: its models are named provider/model.",
                remedy="`opencode models` lists them.",
            )
        model = ModelName(provider, name)
    return Prompt(
        text=turn.input,
        model=model,
        agent=turn.agent.options.agent,
        system_prompt=turn.agent.system_prompt,
        run=turn.run,
        attempt=turn.attempt,
        round=turn.round,
        begins_session=False,
    )


def find_named_agent(environ: Mapping[str, str], config: Config) -> Agent | None:
    """Find the server that the settings name."""
    if config.opencode.host or config.opencode.port:
        return Agent(id="main", backend="opencode", options=Options())
    return None


def detect_agent(environ: Mapping[str, str], config: Config) -> Agent | None:
    """Find the program on PATH."""
    if shutil.which("opencode", path=environ.get("PATH", os.defpath)):
        return Agent(id="main", backend="opencode", options=Options())
    return None


def list_candidates(environ: Mapping[str, str], config: Config) -> Iterator[Candidate]:
    """Yield the server that the settings name, and the program."""
    if (named := find_named_agent(environ, config)) is not None:
        address = use_configured_server(named.options, config).url or ""
        yield Candidate(name="opencode-server", agent=named, address=address, install="", is_named=True)
    yield Candidate(
        name="opencode",
        agent=Agent(id="main", backend="opencode", options=Options()),
        program="opencode",
        install=_INSTALL_REMEDY,
        sign_in="Sign in: opencode auth login",
    )


def use_configured_server(options: Options, config: Config) -> Options:
    """Use the server that the settings name, unless the agent names its own."""
    named = config.opencode
    if options.url is not None or not (named.host or named.port):
        return options
    url = f"http://{named.host or '127.0.0.1'}:{named.port or 4096}"
    return msgspec.structs.replace(options, url=url, password=options.password or named.password)


BACKEND = BackendType(
    options=Options,
    open=OpencodeBackend,
    named=find_named_agent,
    detect=detect_agent,
    list_candidates=list_candidates,
    adapt=use_configured_server,
    rank=10,
    secrets=("password",),
)
