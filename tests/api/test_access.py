"""Who may come in, and who may do what: every route, every kind of caller."""

from __future__ import annotations

import ipaddress
import itertools
import json
import re
from collections.abc import Mapping, MutableMapping
from contextlib import nullcontext
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import structlog
from aiohttp.test_utils import make_mocked_request

from gateway import config
from gateway.api import auth, browser_cookie, failed_attempts
from gateway.api.routing import NATIVE_DIALECT, Route, discover_routes
from gateway.domain.token import Scope
from gateway.errors import ConfigError, Forbidden, Misdirected
from harness.live_gateway import Live
from tests.api.client import Answer, ask, head, post, raw, read, token
from tests.support.inprocess import TOKEN, Serving, serving

ACCESS_PAGE = Path(__file__).parents[2] / "docs" / "access.md"
PUBLIC = {"/health", "/livez", "/readyz"}
#: signed by the sender instead of with a token; see `test_webhook`
SIGNED = {"/api/webhook/{channel}"}
ROUTES = sorted(discover_routes(), key=lambda route: (route.path, route.method))
#: without a token; they are the same for everyone
PAGES = [route for route in ROUTES if route.is_page]
#: takes a code or a token in its body; see `test_dashboard`
SIGN_IN = "/api/dashboard/sign-in"
GUARDED = [route for route in ROUTES if route.path not in PUBLIC | SIGNED | {SIGN_IN} and not route.is_page]
#: bad credentials, as header lines
BAD = {
    "none": None,
    "empty": "Bearer ",
    "wrong": "Bearer wrong-token-of-more-than-24-characters",
    "right but for its last letter": f"Bearer {TOKEN[:-1]}",
    "of another scheme": f"Basic {TOKEN}",
    "not ASCII": "Bearer t\udcc3\udca9\udcff",
}


def name(route: Route) -> str:
    return f"{route.method} {route.path}"


def filled(route: Route) -> str:
    """Return the route's path with something in its variable parts."""
    return route.path.replace("{", "").replace("}", "")


def test_the_public_routes_are_exactly_these() -> None:
    assert {route.path for route in ROUTES if route.scope is None and route.gate is None and not route.is_page} == {
        *PUBLIC,
        SIGN_IN,
    }
    assert {(route.method, route.scope) for route in PAGES} <= {("GET", None)}
    assert {route.path for route in ROUTES if route.gate is not None} == SIGNED
    assert {route.method for route in ROUTES if route.path in PUBLIC} == {"GET"}


#: how the paths of routes begin that are for admins only
FOR_ADMINS = (
    "/api/alerts/test",
    "/api/audit",
    "/api/channels/",
    "/api/doctor",
    "/api/gateway",
    "/api/import",
    "/api/logs",
    "/api/tokens",
)


def test_every_scope_is_as_documented() -> None:
    """read = GET but logs and the doctor, tickets, rendering, and signing in and out; write = the rest, but what is for
    admins.

    admin = tokens, logs, the audit log, the doctor, tests of alerts, changes of agents, who is let in, unreadable rows,
    imports, and the gateway itself
    """
    for route in GUARDED:
        admin = route.path.startswith(FOR_ADMINS) or (
            (
                route.path in ("/api/agents", "/api/agents/{id}", "/agents", "/agents/", "/agents/{id}")
                or route.path.startswith("/api/unreadable")
            )
            and route.method != "GET"
        )
        # a ticket only opens what may be read; a code gives no more than its token; tools of MCP have their own scopes
        reads = route.method == "GET" or route.path in (
            "/api/tickets",
            "/mcp",
            "/api/dashboard/codes",
            "/api/dashboard/sign-out",
            "/api/render",  # it keeps nothing
        )
        expected = Scope.ADMIN if admin else Scope.READ if reads else Scope.WRITE
        assert route.scope is expected, name(route)


