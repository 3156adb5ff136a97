"""`/api/audit`: who did what, and when tokens were last used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gateway.assembly.setting_digests import describe_settings
from gateway.domain.actor import Actor, ActorKind
from gateway.engine.resources import audit
from gateway.engine.resources.sign_ins import SIGN_IN_LIFETIME_MILLISECONDS
from tests.api.client import Answer, ask, done, submit, token
from tests.api.test_dashboard import browse, sign_in, signed_in
from tests.api.test_permissions import AGENTS, asking
from tests.support.inprocess import Serving, serving

WRONG = "wrong-token-of-more-than-24-characters"
MINUTE = 60_000


async def entries(served: Serving, query: str = "", **headers: str) -> list[dict[str, Any]]:
    """Return the entries of the log, oldest first, without that of the start."""
    answer = await ask(served, "GET", f"/api/audit?{query}", **headers)
    assert answer.status == 200, answer
    return [one for one in answer.body["entries"][::-1] if not one["action"].startswith("gateway.started")]


def stranger(address: str) -> Actor:
    return Actor(kind=ActorKind.STRANGER, address=address)


async def test_the_change_of_a_token_is_told_with_who_made_it(moongate: Serving) -> None:
    secret = await token(moongate, "admin-1", "admin")
    await ask(moongate, "POST", "/api/tokens", {"name": "phone", "agents": ["main"]}, token=secret)
    await ask(moongate, "DELETE", "/api/tokens/phone", token=secret)
    await ask(moongate, "DELETE", "/api/tokens/phone", token=secret)  # it is gone: nothing changes
    first, made, revoked = await entries(moongate)

    assert (first["who"], first["who_kind"], first["address"]) == ("owner", "token", "127.0.0.1")
    assert (made["who"], made["action"], made["target"]) == ("admin-1", "token.created", "phone")
    assert made["details"] == {"scope": "write", "agents": "main"}
    assert (revoked["who"], revoked["action"], revoked["outcome"]) == ("admin-1", "token.revoked", "done")


async def test_each_change_is_told_once(moongate: Serving) -> None:
    job = {"schedule": "every 15m", "prompt": "x"}
    made = await ask(moongate, "POST", "/api/cron/create", job, Idempotency_Key="one")
    await ask(moongate, "POST", "/api/cron/create", job, Idempotency_Key="one")
    id_ = made.body["job"]["id"]
    await ask(moongate, "PATCH", f"/api/cron/{id_}", {"prompt": "y"})
    await ask(moongate, "DELETE", f"/api/cron/{id_}")
    agent = await ask(moongate, "POST", "/api/agents", {"slug": "helper"})
    await ask(moongate, "PUT", "/api/agents/helper", {"name": "Helper"})
    await ask(moongate, "DELETE", "/api/agents/helper")
    task = await submit(moongate, "x", session="gone")
    await done(moongate, task["id"])
    await ask(moongate, "DELETE", "/api/sessions/main:task:gone")

    assert agent.status == 201, agent
    assert [one["action"] for one in await entries(moongate)] == [
        "schedule.created",
        "schedule.changed",
        "schedule.deleted",
        "agent.created",
        "agent.changed",
        "agent.deleted",
        "session.deleted",
    ]
    (changed,) = await entries(moongate, "action=agent.changed")
    assert changed["details"] == {"id": agent.body["agent"]["id"], "changed": "name"}


async def test_what_is_refused_is_not_told_as_done(moongate: Serving) -> None:
    await token(moongate, "ci", "read")
    again = await ask(moongate, "POST", "/api/tokens", {"name": "ci"})

    assert again.status == 409
    assert len(await entries(moongate)) == 1


async def test_an_answer_to_an_agent_is_told(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", {"agents": AGENTS}) as served:
        secret = await token(served, "phone", "write")
        task = await asking(served)
        path = f"/api/tasks/{task}/permissions/p1"
        answered = await ask(served, "POST", path, {"answer": "deny"}, token=secret)
        again = await ask(served, "POST", path, {"answer": "allow"}, token=secret)
        await done(served, task)
        (told,) = await entries(served, "action=permission")

    assert (answered.status, again.status) == (200, 409)
    assert (told["who"], told["target"], told["details"]) == ("phone", f"{task}/p1", {"answer": "deny"})


async def test_a_sign_in_and_a_sign_out_are_told(moongate: Serving) -> None:
    cookie = await signed_in(moongate)
    (told,) = await entries(moongate)

    assert (told["who"], told["who_kind"], told["action"]) == ("owner", "browser", "browser.signed_in")
    assert told["target"].startswith("browser-")
    assert cookie not in str(told)


async def test_many_refused_tokens_are_one_entry_for_each_address_and_minute(tmp_path: Path) -> None:
    moment = [1_900_000_000_000]
    async with serving(tmp_path / "home", clock=lambda: moment[0]) as served:
        for _ in range(15):
            await ask(served, "GET", "/api/tasks", token=WRONG)
        await sign_in(served, token=WRONG)
        moment[0] += MINUTE
        await ask(served, "GET", "/api/tasks", token=WRONG)
        await served.engine._late_writes.store_all()
        told = await entries(served, "action=access")

    assert [(one["address"], one["outcome"], one["details"]["attempts"]) for one in told] == [
        ("127.0.0.1", "refused", "16"),
        ("127.0.0.1", "refused", "1"),
    ]
    assert WRONG not in str(told)


async def test_made_up_cookies_are_told_and_old_ones_are_not(tmp_path: Path) -> None:
    moment = [1_900_000_000_000]
    async with serving(tmp_path / "home", clock=lambda: moment[0]) as served:
        old = await signed_in(served)
        for _ in range(3):
            await browse(served, "GET /api/tasks", cookie=WRONG)
        moment[0] += SIGN_IN_LIFETIME_MILLISECONDS
        expired = await browse(served, "GET /api/tasks", cookie=old)
        await served.engine.audit.store_refusals()
        (told,) = await entries(served, "action=access")

    assert expired.status == 401
    assert (told["who_kind"], told["address"], told["details"]) == ("stranger", "127.0.0.1", {"attempts": "3"})


async def test_tokens_whose_scope_is_too_low_are_told_by_name(moongate: Serving) -> None:
    secret = await token(moongate, "screen", "read")
    for _ in range(2):
        await ask(moongate, "POST", "/api/gateway/stop", {}, token=secret)
    tool = {"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": "send_message", "arguments": {}}}
    answer = await ask(moongate, "POST", "/mcp", tool, token=secret, Accept="application/json, text/event-stream")
    await moongate.engine.audit.store_refusals()
    told = await entries(moongate, "action=access")

    assert {(one["who_kind"], one["who"], one["outcome"], one["address"]) for one in told} == {
        ("token", "screen", "refused", "127.0.0.1")
    }, answer.body
    assert sum(int(one["details"]["attempts"]) for one in told if one["details"]["needed"] == "admin") == 2
    assert [one["details"]["attempts"] for one in told if one["details"]["needed"] == "write"] == ["1"]


async def test_refused_tokens_of_very_many_addresses_are_counted_together(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MAX_REFUSED_ADDRESSES", 2)
    for address in ("a", "b", "c", "d", "a"):
        moongate.engine.audit.count_refusal(stranger(address))
    await moongate.engine.audit.store_refusals()
    told = await entries(moongate)

    assert sorted((one["address"], one["details"]["attempts"]) for one in told) in (
        [("a", "2"), ("b", "1"), ("others", "2")],
        [("a", "1"), ("a", "1"), ("b", "1"), ("others", "2")],  # the minute has ended in between
    )


async def test_refused_tokens_of_a_long_attack_from_many_addresses_do_not_fill_the_disk(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(audit, "MAX_REFUSED_ENTRIES_PER_DAY", 3)
    moment = [1_900_000_000_000]
    log = audit.AuditLog(moongate.engine._store, lambda: moment[0])
    for minute in range(4):
        moment[0] += MINUTE
        for address in ("a", "b"):
            log.count_refusal(stranger(f"{address}{minute}"))
    moment[0] += 24 * 60 * MINUTE
    log.count_refusal(stranger("the next day"))
    await log.store_refusals()
    told = [one["address"] for one in await entries(moongate)]

    assert sorted(told) == ["a0", "a1", "b0", "others", "others", "others", "the next day"]


async def test_what_was_not_stored_is_stored_at_the_end(tmp_path: Path) -> None:
    async with serving(tmp_path / "home") as served:
        await ask(served, "GET", "/api/tasks", token=WRONG)
    async with serving(tmp_path / "home") as served:
        told = await entries(served, "action=access.refused")
        listed = await ask(served, "GET", "/api/tokens")

    assert len(told) == 1
    assert listed.body["own"]["last_used"] is not None


async def test_control_characters_in_a_name_from_outside_are_escaped(moongate: Serving) -> None:
    await moongate.engine.audit.add("session.deleted", "a\x1b[31m\n\u202eb" + "x" * 500, why="\x00")
    (told,) = await entries(moongate)

    assert told["target"].startswith("a\\u001b[31m\\u000a\\u202ebxxx")
    assert told["target"].endswith("…")
    assert told["details"] == {"why": "\\u0000"}


async def test_entries_are_paged_and_filtered(moongate: Serving) -> None:
    for number in range(5):
        await token(moongate, f"t{number}", "read")
    await ask(moongate, "DELETE", "/api/tokens/t0")

    first = await ask(moongate, "GET", "/api/audit?limit=4")
    rest = await ask(moongate, "GET", f"/api/audit?limit=4&cursor={first.body['next_cursor']}")
    newest = first.body["entries"][0]
    later = await ask(moongate, "GET", f"/api/audit?after={newest['id'] - 2}")

    assert [one["target"] for one in first.body["entries"] + rest.body["entries"]][:6] == [
        "t0",
        "t4",
        "t3",
        "t2",
        "t1",
        "t0",
    ]
    assert [one["action"] for one in later.body["entries"]] == ["token.created", "token.revoked"]
    assert len(await entries(moongate, "action=token.revoked")) == 1
    assert len(await entries(moongate, "action=token")) == 6
    assert await entries(moongate, "who=nobody") == []
    assert await entries(moongate, "since=2100-01-01T00:00:00Z") == []


@pytest.mark.parametrize("query", ["action=TOKEN", "action=", "since=yesterday", "after=-1", "limit=0", "x=1"])
async def test_a_wrong_filter_is_refused(moongate: Serving, query: str) -> None:
    assert (await ask(moongate, "GET", f"/api/audit?{query}")).status == 400


async def test_changed_settings_are_told_by_name_and_without_their_values(tmp_path: Path) -> None:
    secret = "a-secret-that-nobody-may-see"
    for runs in ({}, {"limits": {"runs": 7}, "webhooks": {"secret": f"whsec_{'A' * 32}"}}):
        async with serving(tmp_path / "home", runs) as served:
            await served.engine.audit.note_settings(*describe_settings(served.context.config))
            told: Answer = await ask(served, "GET", "/api/audit?action=settings")

    (entry,) = told.body["entries"]
    names = entry["details"]["names"].split(", ")
    assert "limits.runs" in names
    assert len(names) == int(entry["details"]["count"])
    assert secret not in str(told.body)
    assert "whsec" not in str(told.body)


async def test_restart_and_stop_are_told_before_they_begin(moongate: Serving) -> None:
    await ask(moongate, "POST", "/api/gateway/stop", {"reason": "a test"})
    (told,) = await entries(moongate)

    assert (told["action"], told["who"], told["details"]) == ("gateway.stop_asked", "owner", {"reason": "a test"})


async def test_the_last_use_of_a_token_is_shown_with_where_and_what(moongate: Serving) -> None:
    secret = await token(moongate, "phone", "read")
    (unused,) = (await ask(moongate, "GET", "/api/tokens")).body["tokens"]
    await ask(moongate, "GET", "/api/tasks", token=secret, User_Agent="curl/8.1\u202e")
    listed = await ask(moongate, "GET", "/api/tokens", User_Agent="Mozilla/5.0 (X11; Linux) Firefox/145.0")
    (used,) = listed.body["tokens"]

    assert (unused["last_used"], unused["last_address"], unused["last_client"]) == (None, None, None)
    assert (used["last_address"], used["last_client"]) == ("127.0.0.1", "curl/8.1\N{REPLACEMENT CHARACTER}")
    assert used["last_used"] >= used["created_at"]
    assert listed.body["own"]["last_client"] == "Firefox on Linux"


async def test_requests_write_no_use_by_themselves(moongate: Serving) -> None:
    secret = await token(moongate, "phone", "read")
    before = await moongate.engine._store.tokens.list_uses()
    for _ in range(20):
        await ask(moongate, "GET", "/api/tasks", token=secret)

    assert await moongate.engine._store.tokens.list_uses() == before == []
    await moongate.engine._late_writes.store_all()
    assert len(await moongate.engine._store.tokens.list_uses()) == 2  # of the token, and of the owner's


async def test_a_gateway_without_tokens_notes_no_use(tmp_path: Path) -> None:
    async with serving(tmp_path / "home", {"gateway": {"auth": {"mode": "none"}}}) as served:
        listed = await ask(served, "GET", "/api/tokens")

    assert listed.body["own"] == {"last_used": None, "last_address": None, "last_client": None}
