"""`/api/dashboard` and `/api/me`: browsers sign in with a code or a token, and are known by their cookie."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import structlog
from aiohttp import WSMsgType, WSServerHandshakeError

from gateway.api import sse
from gateway.api.routing import discover_routes
from gateway.domain import times
from gateway.domain.token import Scope
from gateway.engine.resources import sign_ins
from gateway.errors import Unauthorized
from harness.live_gateway import Live
from harness.waiting import PATIENCE
from tests.api.client import Answer, ask, head, raw, read, token
from tests.support.files_below import read_files
from tests.support.inprocess import TOKEN, Serving, serving

OURS = "X-Moongate-Dashboard: 1"
DAY, HOUR = 86_400_000, 3_600_000
FIREFOX = "Mozilla/5.0 (X11; Linux x86_64; rv:145.0) Gecko/20100101 Firefox/145.0"
#: a moment, in milliseconds since 1970 UTC
START = 1_900_000_000_000


def host(served: Serving) -> str:
    return f"127.0.0.1:{served.port}"


async def browse(served: Serving, line: str, *more: str, cookie: str | None = None, body: Any = None) -> Answer:
    """Make a request as a browser does: with a cookie and without a token."""
    data = b"" if body is None else json.dumps(body).encode()
    lines = [*more, *([] if cookie is None else [f"Cookie: moongate_{served.port}={cookie}"])]
    if body is not None:
        lines += ["Content-Type: application/json", f"Content-Length: {len(data)}"]
    return read(await raw(served, head(line, *lines, host=host(served), bearer=None) + data))


async def make_code(served: Serving, bearer: str = TOKEN) -> str:
    made = await ask(served, "POST", "/api/dashboard/codes", token=bearer)
    assert made.status == 201, made.body
    return str(made.body["code"])


async def sign_in(served: Serving, *more: str, cookie: str | None = None, **body: str) -> Answer:
    return await browse(served, "POST /api/dashboard/sign-in", OURS, *more, cookie=cookie, body=body)


def cookie_of(answer: Answer) -> str:
    """Return the secret in the cookie that an answer sets."""
    assert answer.status == 200, answer.body
    return answer.headers["Set-Cookie"].partition("=")[2].partition(";")[0]


async def signed_in(served: Serving, bearer: str = TOKEN) -> str:
    """Sign a browser in and return its cookie's secret."""
    return cookie_of(await sign_in(served, f"User-Agent: {FIREFOX}", code=await make_code(served, bearer)))


async def browsers(served: Serving, bearer: str = TOKEN) -> list[dict[str, Any]]:
    rows = (await ask(served, "GET", "/api/tokens", token=bearer)).body["tokens"]
    return [row for row in rows if row["browser"] is not None]


# --- signing in and out -----------------------------------------------------------------------


async def test_a_code_signs_one_browser_in_with_the_scope_of_its_token(moongate: Serving) -> None:
    secret = await token(moongate, "phone", "read")
    answer = await sign_in(moongate, code=await make_code(moongate, secret))
    cookie = cookie_of(answer)
    me = await browse(moongate, "GET /api/me", cookie=cookie)
    submitted = await browse(moongate, "POST /api/tasks", OURS, cookie=cookie, body={"input": "x"})

    assert answer.body == {"status": "ok", "name": "phone", "scope": "read"}
    assert answer.headers["Set-Cookie"] == (
        f"moongate_{moongate.port}={cookie}; HttpOnly; SameSite=Strict; Path=/; Max-Age=2592000"
    )
    assert {**me.body, "expires_at": None} == {
        "name": "phone",
        "scope": "read",
        "expires_at": None,
        "signed_in": "cookie",
        "in_fleet": False,
        "agents": None,
        "sessions": None,
    }
    assert (submitted.status, submitted.code) == (403, "FORBIDDEN")


async def test_a_code_works_once(moongate: Serving) -> None:
    code = await make_code(moongate)
    first, second = [await sign_in(moongate, code=code) for _ in range(2)]

    assert (first.status, second.status, second.code) == (200, 401, "UNAUTHORIZED")
    assert "Set-Cookie" not in second.headers
    assert "gateway dashboard" in second.message