@pytest.mark.parametrize("credentials", BAD.values(), ids=BAD)
async def test_every_guarded_route_refuses_bad_credentials(
    moongate: Serving, credentials: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(failed_attempts, "MAX_FAILED_ATTEMPTS", 10_000)
    for route in GUARDED:
        more = [] if credentials is None else [f"Authorization: {credentials}"]
        answer = read(await raw(moongate, head(f"{route.method} {filled(route)}", *more, bearer=None)))

        assert answer.status == 401, name(route)
        assert answer.code == "UNAUTHORIZED" if route.dialect is NATIVE_DIALECT else "token" in str(answer.body), name(
            route
        )
        assert answer.headers["WWW-Authenticate"] == "Bearer"


@pytest.mark.parametrize("credentials", BAD.values(), ids=BAD)
async def test_public_routes_let_everyone_in(moongate: Serving, credentials: str | None) -> None:
    for path in sorted(PUBLIC):
        more = [] if credentials is None else [f"Authorization: {credentials}"]

        assert read(await raw(moongate, head(f"GET {path}", *more, bearer=None))).status == 200


@pytest.mark.parametrize(
    "line", ["GET /nowhere", "PUT /api/tasks", "POST /health", "OPTIONS /api/tasks", "TRACE /", "OPTIONS *"]
)
async def test_a_stranger_learns_nothing_of_other_paths(moongate: Serving, line: str) -> None:
    assert read(await raw(moongate, head(line, bearer=None))).status == 401


@pytest.mark.parametrize(
    ("line", "status", "allow"),
    [("GET /nowhere", 404, None), ("PUT /api/tasks", 405, "GET, HEAD, POST"), ("POST /health", 405, "GET, HEAD")],
)
async def test_a_friend_is_told_what_there_is(moongate: Serving, line: str, status: int, allow: str | None) -> None:
    answer = read(await raw(moongate, head(line)))

    assert (answer.status, answer.headers.get("Allow")) == (status, allow)
    assert set(answer.body) == {"error"}


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_token_opens_exactly_the_routes_of_its_scope(moongate: Serving, scope: Scope) -> None:
    secret = await token(moongate, "named", scope)
    for route in GUARDED:
        assert route.scope is not None
        if route.streams and route.method == "GET":
            continue  # a stream that is let in does not end; its scope is looked at above and below
        answer = await ask(moongate, route.method, filled(route), token=secret)

        refused = answer.status == 403
        assert refused is not scope.covers(route.scope), (name(route), answer)
        if refused:
            assert route.dialect is not NATIVE_DIALECT or answer.code == "FORBIDDEN"
            assert f"the scope {scope}; {route.scope} is needed" in str(answer.body)


async def test_a_stream_asks_for_its_scope(moongate: Serving) -> None:
    secret = await token(moongate, "named", "write")

    assert (await ask(moongate, "GET", "/api/logs?follow=true", token=secret)).code == "FORBIDDEN"


@pytest.mark.parametrize("path", ["/api/tasks", "/health", "/nowhere"])
@pytest.mark.parametrize("query", [f"token={TOKEN}", "token=", "a=1&token=x"])
async def test_a_token_in_a_url_is_refused(moongate: Serving, path: str, query: str) -> None:
    answer = await ask(moongate, "GET", f"{path}?{query}")

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert TOKEN not in json.dumps(answer.body)


# --- Host and Origin --------------------------------------------------------------------------


@pytest.mark.parametrize(
    "host",
    ["localhost", "localhost:18790", "LOCALHOST", "127.0.0.1:1", "[::1]:1", "[::1]", "10.1.2.3", "gate.example:443"],
)
async def test_these_hosts_are_ours(tmp_path: Path, host: str) -> None:
    async with serving(tmp_path / "home", {"gateway": {"allowed_hosts": ["Gate.example"]}}) as served:
        assert read(await raw(served, head("GET /health", host=host))).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "evil.example:18790",
        "localhost:x",
        "a@localhost",
        "localhost/x",
        "[::1",
        "",
    ],
)
@pytest.mark.parametrize("path", ["/health", "/api/tasks", "/nowhere"])
async def test_a_foreign_host_is_not_answered(moongate: Serving, host: str, path: str) -> None:
    answer = read(await raw(moongate, head(f"GET {path}", host=host)))

    assert (answer.status, answer.code) == (421, "FORBIDDEN")
    assert "gateway.allowed_hosts" in answer.message


