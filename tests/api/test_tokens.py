"""`/api/tokens`: named tokens."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.api.client import ask, token
from tests.support.files_below import read_files
from tests.support.inprocess import Serving, serving


async def test_a_token_is_made_and_its_secret_shown_once(moongate: Serving) -> None:
    made = await ask(moongate, "POST", "/api/tokens", {"name": "ci", "scope": "read", "days": 1.5})
    listed = await ask(moongate, "GET", "/api/tokens")

    assert (made.status, made.body["name"], made.body["scope"]) == (201, "ci", "read")
    (row,) = listed.body["tokens"]
    assert (row["name"], row["scope"]) == ("ci", "read")
    assert row["expires_at"] > row["created_at"]
    assert made.body["token"] not in str(listed.body)


async def test_a_token_without_days_never_ends(moongate: Serving) -> None:
    await token(moongate, "ci", "admin")

    assert (await ask(moongate, "GET", "/api/tokens")).body["tokens"][0]["expires_at"] is None


async def test_a_token_works_until_it_ends(tmp_path: Path) -> None:
    moment = [1_900_000_000_000]
    async with serving(tmp_path / "home", clock=lambda: moment[0]) as served:
        secret = await token(served, "ci", "read", days=1)
        moment[0] += 86_400_000 - 1
        before = await ask(served, "GET", "/api/tasks", token=secret)
        moment[0] += 1
        after = await ask(served, "GET", "/api/tasks", token=secret)

    assert (before.status, after.status, after.code) == (200, 401, "UNAUTHORIZED")


async def test_a_token_outlives_a_restart_and_only_its_hash_is_kept(tmp_path: Path) -> None:
    async with serving(tmp_path / "home") as served:
        secret = await token(served, "ci", "read")
    async with serving(tmp_path / "home") as served:
        answer = await ask(served, "GET", "/api/tasks", token=secret)
    kept = b"".join(read_files(tmp_path / "home"))

    assert answer.status == 200
    assert secret.encode() not in kept


async def test_a_revoked_token_is_a_wrong_one(moongate: Serving) -> None:
    secret = await token(moongate, "ci", "admin")
    revoked = await ask(moongate, "DELETE", "/api/tokens/ci", token=secret)
    answer = await ask(moongate, "GET", "/api/tasks", token=secret)
    again = await ask(moongate, "DELETE", "/api/tokens/ci")

    assert (revoked.status, revoked.body) == (200, {"status": "ok"})
    assert answer.status == 401
    assert (again.status, again.code) == (404, "NOT_FOUND")


async def test_a_name_is_taken_once(moongate: Serving) -> None:
    await token(moongate, "ci", "read")
    answer = await ask(moongate, "POST", "/api/tokens", {"name": "ci"})

    assert (answer.status, answer.code) == (409, "CONFLICT")


async def test_the_owner_s_name_cannot_be_taken(moongate: Serving) -> None:
    """Idempotency keys are kept by their token's name."""
    answer = await ask(moongate, "POST", "/api/tokens", {"name": "owner"})

    assert (answer.status, answer.code) == (409, "CONFLICT")


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"name": ""},
        {"name": "a b"},
        {"name": "../x"},
        {"name": "a\n"},
        {"name": "x" * 65},
        {"name": "a", "scope": "root"},
        {"name": "a", "days": 0},
        {"name": "a", "days": -1},
        {"name": "a", "days": 1e9},
        {"name": "a", "days": "1"},
    ],
)
async def test_what_cannot_be_a_token(moongate: Serving, body: dict[str, object]) -> None:
    answer = await ask(moongate, "POST", "/api/tokens", body)

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert (await ask(moongate, "GET", "/api/tokens")).body["tokens"] == []
