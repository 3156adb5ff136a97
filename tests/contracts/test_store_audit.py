"""Every store keeps the contract: the audit log grows with what it tells of, and the last use of tokens is kept."""

from __future__ import annotations

import msgspec
import pytest

from gateway.domain.actor import CURRENT_ACTOR, Actor, ActorKind
from gateway.domain.audit import AuditAction, AuditEntry, AuditFilter, AuditNote
from gateway.domain.delivery import DeliveryFilter
from gateway.domain.page import Page
from gateway.domain.permission import PERMISSION_CHOICES, Answer, PermissionQuestion
from gateway.domain.ports.store import Store
from gateway.domain.reach import Reach
from gateway.domain.run import RunFilter
from gateway.domain.search import SearchQuery, parse_terms
from gateway.domain.session import SessionFilter
from gateway.domain.token import OWN_TOKEN, Scope, Token, TokenUse
from gateway.errors import Conflict
from tests.contracts.stores import PAGE, START, SteppedClock, claim_one, finish, running, spec

PHONE = Token(name="phone", hash="ab" * 32, scope=Scope.WRITE, created=START, agents=("main",), sessions=("main:a:*",))
ALICE = Actor(kind=ActorKind.TOKEN, name="alice", address="10.0.0.1")
ALL = AuditFilter()


async def list_all(store: Store, which: AuditFilter = ALL) -> list[AuditEntry]:
    return list(await store.audit.list(which, PAGE))


async def test_a_change_and_its_entry_are_stored_together(store: Store) -> None:
    reset = CURRENT_ACTOR.set(ALICE)
    await store.tokens.add(PHONE)
    with pytest.raises(Conflict):
        await store.tokens.add(PHONE)
    CURRENT_ACTOR.reset(reset)
    await store.tokens.revoke("phone")
    await store.tokens.revoke("phone")
    revoked, made = await list_all(store)

    assert (made.who, made.who_kind, made.address) == ("alice", ActorKind.TOKEN, "10.0.0.1")
    assert (made.action, made.target, made.at, made.outcome) == ("token.created", "phone", START, "done")
    assert made.details == {"scope": "write", "agents": "main", "sessions": "main:a:*"}
    assert (revoked.who, revoked.who_kind, revoked.action) == ("", ActorKind.SYSTEM, "token.revoked")
    assert revoked.seq > made.seq


async def test_entries_are_filtered_and_paged(store: Store, clock: SteppedClock) -> None:
    for number in range(3):
        actor = Actor(kind=ActorKind.CHAT, name=f"telegram:{number}")
        await store.audit.add([AuditNote(action=AuditAction.SESSION_DELETED, target=str(number), actor=actor)])
        clock.forward(10)
    await store.audit.add([AuditNote(action=AuditAction.GATEWAY_ENDED)])
    everything = await list_all(store)
    first = await store.audit.list(ALL, Page(limit=2))
    rest = await store.audit.list(ALL, Page(limit=2, before=first[-1].seq))
    oldest = everything[-1].seq

    assert [*first, *rest] == everything
    assert [one.target for one in await list_all(store, AuditFilter(who="telegram:1"))] == ["1"]
    assert len(await list_all(store, AuditFilter(action="session"))) == 3
    assert len(await list_all(store, AuditFilter(action="session.deleted", since=START + 10))) == 2
    assert [one.target for one in await list_all(store, AuditFilter(after=oldest))] == ["1", "2", ""]


async def test_old_entries_are_pruned_and_the_others_stay(store: Store, clock: SteppedClock) -> None:
    await store.audit.add([AuditNote(action=AuditAction.STOP_ASKED)] * 12)
    clock.forward(1000)
    await store.audit.add([AuditNote(action=AuditAction.RESTART_ASKED)])
    while await store.audit.prune(START + 1000):
        pass

    assert [one.action for one in await list_all(store)] == ["gateway.restart_asked"]