async def test_only_so_many_hosts_are_remembered_and_the_others_are_answered_too(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(auth, "MAX_REMEMBERED_HOSTS", 3)
    guard = auth.RequestGuard(moongate.engine.tokens)
    for number in range(5):
        guard.check_host(make_mocked_request("GET", "/health", {"Host": f"10.1.2.{number}"}))

    assert guard._good_hosts == {f"10.1.2.{number}" for number in range(3)}


async def test_a_host_that_is_far_too_long_is_answered_and_not_remembered(moongate: Serving) -> None:
    guard = auth.RequestGuard(moongate.engine.tokens)
    hosts = [f"[fe80::1%{'z' * length}]" for length in (10, 8000)]
    for host in hosts:
        guard.check_host(make_mocked_request("GET", "/health", {"Host": host}))

    assert guard._good_hosts == {hosts[0]}


PROXY = [ipaddress.ip_network("127.0.0.1")]


def from_proxy(**headers: str) -> Any:
    """Return a request that comes from 127.0.0.1."""
    transport = Mock(get_extra_info=lambda name, *_: ("127.0.0.1", 5) if name == "peername" else None)
    return make_mocked_request(
        "GET", "/health", {name.replace("_", "-"): value for name, value in headers.items()}, transport=transport
    )


async def test_the_public_name_and_its_origin_are_our_own(moongate: Serving) -> None:
    guard = auth.RequestGuard(moongate.engine.tokens, public_url="https://Gate.example:8443")

    guard.check_host(from_proxy(Host="gate.example:8443"))
    guard.check_origin(from_proxy(Host="127.0.0.1:18790", Origin="https://gate.example:8443"))
    with pytest.raises(Forbidden):
        guard.check_origin(from_proxy(Host="127.0.0.1:18790", Origin="https://gate.example"))


async def test_the_host_that_a_proxy_tells_counts_only_if_it_is_trusted(moongate: Serving) -> None:
    told = {"Host": "127.0.0.1:18790", "X_Forwarded_Host": "gate.example", "Origin": "https://gate.example"}
    public = "https://gate.example"
    trusting = auth.RequestGuard(moongate.engine.tokens, allowed_hosts=["gate.example"], trusted_proxies=PROXY)
    wary = auth.RequestGuard(moongate.engine.tokens, allowed_hosts=["gate.example"])
    trusted, other = from_proxy(**told), from_proxy(**told)

    trusting.check_host(trusted)
    trusting.check_origin(trusted)
    wary.check_host(other)
    with pytest.raises(Forbidden):
        wary.check_origin(other)
    assert browser_cookie.is_own_origin(public, trusted)


async def test_the_host_must_be_ours_whatever_a_proxy_tells(moongate: Serving) -> None:
    guard = auth.RequestGuard(moongate.engine.tokens, trusted_proxies=PROXY)

    with pytest.raises(Misdirected):  # a page on the proxy's machine, by DNS rebinding
        guard.check_host(from_proxy(Host="evil.example", X_Forwarded_Host="localhost"))


@pytest.mark.parametrize("told", ["gate.example", "localhost, gate.example", "["])
async def test_a_name_that_is_not_ours_from_a_proxy_is_ignored(moongate: Serving, told: str) -> None:
    guard = auth.RequestGuard(moongate.engine.tokens, trusted_proxies=PROXY)
    request = from_proxy(Host="localhost:18790", X_Forwarded_Host=told, Origin="https://gate.example")

    with structlog.testing.capture_logs() as lines:
        guard.check_host(request)
        guard.check_host(request)

    assert [line["event"] for line in lines] == ["proxy.unknown_host"]
    assert browser_cookie.build_cookie(request, "s", 60, PROXY).startswith("moongate_18790=")
    with pytest.raises(Forbidden):
        guard.check_origin(request)


async def test_few_names_that_are_not_ours_are_logged(moongate: Serving) -> None:
    guard = auth.RequestGuard(moongate.engine.tokens, trusted_proxies=PROXY)

    with structlog.testing.capture_logs() as lines:
        for n in range(auth.MAX_LOGGED_FORWARDED_HOSTS + 5):
            guard.check_host(from_proxy(Host="localhost", X_Forwarded_Host=f"{n}.example"))

    assert len(lines) == auth.MAX_LOGGED_FORWARDED_HOSTS


METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]
FOREIGN = [
    "https://evil.example",
    "null",
    "http://localhost:1",
    "http://[",
    "file://",
    "http://localhost@evil",
    "\udcff",
]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("origin", FOREIGN)
async def test_a_foreign_origin_is_refused_on_every_method(moongate: Serving, method: str, origin: str) -> None:
    path = "/api/tasks" if method == "POST" else "/health"
    answer = read(await raw(moongate, head(f"{method} {path}", f"Origin: {origin}")))

    assert answer.status == 403
    assert "Access-Control-Allow-Origin" not in answer.headers


