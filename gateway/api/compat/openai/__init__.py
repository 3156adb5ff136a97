"""OpenAI's HTTP API: its clients can use an agent as if it were a model."""

from __future__ import annotations

from gateway.api.compat.openai import chat, request, responses
from gateway.api.compat.openai.wire import (
    ChatCompletion,
    ChatRequest,
    Model,
    ModelList,
    OpenAIError,
    ResponseQuery,
    ResponseRequest,
    ResponseShown,
)
from gateway.api.routing import Call, Dialect, Nothing, Routes
from gateway.domain.token import Scope

ROUTES = Routes("openai", dialect=Dialect(error_type=OpenAIError, render_error=request.render_openai_error))

ROUTES.add(
    "POST",
    "/v1/chat/completions",
    scope=Scope.WRITE,
    body=ChatRequest,
    answer=ChatCompletion,
    streams=True,
    body_limit=request.limit_conversation_body,
)(chat.create_chat_completion)
ROUTES.add(
    "POST",
    "/v1/responses",
    scope=Scope.WRITE,
    body=ResponseRequest,
    answer=ResponseShown,
    streams=True,
    body_limit=request.limit_conversation_body,
)(responses.create_response)
ROUTES.add("GET", "/v1/responses/{id}", scope=Scope.READ, query=ResponseQuery, answer=ResponseShown, streams=True)(
    responses.show_response
)
ROUTES.add("POST", "/v1/responses/{id}/cancel", scope=Scope.WRITE, answer=ResponseShown)(responses.cancel_response)


@ROUTES.add("GET", "/v1/models", scope=Scope.READ, answer=ModelList)
async def list_models(call: Call[Nothing, Nothing]) -> ModelList:
    """List the enabled agents, as models."""
    agents = await call.engine.agents.list_views()
    return ModelList(data=[_render_model(call, view.agent.id) for view in agents if view.agent.enabled])


@ROUTES.add("GET", "/v1/models/{id}", scope=Scope.READ, answer=Model)
async def show_model(call: Call[Nothing, Nothing]) -> Model:
    """Show an agent as a model."""
    return _render_model(call, request.choose_agent(call, call.path["id"]).agent)


def _render_model(call: Call[Nothing, Nothing], agent: str) -> Model:
    return Model(id=agent, created=call.server.started // 1000)
