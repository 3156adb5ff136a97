"""Permission requests and questions of agents: list and answer them."""

from __future__ import annotations

import asyncio

import msgspec
from msgspec import Struct, field

from gateway.api import paging, views
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.permission import Answer, AskedPermission
from gateway.domain.question import AnswerContent
from gateway.domain.token import Scope

ROUTES = Routes("permissions")


class Given(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The answer; one of the request's `choices`."""

    #: one of the `choices` of the request
    answer: Answer
    #: the answers to the fields of a question, by their names
    content: AnswerContent | None = None


class PermissionAnswer(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    permission: views.PermissionShown


class PermissionList(Struct, frozen=True, kw_only=True):
    #: newest first
    permissions: list[views.PermissionShown]
    #: send it as `cursor` to get the next page; null on the last page
    next_cursor: str | None


class AskedShown(views.PermissionShown, frozen=True, kw_only=True):
    #: id of the agent that asks
    agent_id: str = field(name="agentId")
    #: key of the task's session: agent:channel:chat
    session: str


class AskedList(Struct, frozen=True, kw_only=True):
    #: newest first
    permissions: list[AskedShown]
    #: send it as `cursor` to get the next page; null on the last page
    next_cursor: str | None


class WhichAsked(paging.Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which permission requests to list."""

    #: true for those that wait for an answer now, false for the others; all when left out
    waiting: bool | None = None


class WhichPermissions(paging.Paging, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Which part of a task's permission requests to list."""


@ROUTES.add("GET", "/api/tasks/{id}/permissions", scope=Scope.READ, query=WhichPermissions, answer=PermissionList)
async def list_permissions(call: Call[Nothing, WhichPermissions]) -> PermissionList:
    """List the permission requests and questions of a task, newest first; those that wait have no `answer`."""
    found = await call.engine.permissions.list_requests(call.path["id"], paging.page_to_fetch(call.query))
    requests, cursor = paging.render_page(call.query, found, lambda request: request.number, views.render_permission)
    return PermissionList(permissions=requests, next_cursor=cursor)


@ROUTES.add("GET", "/api/permissions", scope=Scope.READ, query=WhichAsked, answer=AskedList)
async def list_all_permissions(call: Call[Nothing, WhichAsked]) -> AskedList:
    """List the permission requests and questions of all tasks, newest first; with `waiting=true`, those to answer."""
    found = await call.engine.permissions.list_all_requests(call.query.waiting, paging.page_to_fetch(call.query))
    requests, cursor = paging.render_page(call.query, found, lambda asked: asked.seq, _render_asked)
    return AskedList(permissions=requests, next_cursor=cursor)


@ROUTES.add("POST", "/api/tasks/{id}/permissions/{pid}", scope=Scope.WRITE, body=Given, answer=PermissionAnswer)
async def answer_permission(call: Call[Given, Nothing]) -> PermissionAnswer:
    """Answer a permission request or a question; the first answer counts, and later ones get a 409."""
    answering = call.engine.permissions.answer_request(
        call.path["id"],
        call.path["pid"],
        call.body.answer,
        call.principal.name,
        call.read_idempotency_key(),
        call.body.content,
    )
    return PermissionAnswer(permission=views.render_permission(await asyncio.shield(answering)))


def _render_asked(asked: AskedPermission) -> AskedShown:
    shown = msgspec.structs.asdict(views.render_permission(asked.request))
    return AskedShown(**shown, agent_id=asked.agent, session=asked.session)