async def test_a_code_works_for_a_minute(tmp_path: Path) -> None:
    moment = [START]
    async with serving(tmp_path / "home", clock=lambda: moment[0]) as served:
        codes = [await make_code(served) for _ in range(2)]
        moment[0] += 59_999
        before = await sign_in(served, code=codes[0])
        moment[0] += 1
        after = await sign_in(served, code=codes[1])

    assert (before.status, after.status) == (200, 401)


async def test_a_code_of_a_revoked_token_is_a_wrong_one(moongate: Serving) -> None:
    code = await make_code(moongate, await token(moongate, "phone", "write"))
    await ask(moongate, "DELETE", "/api/tokens/phone")

    assert (await sign_in(moongate, code=code)).status == 401


async def test_a_code_is_no_ticket_and_a_ticket_is_no_code(moongate: Serving) -> None:
    code = await make_code(moongate)
    ticket = (await ask(moongate, "POST", "/api/tickets")).body["ticket"]

    assert (await sign_in(moongate, code=ticket)).status == 401
    with pytest.raises(WSServerHandshakeError) as refused:
        await moongate.client.ws_connect(f"/api/ws?ticket={code}", headers={"Authorization": ""})
    assert refused.value.status == 401
    assert (await sign_in(moongate, code=code)).status == 200


async def test_a_token_that_is_typed_in_signs_in(moongate: Serving) -> None:
    answer = await sign_in(moongate, token=f" {TOKEN}\n")

    assert answer.body == {"status": "ok", "name": "owner", "scope": "admin"}
    assert (await browse(moongate, "GET /api/tokens", cookie=cookie_of(answer))).status == 200


@pytest.mark.parametrize("body", [{}, {"code": "x", "token": "y"}, {"code": 1}, {"code": "x" * 2000}, {"other": "x"}])
async def test_what_is_no_sign_in(moongate: Serving, body: dict[str, Any]) -> None:
    answer = await browse(moongate, "POST /api/dashboard/sign-in", OURS, body=body)

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")


async def test_a_large_body_is_refused_before_anyone_is_known(moongate: Serving) -> None:
    assert (await sign_in(moongate, token="x" * 9000)).status == 413


@pytest.mark.parametrize("body", [{"token": "wrong"}, {"code": "wrong"}, {"code": "mc_wrong"}])
async def test_the_eleventh_wrong_one_is_refused_and_a_right_one_passes(
    moongate: Serving, body: dict[str, str]
) -> None:
    statuses = [(await sign_in(moongate, **body)).status for _ in range(11)]

    assert statuses == [401] * 10 + [429]
    assert (await sign_in(moongate, token=TOKEN)).status == 200


async def test_signing_out_ends_the_sign_in_and_takes_the_cookie_away(moongate: Serving) -> None:
    cookie, other = [await signed_in(moongate) for _ in range(2)]
    answer = await browse(moongate, "POST /api/dashboard/sign-out", OURS, cookie=cookie)

    assert (answer.status, answer.body) == (200, {"status": "ok"})
    assert f"moongate_{moongate.port}=;" in answer.headers["Set-Cookie"]
    assert "Max-Age=0" in answer.headers["Set-Cookie"]
    assert (await browse(moongate, "GET /api/me", cookie=cookie)).status == 401
    assert (await browse(moongate, "GET /api/me", cookie=other)).status == 200


async def test_signing_in_again_replaces_what_the_browser_was_signed_in_as(moongate: Serving) -> None:
    first = await signed_in(moongate)
    second = cookie_of(await sign_in(moongate, cookie=first, code=await make_code(moongate)))

    assert (await browse(moongate, "GET /api/me", cookie=first)).status == 401
    assert (await browse(moongate, "GET /api/me", cookie=second)).status == 200
    assert len(await browsers(moongate)) == 1


async def test_a_signed_in_browser_makes_a_code_for_another_that_outlives_it(moongate: Serving) -> None:
    first = await signed_in(moongate, await token(moongate, "phone", "write"))
    code = (await browse(moongate, "POST /api/dashboard/codes", OURS, cookie=first)).body["code"]
    second = await sign_in(moongate, code=code)
    await browse(moongate, "POST /api/dashboard/sign-out", OURS, cookie=first)

    assert second.body == {"status": "ok", "name": "phone", "scope": "write"}
    assert (await browse(moongate, "GET /api/me", cookie=cookie_of(second))).status == 200
    await ask(moongate, "DELETE", "/api/tokens/phone")
    assert (await browse(moongate, "GET /api/me", cookie=cookie_of(second))).status == 401