@pytest.mark.parametrize("site", ["cross-site", "same-origin", "none", "same-site"])
async def test_without_an_origin_the_site_is_looked_at(moongate: Serving, site: str) -> None:
    answer = await ask(moongate, "GET", "/health", Sec_Fetch_Site=site)

    assert answer.status == (403 if site == "cross-site" else 200)


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST"])
@pytest.mark.parametrize("mode", ["navigate", "no-cors", "cors", None])
@pytest.mark.parametrize("destination", ["document", "iframe", "script", None])
@pytest.mark.parametrize("is_page", [True, False])
async def test_a_link_of_another_site_opens_pages_only_and_in_no_frame(
    moongate: Serving, method: str, mode: str | None, destination: str | None, is_page: bool
) -> None:
    told = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": mode, "Sec-Fetch-Dest": destination}
    request = make_mocked_request(method, "/", {name: value for name, value in told.items() if value is not None})
    guard = auth.RequestGuard(moongate.engine.tokens)
    opens = is_page and (method, mode) == ("GET", "navigate") and destination in ("document", None)

    with nullcontext() if opens else pytest.raises(Forbidden):
        guard.check_origin(request, is_page=is_page)


async def test_our_own_origin_is_answered(moongate: Serving) -> None:
    answer = await ask(moongate, "GET", "/health", Origin=f"http://127.0.0.1:{moongate.port}")

    assert answer.status == 200
    assert "Access-Control-Allow-Origin" not in answer.headers


async def test_allowed_origins_are_exact(tmp_path: Path) -> None:
    page = "https://board.example"
    async with serving(tmp_path / "home", {"gateway": {"cors_origins": [page]}}) as served:
        answer = await ask(served, "GET", "/api/tasks", Origin=page, Sec_Fetch_Site="cross-site")
        refused = await ask(served, "GET", "/api/tasks", Origin=page, token="wrong")
        preflight = await ask(served, "OPTIONS", "/api/tasks", Origin=page, Access_Control_Request_Method="POST")
        others = [
            await ask(served, "GET", "/health", Origin=other)
            for other in (page + ".evil", "http" + page[5:], page + "/")
        ]

    assert (answer.status, answer.headers["Access-Control-Allow-Origin"], answer.headers["Vary"]) == (
        200,
        page,
        "Origin",
    )
    assert (refused.status, refused.headers["Access-Control-Allow-Origin"]) == (401, page)
    assert preflight.status == 204
    assert "Authorization" in preflight.headers["Access-Control-Allow-Headers"]
    assert {other.status for other in others} == {403}


# --- wrong tokens -----------------------------------------------------------------------------


async def wrong(served: Serving, **headers: str) -> Answer:
    return await ask(served, "GET", "/api/tasks", token="wrong", **headers)


async def test_the_eleventh_wrong_token_is_refused_unseen_and_a_right_one_passes(moongate: Serving) -> None:
    statuses = [(await wrong(moongate)).status for _ in range(11)]
    right = await ask(moongate, "GET", "/api/tasks")
    without = await ask(moongate, "GET", "/api/tasks", Authorization="")
    last = await wrong(moongate)

    assert statuses == [401] * 10 + [429]
    assert right.status == 200
    assert (last.code, 1 <= int(last.headers["Retry-After"]) <= 60) == ("RATE_LIMITED", True)
    assert without.status == 429  # an empty token is a wrong one


