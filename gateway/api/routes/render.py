"""Render Markdown as HTML that is safe to show: `POST /api/render`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gateway.api.markup import MAX_MARKUP_CHARACTERS
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain.token import Scope

ROUTES = Routes("render")


class Markup(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    #: Markdown with tables, struck text and fenced code; HTML in it is shown as text
    text: Annotated[str, Meta(max_length=MAX_MARKUP_CHARACTERS)]


class RenderedMarkup(Struct, frozen=True, kw_only=True):
    #: safe to show: no scripts, styles or pictures; links lead to http, https and mailto only
    html: str


@ROUTES.add("POST", "/api/render", scope=Scope.READ, body=Markup, answer=RenderedMarkup)
async def render(call: Call[Markup, Nothing]) -> RenderedMarkup:
    """Render Markdown as HTML that is safe to put into a page. Words of code have the classes of Pygments."""
    call.read_idempotency_key()  # the same text is rendered in the same way: a good key changes nothing
    (made,) = await call.server.rendered_texts.render_texts([call.body.text])
    assert made is not None, "one text that fits is always rendered"
    return RenderedMarkup(html=made)
