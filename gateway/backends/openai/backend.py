"""Any OpenAI-compatible server as an agent: a conversation with a model, and no tools.

    {"id": "main", "backend": "openai", "base_url": "http://127.0.0.1:11434/v1", "model": "qwen3:4b"}

Every turn sends the end of the session's transcript, so that it fits into `context_tokens` together with
the answer. Files are sent as the model takes them (`inputs`, or by trying): `files` says how. If the server refuses
a request, parts of it are left out, and it is sent once more: `plan` says which. If no model is named, the first
model of the server is used. After a temporary failure (429, 5xx, no connection, an answer without a text) the
request is tried again, but only while no part of the answer has come.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncGenerator
from contextlib import aclosing
from typing import Any

import aiohttp

from gateway.backends import BackendResources, BackendType
from gateway.backends.openai import client
from gateway.backends.openai.client import ServerCall
from gateway.backends.openai.context import Context, ContextBudgets
from gateway.backends.openai.detection import detect_agent, find_named_agent, list_candidates
from gateway.backends.openai.failure import TemporaryFailure
from gateway.backends.openai.inputs import ModelInputs, make_model_key
from gateway.backends.openai.options import Options, find_key
from gateway.backends.openai.plan import Plan
from gateway.backends.openai.request_body import ReadFile
from gateway.domain.agent import Agent
from gateway.domain.event import Log, Text, Thinking
from gateway.domain.newest import NewestValues
from gateway.domain.offer import Offer, make_choices
from gateway.domain.ports.backend import AgentHealth, FileKind, NewFile, Turn, TurnOutput, read_no_file
from gateway.errors import AgentError, GatewayError
from gateway.proxy import choose_proxy

#: seconds between two tries, at most, whatever Retry-After asks for
MAX_RETRY_WAIT_SECONDS = 60.0


class OpenAIBackend:
    """Asks servers, and holds the connections to them."""

    def __init__(self, resources: BackendResources) -> None:
        self._environ = resources.environ
        self._find_traceparent = resources.find_traceparent
        self._budgets, self._inputs = ContextBudgets(), ModelInputs()
        #: the models of each server, by its URL
        self._offers: NewestValues[str, Offer] = NewestValues()

    async def __aenter__(self) -> OpenAIBackend:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0),  # the engine limits the runs
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
        )
        return self

    async def __aexit__(self, *exc: object) -> None:
        await self._session.close()

    async def check_health(self, agent: Agent) -> AgentHealth:
        options: Options = agent.options
        try:
            async with asyncio.timeout(client.LIST_TIMEOUT_SECONDS):
                models = await client.list_models(self._make_call(options, {}))
        except (GatewayError, TimeoutError) as error:
            return AgentHealth(ok=False, detail=f"{options.base_url}: {str(error) or 'no answer'}")
        kept, _ = make_choices((model, model) for model in models)
        self._offers[options.base_url] = Offer(models=kept)
        return AgentHealth(ok=True, detail=f"{options.base_url} ({len(models)} models)")

    def find_offer(self, agent: Agent) -> Offer | None:
        """Return the models that the agent's server listed for the last health check; it may take others."""
        options: Options = agent.options
        return self._offers.get(options.base_url)

    def accepts(self, agent: Agent) -> frozenset[FileKind] | None:
        options: Options = agent.options
        return self._inputs.find_known(options, make_model_key(agent))

    async def stream_turn(self, turn: Turn) -> AsyncGenerator[TurnOutput, None]:
        plan = Plan(turn, await turn.read_history(), self._budgets, self._inputs)
        await plan.prepare()
        while True:
            spoken = False
            try:
                async with aclosing(self._send_with_retries(turn, plan.context)) as answer:
                    async for said in answer:
                        spoken = spoken or isinstance(said, Text | Thinking | NewFile)
                        yield said
            except AgentError as error:
                remark = None if spoken else await plan.leave_out(error)
                if remark is None:
                    raise
                yield remark
            else:
                plan.note_answer()
                return

    async def _send_with_retries(self, turn: Turn, context: Context) -> AsyncGenerator[TurnOutput, None]:
        options: Options = turn.agent.options
        call = self._make_call(options, build_request(turn, context), turn.read_file, self._find_traceparent(turn))
        for attempt in range(options.retries + 1):
            spoken = False
            try:
                async with aclosing(client.stream_answer(call)) as answer:
                    async for said in answer:
                        spoken = spoken or isinstance(said, Text | Thinking | NewFile)
                        yield said
                return
            except TemporaryFailure as error:
                if spoken or attempt == options.retries:
                    raise
                pause = compute_retry_wait(attempt, options.retry_delay, error.retry_after)
                yield Log(level="warning", message=f"{str(error).rstrip('.')}; trying again in {pause:.1f} s.")
            await asyncio.sleep(pause)

    def _make_call(
        self,
        options: Options,
        body: dict[str, Any],
        read_file: ReadFile = read_no_file,
        traceparent: str | None = None,
    ) -> ServerCall:
        key = find_key(options, self._environ)
        proxy = choose_proxy(options.base_url, self._environ) if options.trust_env else None
        return ServerCall(
            options=options,
            session=self._session,
            proxy=proxy,
            key=key,
            body=body,
            read_file=read_file,
            traceparent=traceparent,
        )


def build_request(turn: Turn, context: Context) -> dict[str, Any]:
    """Return the request's body; without a `model` if none is named."""
    options: Options = turn.agent.options
    body: dict[str, Any] = {"messages": context.messages, "stream": True}
    # OpenAI's newer models refuse the old name; other servers may not know the new one.
    limit = "max_completion_tokens" if options.is_openai else "max_tokens"
    wanted = {
        "model": turn.model or turn.agent.model,
        "temperature": options.temperature,
        limit: options.max_tokens,
        "modalities": options.outputs,
        "stream_options": {"include_usage": True} if options.usage else None,
    }
    return body | {name: value for name, value in wanted.items() if value is not None}


def compute_retry_wait(attempt: int, first: float, asked: float | None) -> float:
    """Return the seconds to wait after an attempt (from 0): what the server asks, or an exponential backoff.

    Up to half of it is random, so that many clients do not come back at the same time.
    """
    wait = min(first * 2.0**attempt, MAX_RETRY_WAIT_SECONDS) * random.uniform(0.5, 1.0)  # noqa: S311
    return max(wait, min(asked or 0.0, MAX_RETRY_WAIT_SECONDS))


BACKEND = BackendType(
    options=Options,
    open=OpenAIBackend,
    named=find_named_agent,
    detect=detect_agent,
    list_candidates=list_candidates,
    rank=30,
    secrets=("api_key",),
    uses_workspace=False,
)
