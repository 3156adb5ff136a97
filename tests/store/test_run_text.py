"""Looking for words in prompts is bounded: by their number, and by their characters together."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.domain.page import Page
from gateway.domain.run import RunFilter
from gateway.domain.search import SearchTerm
from gateway.store.sql import run_text
from gateway.store.sqlite.store import SqliteStore
from tests.contracts.stores import spec

ZEBRA = RunFilter(text=(SearchTerm("zebra"),))


@pytest.mark.parametrize(("limit", "found", "exact"), [(80, ["b"], False), (1000, ["b", "a"], True)])
async def test_of_long_prompts_only_the_newest_are_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, limit: int, found: list[str], exact: bool
) -> None:
    monkeypatch.setattr(run_text, "MAX_SCANNED_CHARACTERS_OF_ALL", limit)
    store = SqliteStore(tmp_path / "moongate.db")
    for name in ("a", "b"):
        await store.runs.accept(spec(text="zebra".ljust(60), labels={"name": name}))

    listed = await store.runs.list(ZEBRA, Page())
    counted = await store.runs.count(ZEBRA)
    await store.close()

    assert [run.spec.labels["name"] for run in listed] == found
    assert counted.is_exact is exact