async def test_without_tokens_the_dashboard_is_open(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", {"gateway": {"auth": {"mode": "none"}}}) as served:
        me = await browse(served, "GET /api/me")
        answer = await sign_in(served, code="whatever")
        code = await browse(served, "POST /api/dashboard/codes")
        stale = await browse(served, "GET /api/me", cookie="old")

    assert me.body == {
        "name": "owner",
        "scope": "admin",
        "expires_at": None,
        "signed_in": "none",
        "in_fleet": False,
        "agents": None,
        "sessions": None,
    }
    assert (answer.body["name"], "Set-Cookie" in answer.headers) == ("owner", False)
    assert (code.status, stale.status) == (201, 200)


async def test_a_caller_with_a_token_is_told_so(moongate: Serving) -> None:
    secret = await token(moongate, "ci", "read", days=1)
    mine, owner = await ask(moongate, "GET", "/api/me", token=secret), await ask(moongate, "GET", "/api/me")

    assert (mine.body["name"], mine.body["scope"], mine.body["signed_in"]) == ("ci", "read", "token")
    assert mine.body["expires_at"] is not None
    of_owner = {
        "name": "owner",
        "scope": "admin",
        "expires_at": None,
        "signed_in": "token",
        "in_fleet": False,
        "agents": None,
        "sessions": None,
    }
    assert owner.body == of_owner


# --- the cookie -------------------------------------------------------------------------------


async def test_a_cookie_is_no_token_and_a_token_is_no_cookie(moongate: Serving) -> None:
    cookie = await signed_in(moongate)

    assert (await ask(moongate, "GET", "/api/me", token=cookie)).status == 401
    assert (await sign_in(moongate, token=cookie)).status == 401
    assert (await sign_in(moongate, code=cookie)).status == 401
    assert (await browse(moongate, "GET /api/me", cookie=TOKEN)).status == 401
    assert (await browse(moongate, "GET /api/me", "Authorization: Bearer x", cookie=cookie)).status == 401


async def test_the_cookie_of_another_port_is_not_looked_at(moongate: Serving) -> None:
    cookie = await signed_in(moongate)
    other = await browse(moongate, "GET /api/me", f"Cookie: moongate_1={cookie}; moongate={cookie}")
    among = await browse(
        moongate, "GET /api/me", f"Cookie: a=b; moongate_1=x;moongate_{moongate.port}={cookie}; moongate_2"
    )
    shadowed = await browse(
        moongate, "GET /api/me", f"Cookie: moongate_{moongate.port}=x; moongate_{moongate.port}={cookie}"
    )

    assert (other.status, among.status, shadowed.status) == (401, 200, 200)


@pytest.mark.parametrize(
    "cookies", ["", ";", "=", ";;;=", "moongate_{}", "moongate_{}=", "\udcff=\udcff", "moongate_{}=\udcff", "a" * 7000]
)
async def test_no_cookie_breaks_a_request(moongate: Serving, cookies: str) -> None:
    answer = await browse(moongate, "GET /api/me", f"Cookie: {cookies.replace('{}', str(moongate.port))}")

    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")


ORIGINS = {"none": None, "own": "http://{}", "own by TLS": "https://{}", "other port": "http://127.0.0.1:1"}
ORIGINS |= {"foreign": "https://evil.example", "null": "null", "listed": "https://board.example"}
SITES = [None, "same-origin", "none", "same-site", "cross-site", "other"]


@pytest.mark.parametrize("origin", ORIGINS)
async def test_a_cookie_is_good_for_requests_of_our_own_pages_only(tmp_path: Path, origin: str) -> None:
    async with serving(tmp_path / "home", {"gateway": {"cors_origins": ["https://board.example"]}}) as served:
        cookie = await signed_in(served)
        said = ORIGINS[origin]
        for site in SITES:
            more = [f"Origin: {said.replace('{}', host(served))}"] if said else []
            more += [f"Sec-Fetch-Site: {site}"] if site else []
            good = origin in ("none", "own", "own by TLS") and site in (None, "same-origin", "none")
            for line, body in (
                ("GET /api/me", None),
                ("POST /api/tasks", {"input": "hello"}),
                ("DELETE /api/tokens/x", None),
            ):
                answer = await browse(served, line, OURS, *more, cookie=cookie, body=body)
                assert (answer.status == 403) is not good, (site, line, answer.body)
            entered = await sign_in(served, *more, code=await make_code(served))
            health = await browse(served, "GET /health", *more, cookie=cookie)

            assert (entered.status == 403) is not good, (site, entered.body)
            assert ("Set-Cookie" in entered.headers) is good
            assert ("checks" in health.body) is good


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "GET", "HEAD"])
@pytest.mark.parametrize("header", [None, "X-Moongate-Dashboard: 0", "X-Moongate-Dashboard:", OURS])
async def test_a_write_needs_our_header(moongate: Serving, method: str, header: str | None) -> None:
    cookie = await signed_in(moongate)
    answer = await browse(moongate, f"{method} /api/nowhere", *([header] if header else []), cookie=cookie)

    refused = method not in ("GET", "HEAD") and header != OURS
    assert answer.status == (403 if refused else 404)


