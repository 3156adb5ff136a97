"""The digests of settings in the database: they tell a change, and nobody can try passwords on them without the key."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from gateway import paths
from gateway.assembly.setting_digests import describe_settings
from gateway.config import Config
from gateway.domain.audit import AuditFilter
from gateway.domain.page import Page
from gateway.domain.times import wall_clock
from gateway.engine.resources.audit import SETTINGS_SCOPE, AuditLog
from gateway.settings.digests import SettingDigests, digest_settings
from gateway.store.sqlite.store import SqliteStore

PASSWORD = "summer2026"


async def told(store: SqliteStore) -> list[str]:
    return [one.details["names"] for one in await store.audit.list(AuditFilter(), Page(limit=10))]


async def test_a_weak_password_cannot_be_found_by_its_digest(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "moongate.db")
    plain = hashlib.sha256(json.dumps(PASSWORD).encode()).hexdigest()
    await store.notes.save(SETTINGS_SCOPE, {"another": json.dumps({"auth.token": plain[:8]})})  # of an older version
    await AuditLog(store, wall_clock).note_settings("here", digest_settings({"auth": {"token": PASSWORD}}, "a-key"))
    kept = await store.notes.list(SETTINGS_SCOPE, "")
    await store.close()

    assert list(kept) == ["here"]
    assert plain[:8] not in kept["here"]
    assert "a-key" not in kept["here"]


async def test_a_changed_setting_is_told_and_a_changed_key_is_not(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "moongate.db")
    log = AuditLog(store, wall_clock)
    await log.note_settings("here", digest_settings({"limits": {"runs": 1, "depth": 2}}, "first"))
    await log.note_settings("here", digest_settings({"limits": {"runs": 7, "depth": 2}}, "first"))
    await log.note_settings("here", digest_settings({"limits": {"runs": 7, "depth": 2}}, "second"))
    before = await told(store)
    await log.note_settings("here", digest_settings({"limits": {"runs": 7, "depth": 3}}, "second"))
    after = await told(store)
    await store.close()

    assert before == ["limits.runs"]
    assert after == ["limits.depth", "limits.runs"]


def test_a_name_with_a_secret_is_kept_without_it_and_a_change_of_it_is_seen() -> None:
    def digest(*urls: str) -> SettingDigests:
        return digest_settings({"agents": {"config": dict.fromkeys(urls, "allow"), "other": 1}}, "a-key")

    found = [
        digest("https://me:first-pass@a.example"),
        digest("https://me:second-pass@a.example"),
        digest("https://me:first-pass@a.example", "https://me:second-pass@a.example"),
    ]

    assert {tuple(one.by_name) for one in found} == {("agents.config.https://me:***@a.example", "agents.other")}
    assert len({tuple(one.by_name.values()) for one in found}) == 3


def test_a_webhook_that_is_a_name_is_kept_without_its_path() -> None:
    secret = "T0SECRET/B0SECRET/abcdefghijklmnopqrstuv"
    kept = digest_settings({"config": {f"https://hooks.example/{secret}": {"on": True}}}, "a-key")

    assert list(kept.by_name) == ["config.https://hooks.example/***.on"]


def test_each_installation_has_a_private_key_of_its_own(tmp_path: Path) -> None:
    made = []
    for name in ("one", "one", "other"):
        home = paths.make_private_directory(tmp_path / name)
        made.append(describe_settings(Config(home=home, path=home / "config.json"))[1])
        assert paths.settings_key_file(home).stat().st_mode & 0o777 == 0o600

    assert made[0] == made[1]
    assert not set(made[0].by_name.values()) & set(made[2].by_name.values())