async def refusals(served: Serving, *requests: bytes) -> list[MutableMapping[str, Any]]:
    """Return the lines about wrong tokens that these requests leave in the log."""
    with structlog.testing.capture_logs() as lines:
        for request in requests:
            await raw(served, request)
    return [line for line in lines if line["event"] == "auth.refused"]


async def test_a_wrong_token_leaves_a_warning_with_its_address(moongate: Serving) -> None:
    (line,) = await refusals(moongate, head("GET /api/tasks?x=1", bearer="wrong"))

    assert line == {
        "log_level": "warning",
        "event": "auth.refused",
        "address": "127.0.0.1",
        "method": "GET",
        "path": "/api/tasks",
        "attempts": 1,
    }
    shown = re.search(r'^\{"time".*"auth\.refused".*$', ACCESS_PAGE.read_text(), re.MULTILINE)
    assert shown is not None
    assert set(json.loads(shown[0])) - {"time", "level", "request"} == line.keys() - {"log_level"}


@pytest.mark.parametrize("path", ["/health", "/livez", "/readyz", "/nowhere"])
async def test_no_path_lets_tokens_be_guessed_unseen(moongate: Serving, path: str) -> None:
    seen = path not in ("/livez", "/readyz")  # without channels, these tell nothing that depends on the token

    assert len(await refusals(moongate, head(f"GET {path}", bearer="wrong"))) == seen
    assert await refusals(moongate, head(f"GET {path}", bearer=None), head(f"GET {path}", bearer=TOKEN)) == []


async def test_one_address_does_not_fill_the_log(moongate: Serving) -> None:
    lines = await refusals(moongate, *[head("GET /api/tasks", bearer="wrong")] * 25)

    assert [line["attempts"] for line in lines] == list(range(1, 11))


async def test_many_addresses_do_not_fill_the_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failed_attempts, "MAX_LOGGED_ATTEMPTS", 3)
    async with serving(tmp_path / "home", {"gateway": {"trusted_proxies": ["127.0.0.1"]}}) as served:
        requests = [head("GET /api/tasks", f"X-Forwarded-For: 192.0.2.{n}", bearer="wrong") for n in range(8)]
        lines = await refusals(served, *requests)

    assert [line["address"] for line in lines] == ["192.0.2.0", "192.0.2.1", "192.0.2.2"]


def test_what_was_not_logged_is_counted_in_the_next_line() -> None:
    now = 0.0
    attempts = failed_attempts.FailedAttempts(lambda: now)
    with structlog.testing.capture_logs() as lines:
        for number in range(failed_attempts.MAX_LOGGED_ATTEMPTS + 7):
            attempts.count_attempt(f"192.0.{number // 256}.{number % 256}", "GET", "/")
        now = failed_attempts.FAILED_ATTEMPT_WINDOW_SECONDS
        attempts.count_attempt("198.51.100.1", "GET", "/")

    assert len(lines) == failed_attempts.MAX_LOGGED_ATTEMPTS + 1
    assert lines[-1]["unlogged"] == 7


async def test_who_has_no_token_is_not_counted(moongate: Serving) -> None:
    for _ in range(12):
        assert read(await raw(moongate, head("GET /api/tasks", bearer=None))).status == 401
    assert (await wrong(moongate)).status == 401


async def test_what_a_stranger_says_of_its_address_does_not_count(moongate: Serving) -> None:
    answers = [await wrong(moongate, X_Forwarded_For=f"10.0.0.{n}") for n in range(11)]

    assert answers[-1].status == 429