async def test_a_sign_in_needs_our_header(moongate: Serving) -> None:
    answer = await browse(moongate, "POST /api/dashboard/sign-in", body={"token": TOKEN})

    assert (answer.status, "Set-Cookie" in answer.headers) == (403, False)


@pytest.mark.parametrize("scope", list(Scope))
async def test_a_cookie_opens_exactly_the_routes_of_its_scope(moongate: Serving, scope: Scope) -> None:
    cookie = await signed_in(moongate, await token(moongate, "named", scope))
    for route in discover_routes():
        if route.scope is None or route.streams or route.path == "/api/dashboard/sign-out":
            continue  # a stream that is let in does not end
        path = route.path.replace("{", "").replace("}", "")
        answer = await browse(moongate, f"{route.method} {path}", OURS, cookie=cookie)

        assert answer.status != 401, (route.method, path, answer.body)
        assert (answer.status == 403) is not scope.covers(route.scope), (route.method, path, answer.body)


async def test_tls_in_front_makes_the_cookie_secure_if_a_trusted_proxy_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", {"gateway": {"trusted_proxies": ["127.0.0.1"]}}) as served:
        secure = await sign_in(served, "X-Forwarded-Proto: https", token=TOKEN)
        plain = await sign_in(served, "X-Forwarded-Proto: http", token=TOKEN)
    async with serving(tmp_path / "home") as served:
        unsaid = await sign_in(served, "X-Forwarded-Proto: https", token=TOKEN)

    assert ["; Secure" in one.headers["Set-Cookie"] for one in (secure, plain, unsaid)] == [True, False, False]


# --- streams ----------------------------------------------------------------------------------


@asynccontextmanager
async def browser(served: Serving, cookie: str) -> AsyncIterator[aiohttp.ClientSession]:
    """A client that is a browser with this cookie."""
    headers = {"Cookie": f"moongate_{served.port}={cookie}", "Origin": f"http://{host(served)}"}
    async with aiohttp.ClientSession(f"http://{host(served)}", headers=headers) as client:
        yield client


async def test_a_websocket_opens_with_the_cookie_for_our_own_page(moongate: Serving) -> None:
    async with browser(moongate, await signed_in(moongate)) as client:
        async with client.ws_connect("/api/ws") as socket:
            assert not socket.closed
        with pytest.raises(WSServerHandshakeError) as refused:
            await client.ws_connect("/api/ws", headers={"Origin": "http://127.0.0.1:1"})

    assert refused.value.status == 403


