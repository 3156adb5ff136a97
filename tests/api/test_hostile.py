"""Hostile input: the documented error, never a 500, never a wait, and nothing of it in the store."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.api import body
from gateway.api.routes.agent import Ask
from gateway.api.routes.message import Say
from gateway.api.routes.tasks import NewTask
from gateway.api.routes.tokens import NewToken
from gateway.api.routing import NATIVE_DIALECT, Nothing, discover_routes
from gateway.errors import InvalidRequest
from tests.api.client import Answer, ask, head, post, raw, read
from tests.support.inprocess import TOKEN, Serving

pytestmark = pytest.mark.slow

BODIES: dict[str, bytes] = {
    "not JSON": b"hello",
    "half of it": b'{"message": "hi"',
    "nothing but space": b"  ",
    "two values": b'{"message": "hi"} {}',
    "trailing text": b'{"message": "hi"}x',
    "a trailing comma": b'{"message": "hi",}',
    "a comment": b'{"message": "hi" /* x */}',
    "single quotes": b"{'message': 'hi'}",
    "a list": b'["hi"]',
    "null": b"null",
    "a string": b'"hi"',
    "lists, 200,000 deep": b"[" * 200_000,
    "objects, 200,000 deep": b'{"a":' * 200_000,
    "a field, 200,000 deep": b'{"message":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "an unknown field, 200,000 deep": b'{"message": "hi", "x":' + b"[" * 200_000 + b"]" * 200_000 + b"}",
    "5,000 digits": b'{"message": "hi", "timeout": ' + b"9" * 5000 + b"}",
    "5,000 digits after the point": b'{"message": "hi", "timeout": 0.' + b"0" * 5000 + b"1e-9999}",
    "an infinite number": b'{"message": "hi", "timeout": 1e999}',
    "NaN": b'{"message": "hi", "timeout": NaN}',
    "Infinity": b'{"message": "hi", "timeout": Infinity}',
    "-Infinity": b'{"message": "hi", "timeout": -Infinity}',
    "UTF-16": '{"message": "hi"}'.encode("utf-16"),
    "bad UTF-8": b'{"message": "\xff\xfe"}',
    "UTF-8 cut short": b'{"message": "\xe2\x82"}',
    "overlong UTF-8": b'{"message": "\xc0\xaf"}',
    "a lone surrogate in UTF-8": b'{"message": "\xed\xa0\x80"}',
    "a lone surrogate as a name": b'{"message": "hi", "\\ud800": 1}',
    "a raw control character": b'{"message": "a\nb"}',
    "a bad escape": b'{"message": "\\x41"}',
    "an unknown field": b'{"message": "hi", "extra": 1}',
    "a missing field": b'{"session": "hi"}',
    "a number for a text": b'{"message": 5}',
    "null for a text": b'{"message": null}',
    "a text for a number": b'{"message": "hi", "timeout": "5"}',
    "true for a number": b'{"message": "hi", "timeout": true}',
    "a name with control characters": b'{"message": "hi", "session": "a\\u0000b"}',
    "a name with a line feed": b'{"message": "hi", "session": "a\\n"}',
    "a name with an escape": b'{"message": "hi", "session": "\\u001b[2J"}',
    "a name that turns text around": b'{"message": "hi", "session": "\\u202e"}',
    "an agent with NUL": b'{"message": "hi", "agentId": "main\\u0000"}',
    "an option for a model": b'{"message": "hi", "model": "--help"}',
}


#: routes that take the name of a session, with the field in which it stands
SESSION_FIELDS = {
    "/api/agent": ("session", {"message": "hi"}),
    "/api/tasks": ("session", {"input": "hi"}),
    "/api/cron/create": ("session", {"schedule": "every 1h", "prompt": "hi"}),
    "/api/message": ("chat_id", {"channel": "webchat", "content": "hi"}),
    "/api/sessions": ("chat_id", {}),
    "/v1/tasks": ("sessionId", {"input": "hi"}),
    "/v1/run": ("sessionId", {"input": "hi"}),
    "/v1/chat/completions": ("metadata.session", {"model": "main", "messages": [{"role": "user", "content": "hi"}]}),
    "/hooks/agent": ("sessionKey", {"message": "hi"}),
    "/api/xcclaw/task": ("session_id", {"prompt": "hi", "type": "scheduled"}),
}


@pytest.mark.parametrize("path", SESSION_FIELDS)
async def test_a_session_that_cannot_have_its_name_is_refused_by_the_field_that_was_sent(
    moongate: Serving, path: str
) -> None:
    field, body = SESSION_FIELDS[path]
    outer, _, inner = field.partition(".")
    given = {outer: {inner: "a\nb"} if inner else "a\nb"}
    answer = read(await raw(moongate, post(path, json.dumps({**body, **given}).encode())))

    assert answer.status == 400
    assert f'"{field}: ' in json.dumps(answer.body)


#: what other programs write by mistake, and what is meant by it
MENDED = {
    b'\xef\xbb\xbf{"message": "hi"}': "hi",
    b'{"message": "\\ud800"}': "\ufffd",
    b'{"message": "\\udc00\\ud800"}': "\ufffd\ufffd",
    b'{"message": "hi \\ud83d"}': "hi \ufffd",
    b'{"message": "\\ud83d\\ude00"}': "\U0001f600",
}


async def nothing_was_kept(served: Serving) -> bool:
    return not (await ask(served, "GET", "/api/tasks")).body["tasks"]


@pytest.mark.parametrize("sent", BODIES.values(), ids=BODIES)
async def test_a_hostile_body_is_refused_in_words(moongate: Serving, sent: bytes) -> None:
    answer = read(await raw(moongate, post("/api/agent", sent)))

    assert (answer.status, answer.code) in ((400, "INVALID_REQUEST"), (404, "AGENT_NOT_FOUND"))
    assert 10 < len(answer.message) < 600
    assert await nothing_was_kept(moongate)


@pytest.mark.parametrize(("sent", "meant"), MENDED.items())
async def test_a_body_that_another_program_got_wrong_is_mended(moongate: Serving, sent: bytes, meant: str) -> None:
    answer = read(await raw(moongate, post("/api/agent", sent)))

    assert (answer.status, answer.body["reply"]) == (200, f"echo: {meant}")


@pytest.mark.parametrize("coding", ["gzip, chunked", "deflate, chunked", "gzip,chunked", "x-new, chunked"])
async def test_a_transfer_coding_that_is_not_decoded_is_not_taken_for_plain(moongate: Serving, coding: str) -> None:
    sent = b"11\r\n" + b'{"message": "hi"}' + b"\r\n0\r\n\r\n"
    lines = ["Content-Type: application/json", f"Transfer-Encoding: {coding}"]
    answer = read(await raw(moongate, head("POST /api/agent", *lines) + sent))

    assert (answer.status, answer.code) == (501, "UNSUPPORTED_CODING")
    assert await nothing_was_kept(moongate)


#: but those of who signs what is sent: see `test_webhook`
READING = [route for route in discover_routes() if route.body is not Nothing and route.gate is None]


@pytest.mark.parametrize("route", [route for route in READING if route.dialect is NATIVE_DIALECT], ids=lambda r: r.path)
@pytest.mark.parametrize(
    "sent", [b"[" * 200_000, b'{"\\ud800": 1}', b'{"x": ' + b"9" * 5000 + b"}", b"\xff", b"x" * 2_000_000]
)
async def test_every_route_rejects_it(moongate: Serving, route: Any, sent: bytes) -> None:
    answer = read(await raw(moongate, posted(route, sent)))

    limit = route.choose_body_limit(None, moongate.context).max_bytes
    assert (answer.status, answer.code) == ((413, "TOO_LARGE") if len(sent) > limit else (400, "INVALID_REQUEST"))
    assert await nothing_was_kept(moongate)


@pytest.mark.parametrize(
    "route", [route for route in READING if route.dialect is not NATIVE_DIALECT], ids=lambda r: r.path
)
@pytest.mark.parametrize("sent", [b"[" * 200_000, b"\xff", b"x" * 2_000_000])
async def test_nor_does_one_of_another_system(moongate: Serving, route: Any, sent: bytes) -> None:
    answer = read(await raw(moongate, posted(route, sent)))

    limit = route.choose_body_limit(None, moongate.context).max_bytes
    assert answer.status == (413 if len(sent) > limit else 400)
    assert await nothing_was_kept(moongate)


def posted(route: Any, sent: bytes) -> bytes:
    """Return a request to a route with this body."""
    return post(route.path, sent).replace(b"POST", route.method.encode(), 1)


@pytest.mark.parametrize(
    "route",
    [
        route
        for route in discover_routes()
        if route.body is Nothing and route.dialect is NATIVE_DIALECT and not route.takes_stream
    ],
    ids=lambda r: f"{r.method} {r.path}",
)
async def test_where_no_body_is_read_none_is_taken(moongate: Serving, route: Any) -> None:
    path = route.path.replace("{", "").replace("}", "")
    needed = [field.encode_name for field in msgspec.structs.fields(route.query) if field.required]
    path += "?" + "&".join(f"{name}=x" for name in needed)
    sent = head(f"{route.method} {path}", "Content-Type: application/json", "Content-Length: 9") + b'{"a": 12}'
    answer = read(await raw(moongate, sent))

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert "a: unknown field" in answer.message


@pytest.mark.parametrize(
    "text", ["\0", "a\0b", "\x1b[31m", "\r\n\r\nHTTP/1.1", "\u202e", "😀", "\ufffe", "</script>", "@@ x\n" * 3]
)
async def test_any_text_is_a_message_and_comes_back_whole(moongate: Serving, text: str) -> None:
    await ask(moongate, "POST", "/api/agent", {"message": text, "session": "s"})
    told = await ask(moongate, "GET", "/api/sessions/s/history")

    assert told.body["messages"][0]["content"] == text


POST = b"POST /api/agent HTTP/1.1\r\nHost: localhost\r\n"
GET = b"GET /health HTTP/1.1\r\nHost: localhost\r\n"
LET_IN = f"Authorization: Bearer {TOKEN}\r\nContent-Type: application/json\r\n".encode()
RAW: dict[str, bytes] = {
    "no request": b"NONSENSE\r\n\r\n",
    "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + b"\0" * 64,
    "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.6\r\n",
    "a version that is none": b"GET /health HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "two lengths": POST + b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}x",
    "a length and chunks": POST + b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks twice": POST + b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunks in disguise": POST + b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "a bad chunk": POST + LET_IN + b"Transfer-Encoding: chunked\r\n\r\nZZ\r\n",
    "a negative length": POST + b"Content-Length: -1\r\n\r\n",
    "a length with a sign": POST + b"Content-Length: +2\r\n\r\n{}",
    "a length of 5,000 digits": POST + b"Content-Length: " + b"9" * 5000 + b"\r\n\r\n",
    "a length that is no number": POST + b"Content-Length: 0x2\r\n\r\n{}",
    "two hosts": GET + b"Host: evil.example\r\n\r\n",
    "no host": b"GET /health HTTP/1.1\r\n\r\n",
    "space before the colon": GET + b"X : a\r\n\r\n",
    "a folded header": GET + b"X: a\r\n b\r\n\r\n",
    "NUL in a header": GET + b"X: a\0b\r\n\r\n",
    "a bare CR": GET + b"X: a\rb\r\n\r\n",
    "a header of 100,000": GET + b"X: " + b"a" * 100_000 + b"\r\n\r\n",
    "1,000 headers": GET + b"".join(b"X%d: 1\r\n" % n for n in range(1000)) + b"\r\n",
    "a path of 100,000": b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a space in the path": b"GET /hea lth HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bytes in the path": b"GET /api/sessions/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a surrogate in the path": b"GET /api/sessions/\xed\xa0\x80 HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bytes in the query": b"GET /api/tasks?session=\xff HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.parametrize("sent", RAW.values(), ids=RAW)
async def test_what_is_no_http_is_answered_once_and_closed(moongate: Serving, sent: bytes) -> None:
    came = await raw(moongate, sent)
    answer = read(came)

    assert came.count(b"HTTP/1.") == 1
    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")


async def test_a_path_is_no_way_out(moongate: Serving) -> None:
    for path in ("/..", "/../../etc/passwd", "/%2e%2e/%2e%2e/etc/passwd", "//etc/passwd", "/api//tasks", "/api/tasks/"):
        assert read(await raw(moongate, head(f"GET {path}"))).status == 404


@pytest.mark.parametrize(
    "line",
    ["GET http://localhost/health", "GET http://evil.example/health", "CONNECT evil.example:443", "OPTIONS *", "GET *"],
)
async def test_other_forms_of_a_target_reach_nothing_else(moongate: Serving, line: str) -> None:
    answer = read(await raw(moongate, head(line)))

    assert answer.status in (200, 400, 404, 405)
    assert answer.status != 200 or answer.body["status"] == "healthy"


@pytest.mark.parametrize(
    "query",
    [
        "session=%FF",
        "session=%ED%A0%80",
        "%FF=%ED%A0%80",
        "agent=%00",
        "label=%00",
        "agent=" + "x" * 4000,
        "=",
        "&&",
        "%",
        "%zz=1",
    ],
)
async def test_a_hostile_query_is_no_trouble(moongate: Serving, query: str) -> None:
    answer = await ask(moongate, "GET", f"/api/tasks?{query}")

    assert answer.status in (200, 400, 404)


@pytest.mark.parametrize(
    "line",
    ["Accept: \udcff", "Idempotency-Key: \udcff", "Last-Event-ID: \udcff", "Sec-Fetch-Site: \udcff", "Expect: \udcff"],
)
async def test_a_hostile_header_is_no_trouble(moongate: Serving, line: str) -> None:
    answer = read(await raw(moongate, post("/api/agent", b'{"message": "hi"}', line)))

    assert answer.status in (200, 400)


# --- properties -------------------------------------------------------------------------------

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
FIELDS = ("message", "session", "agentId", "model", "timeout", "input", "labels", "run_at", "priority", "name", "days")


@pytest.mark.parametrize("kind", [Ask, Say, NewTask, NewToken, Nothing])
@given(data=st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
@settings(max_examples=150, deadline=None, derandomize=True)
def test_any_bytes_are_parsed_or_refused(kind: type[Any], data: bytes) -> None:
    assert isinstance(parsed_or_refused(data, kind), (kind, InvalidRequest))


def parsed_or_refused(data: bytes, kind: type[Any]) -> object:
    try:
        return body.parse_body(data, kind)
    except InvalidRequest as refused:
        str(refused).encode()  # a lone surrogate could not be sent in an answer
        return refused


@pytest.mark.parametrize("kind", [Ask, NewTask])
@given(given_=st.dictionaries(st.sampled_from(FIELDS), JSON))
@settings(max_examples=300, deadline=None, derandomize=True)
def test_any_fields_are_parsed_or_refused(kind: type[Any], given_: dict[str, Any]) -> None:
    assert isinstance(parsed_or_refused(json.dumps(given_).encode(), kind), (kind, InvalidRequest))


@given(text=st.text(st.characters(), min_size=1, max_size=140))
@settings(max_examples=60, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_any_name_is_a_session_or_refused(moongate: Serving, text: str) -> None:
    """What is taken is found again under the same name."""
    answer: Answer = await ask(moongate, "POST", "/api/agent", {"message": "hi", "session": text})

    assert answer.status in (200, 400)
    if answer.status == 200:
        path = quote(text, safe="").replace(".", "%2E")  # clients take `/.` and `/..` out of a path
        shown = read(await raw(moongate, head(f"GET /api/sessions/{path}")))
        assert shown.status == 200
        assert shown.body["session"]["chat_id"] == text or shown.body["session"]["key"] == text