async def test_what_a_trusted_proxy_says_does(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", {"gateway": {"trusted_proxies": ["127.0.0.0/8"]}}) as served:
        others = [await wrong(served, X_Forwarded_For=f"10.0.0.{n}") for n in range(11)]
        spoofed = [await wrong(served, X_Forwarded_For=f"1.2.3.{n}, 10.9.9.9") for n in range(11)]

    assert {answer.status for answer in others} == {401}
    assert spoofed[-1].status == 429  # only what the proxy itself added is believed


async def test_a_proxy_s_own_line_counts_and_not_the_client_s(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", {"gateway": {"trusted_proxies": ["127.0.0.1"]}}) as served:
        answers = [
            read(
                await raw(
                    served,
                    head("GET /api/tasks", f"X-Forwarded-For: 1.2.3.{n}", "X-Forwarded-For: 10.9.9.9", bearer="wrong"),
                )
            )
            for n in range(11)
        ]

    assert answers[-1].status == 429


def test_a_proxy_that_is_no_address_is_a_wrong_setting(live: Any) -> None:
    refused: Live = live(config={"gateway": {"trusted_proxies": ["my-proxy"]}}).start(wait=False)
    assert refused.process is not None

    assert refused.process.wait(30) == 78
    assert "gateway.trusted_proxies: 'my-proxy' is not an address" in refused.output.read_text()


# --- where it may listen ----------------------------------------------------------------------

HOSTS = {"127.0.0.1": True, "::1": True, "localhost": True, "0.0.0.0": False, "::": False, "192.0.2.1": False}
MODES: dict[str, Mapping[str, Any]] = {
    "generated": {},
    "given": {"token": TOKEN},
    "none": {"mode": "none"},
}


@pytest.mark.parametrize(("host", "mode"), list(itertools.product(HOSTS, MODES)))
def test_without_a_token_only_loopback_is_served(tmp_path: Path, host: str, mode: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"gateway": {"host": host, "auth": MODES[mode]}}))
    if mode == "none" and not HOSTS[host]:
        with pytest.raises(ConfigError, match="loopback") as refused:
            config.load({"MOONGATE_HOME": str(tmp_path)})
        assert refused.value.exit_code == 78
    else:
        assert config.load({"MOONGATE_HOME": str(tmp_path)}).gateway.host == host


@pytest.mark.parametrize("host", [host for host, loopback in HOSTS.items() if not loopback])
def test_a_gateway_that_is_open_to_the_world_does_not_start(live: Any, host: str) -> None:
    refused: Live = live(config={"gateway": {"host": host, "auth": {"mode": "none"}}}).start(wait=False)
    assert refused.process is not None

    assert refused.process.wait(30) == 78
    assert "gateway.auth.mode" in refused.output.read_text()


async def test_with_mode_none_everyone_is_let_in(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", {"gateway": {"auth": {"mode": "none"}}}) as served:
        for credentials in ({}, {"Authorization": "Bearer whatever"}, {"Authorization": "Basic x"}):
            assert (await ask(served, "GET", "/api/tokens", **credentials)).status == 200
        foreign = await ask(served, "GET", "/api/tasks", Origin="https://evil.example")

    assert foreign.status == 403


def test_a_token_is_in_no_line_of_the_log(live: Any) -> None:
    gateway: Live = live(config={"log": {"level": "debug"}}).start()
    secret = gateway.token
    gateway.call("GET", f"/api/tasks?token={secret}")
    gateway.call("POST", "/api/agent", {"message": f"my token is {secret}"})
    gateway.call("POST", "/api/agent", {"message": f"@@ fail {secret}"})
    gateway.call("GET", f"/{secret}", headers={"Authorization": f"Bearer {secret}x"})
    gateway.stop()
    log = "".join(file.read_text() for file in (gateway.home / "logs").iterdir())

    assert "run.settled" in log
    assert secret not in log
    assert secret not in gateway.output.read_text()


async def test_answers_and_refusals_have_an_id_and_guards(moongate: Serving) -> None:
    """Refusals by aiohttp itself, which come before our checks, too."""
    answers = [
        read(await raw(moongate, request))
        for request in (
            head("GET /health"),
            head("GET /nowhere"),
            head("GET /health", host="evil.example"),
            b"NONSENSE\r\n\r\n",
            post("/api/tasks", b"{"),
        )
    ]
    for answer in answers:
        assert answer.headers["X-Request-Id"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Cache-Control"] == "no-store"
        assert answer.headers["Content-Security-Policy"] == "default-src 'none'; frame-ancestors 'none'"
        assert answer.headers["Server"] == "moongate"
        assert answer.headers["Content-Type"] == "application/json"
    assert len({answer.headers["X-Request-Id"] for answer in answers}) == len(answers)