@pytest.mark.parametrize("revoked", ["browser", "token", "signed out", "replaced", "one too many"])
async def test_what_ends_a_sign_in_ends_its_streams_at_once(
    moongate: Serving, revoked: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sse, "STREAM_HEARTBEAT_SECONDS", 2 * PATIENCE)
    monkeypatch.setattr(sign_ins, "MAX_SIGN_INS", 1)
    phone = await token(moongate, "phone", "write")
    cookie = await signed_in(moongate, phone)
    stays = await signed_in(moongate)
    (name,) = [row["name"] for row in await browsers(moongate) if row["signed_in_with"] == "phone"]
    async with (
        browser(moongate, cookie) as client,
        browser(moongate, stays) as other,
        client.get("/api/events", headers={"Accept": "text/event-stream"}) as events,
        client.ws_connect("/api/ws") as socket,
        other.ws_connect("/api/ws") as goes_on,
    ):
        assert events.status == 200
        if revoked == "browser":
            await ask(moongate, "DELETE", f"/api/tokens/{name}")
        elif revoked == "token":
            await ask(moongate, "DELETE", "/api/tokens/phone")
        elif revoked == "signed out":
            await browse(moongate, "POST /api/dashboard/sign-out", OURS, cookie=cookie)
        elif revoked == "replaced":
            await sign_in(moongate, cookie=cookie, token=TOKEN)
        else:
            await signed_in(moongate, phone)
        async with asyncio.timeout(PATIENCE):
            await events.read()
            while (last := await socket.receive()).type not in (WSMsgType.CLOSE, WSMsgType.CLOSED):
                pass
        assert last.data == 1008
        assert (await browse(moongate, "GET /api/me", cookie=cookie)).status == 401
        if revoked != "replaced":
            assert not goes_on.closed
            assert (await browse(moongate, "GET /api/me", cookie=stays)).status == 200


# --- how long it lasts ------------------------------------------------------------------------


async def test_a_sign_in_lasts_for_30_days_after_its_last_use(tmp_path: Path) -> None:
    moment = [START]
    async with serving(tmp_path / "home", clock=lambda: moment[0]) as served:
        cookie = await signed_in(served)
        answers = []
        for passed in (DAY - 1, HOUR, DAY - 1, 29 * DAY, 30 * DAY - 1, 30 * DAY):
            moment[0] += passed
            answers.append(await browse(served, "GET /api/me", cookie=cookie))
        listed = await browsers(served)

    assert [one.status for one in answers] == [200, 200, 200, 200, 200, 401]
    assert ["Set-Cookie" in one.headers for one in answers] == [False, True, False, True, True, False]
    assert answers[1].headers["Set-Cookie"].endswith("; Max-Age=2592000")
    assert cookie in answers[1].headers["Set-Cookie"]
    assert listed == []


async def test_a_sign_in_never_lasts_longer_than_its_token(tmp_path: Path) -> None:
    moment = [START]
    async with serving(tmp_path / "home", clock=lambda: moment[0]) as served:
        secret = await token(served, "phone", "read", days=3)
        first = await sign_in(served, code=await make_code(served, secret))
        cookie = cookie_of(first)
        moment[0] += 2 * DAY
        used = await browse(served, "GET /api/me", cookie=cookie)
        moment[0] += DAY
        after = await browse(served, "GET /api/me", cookie=cookie)

    assert first.headers["Set-Cookie"].endswith(f"Max-Age={3 * 86_400}")
    assert (used.status, "Set-Cookie" in used.headers, after.status) == (200, False, 401)


async def test_a_sign_in_outlives_a_restart_with_its_last_use(tmp_path: Path) -> None:
    moment = [START]
    async with serving(tmp_path / "home", clock=lambda: moment[0]) as served:
        kept, revoked = [await signed_in(served, await token(served, name, "read")) for name in ("a", "b")]
        moment[0] += 2 * DAY
        for cookie in (kept, revoked):
            await browse(served, "GET /api/me", cookie=cookie, body=None)
        await ask(served, "DELETE", "/api/tokens/b")
        (before,) = await browsers(served)
    async with serving(tmp_path / "home", clock=lambda: moment[0]) as served:
        (after,) = await browsers(served)
        statuses = [
            (await browse(served, "GET /api/me", f"Cookie: moongate_{served.port}={one}")).status
            for one in (kept, revoked)
        ]
    stored = b"".join(read_files(tmp_path / "home"))

    assert before == after
    assert before["last_used"] == times.format_rfc3339(START + 2 * DAY)
    assert before["expires_at"] == times.format_rfc3339(START + 32 * DAY)
    assert statuses == [200, 401]
    assert kept.encode() not in stored


async def test_another_token_of_the_gateway_ends_what_signed_in_with_the_old_one(tmp_path: Path) -> None:
    async with serving(tmp_path / "home") as served:
        cookie = await signed_in(served)
    async with serving(tmp_path / "home", {"gateway": {"auth": {"token": TOKEN[::-1]}}}) as served:
        answer = await browse(served, "GET /api/me", f"Cookie: moongate_{served.port}={cookie}")
        listed = await browsers(served, TOKEN[::-1])

    assert (answer.status, listed) == (401, [])