async def test_an_answer_from_a_chat_is_told_with_the_chat(store: Store) -> None:
    run = await running(store)
    question = PermissionQuestion(action="rm", choices=PERMISSION_CHOICES)
    for _ in range(2):
        await store.permissions.ask(run.id, run.epoch, question, START + 1000)
    await store.permissions.answer(run.id, 1, Answer.ALLOW, "telegram:7")
    reset = CURRENT_ACTOR.set(ALICE)
    await store.permissions.answer(run.id, 2, Answer.DENY, "alice")
    CURRENT_ACTOR.reset(reset)
    by_token, by_chat = await list_all(store)

    assert (by_chat.who_kind, by_chat.who, by_chat.target) == (ActorKind.CHAT, "telegram:7", f"{run.id}/p1")
    assert (by_token.who, by_token.details) == ("alice", {"answer": "deny"})


async def test_a_text_from_outside_cannot_hide_an_entry(store: Store) -> None:
    await store.audit.add(
        [AuditNote(action=AuditAction.STOP_ASKED, target="\x1b[2J\x00\ud800", details={"why": "\r\n"})]
    )
    (entry,) = await list_all(store)

    assert entry.target == "\\u001b[2J\\u0000?"
    assert entry.details == {"why": "\\u000d\\u000a"}


async def test_limits_of_a_token_are_kept(store: Store) -> None:
    await store.tokens.add(PHONE)

    assert list(await store.tokens.list()) == [PHONE]
    assert PHONE.reach == Reach(agents=("main",), sessions=("main:a:*",))


async def test_the_last_use_of_each_token_is_kept_and_never_goes_back(store: Store) -> None:
    await store.tokens.add(PHONE)
    late = TokenUse(token=PHONE.hash, at=START + 5, address="10.0.0.2", client="curl")
    own = TokenUse(token=OWN_TOKEN, at=START, address="::1", client="")
    gone = TokenUse(token="cd" * 32, at=START, address="10.0.0.3", client="")
    await store.tokens.save_uses([late, own, gone])
    await store.tokens.save_uses([msgspec.structs.replace(late, at=START + 1, client="older")])
    kept = await store.tokens.list_uses()
    await store.tokens.revoke("phone")

    assert sorted(kept, key=lambda use: use.at) == [own, late]
    assert list(await store.tokens.list_uses()) == [own]


@pytest.mark.parametrize(
    ("reach", "sessions"),
    [
        (Reach(agents=("main",)), {"main:api:a", "main:api:ab"}),
        (Reach(agents=("other",), sessions=("main:api:a",)), set()),
        (Reach(sessions=("main:api:a",)), {"main:api:a"}),
        (Reach(sessions=("main:api:a*", "other:*")), {"main:api:a", "main:api:ab", "other:api:a"}),
        (Reach(sessions=("main:api:A*", "main:api:_")), set()),
    ],
)
async def test_lists_have_only_what_a_limited_caller_reaches(store: Store, reach: Reach, sessions: set[str]) -> None:
    for session in ("main:api:a", "main:api:ab", "other:api:a"):
        await store.runs.accept(spec(session, "water the garden"))
        await finish(store, await claim_one(store))
    runs = await store.runs.list(RunFilter(reach=reach), PAGE)
    counts = await store.runs.count(RunFilter(reach=reach))
    found = await store.sessions.list(PAGE, SessionFilter(reach=reach))
    newest = await store.sessions.find_newest("a", reach)
    query = SearchQuery(terms=parse_terms("garden"), reach=reach)

    assert {run.spec.session for run in runs} == sessions
    assert sum(counts.by_status.values()) == len(sessions)
    assert {one.key for one in found} == sessions
    assert (newest is None) is not bool({one for one in sessions if one.endswith(":a")})
    assert {hit.session for hit in await store.sessions.search(query, PAGE)} == sessions
    assert list(await store.deliveries.list(DeliveryFilter(reach=reach), PAGE)) == []
    assert list(await store.permissions.list_all(None, PAGE, reach)) == []
    assert list(await store.files.list(PAGE, reach)) == []
    assert all(reach.covers_session(one) for one in sessions)