async def test_the_longest_unused_browser_goes_when_there_are_too_many(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sign_ins, "MAX_SIGN_INS", 3)
    moment = [START]
    async with serving(tmp_path / "home", clock=lambda: moment[0]) as served:
        other = await signed_in(served, await token(served, "phone", "read"))
        cookies = []
        for _ in range(3):
            moment[0] += 1
            cookies.append(await signed_in(served))
        moment[0] += DAY
        await browse(served, "GET /api/me", cookie=cookies[0])
        cookies.append(await signed_in(served))
        statuses = [(await browse(served, "GET /api/me", cookie=one)).status for one in (*cookies, other)]

    assert statuses == [200, 401, 200, 200, 200]


# --- listing, counting, logging ---------------------------------------------------------------


async def test_browsers_are_listed_with_what_they_are_and_what_they_signed_in_with(moongate: Serving) -> None:
    await token(moongate, "phone", "write")
    cookie = await signed_in(moongate)
    rows = (await ask(moongate, "GET", "/api/tokens")).body["tokens"]

    (one,) = [row for row in rows if row["browser"] is not None]
    assert re.fullmatch(r"browser-[0-9a-f]{8}", one["name"])
    assert (one["browser"], one["signed_in_with"], one["scope"]) == ("Firefox on Linux", "owner", "admin")
    assert one["last_used"] >= one["created_at"]
    (plain,) = [row for row in rows if row["browser"] is None]
    assert (plain["name"], plain["last_used"], plain["signed_in_with"]) == ("phone", None, None)
    assert cookie not in str(rows)


async def test_an_old_cookie_is_no_failed_attempt_until_there_are_too_many(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    with structlog.testing.capture_logs() as lines:
        statuses = [(await browse(moongate, "GET /api/me", cookie="ms_old")).status for _ in range(101)]
        wrong = await ask(moongate, "GET", "/api/me", token="wrong")
    good = await signed_in(moongate)

    assert statuses == [401] * 100 + [429]
    assert wrong.status == 401
    assert [line["path"] for line in lines if line["event"] == "auth.refused"] == ["/api/me"]
    assert (await browse(moongate, "GET /api/me", cookie=good)).status == 200


async def test_a_repeated_request_is_known_after_signing_in_again(moongate: Serving) -> None:
    phone = await token(moongate, "phone", "write")
    made = []
    for _ in range(2):
        cookie = await signed_in(moongate, phone)
        made.append(
            await browse(
                moongate, "POST /api/tasks", OURS, "Idempotency-Key: one", cookie=cookie, body={"input": "hello"}
            )
        )

    assert made[0].status < 300
    assert made[0].body["task"]["id"] == made[1].body["task"]["id"]


async def test_a_token_that_is_revoked_while_a_browser_signs_in_lets_nobody_in(moongate: Serving) -> None:
    tokens = moongate.engine.tokens
    caller = tokens.authenticate_token((await token(moongate, "phone", "admin")).encode())
    await tokens.revoke_token("phone")

    for attempt in (tokens.sign_in(caller, "x"), tokens.issue_code(caller), tokens.issue_ticket(caller)):
        with pytest.raises(Unauthorized):
            await attempt


def test_no_code_and_no_cookie_is_in_the_log(live: Any) -> None:
    gateway: Live = live(config={"log": {"level": "debug"}}).start()
    code = gateway.call("POST", "/api/dashboard/codes")[1]["code"]
    for given in (code, code):
        gateway.call("POST", "/api/dashboard/sign-in", {"code": given}, headers={"X-Moongate-Dashboard": "1"})
    gateway.call("POST", "/api/dashboard/sign-in", {"code": [code]}, headers={"X-Moongate-Dashboard": "1"})
    gateway.call("POST", "/api/dashboard/sign-in", {"token": gateway.token}, headers={"X-Moongate-Dashboard": "1"})
    gateway.stop()
    log = "".join(file.read_text() for file in (gateway.home / "logs").iterdir()) + gateway.output.read_text()

    assert code not in log
    assert gateway.token not in log
    assert "ms_" not in log
