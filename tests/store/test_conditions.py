"""What begins so is found as a range, whatever its last character is."""

from __future__ import annotations

import apsw
import pytest

from gateway.store.sql.conditions import EVERY_ROW, Condition, begins_with, join_conditions

TEXTS = [
    "",
    "main:api:a",
    "main:api:a\U0010ffff",
    "main:api:a\U0010ffff\U0010ffffb",
    "main:api:ab",
    "main:api:b",
    "main:api:A",
    "main:api:_",
    "main:api:a\ud7ff",
    "main:api:a\ue000",
    "main:api:a\ue001x",
    "main:api:a\x7f",
    "main:api:a\x80",
    "\U0010ffff",
    "\U0010ffffx",
]


@pytest.mark.parametrize("beginning", [*TEXTS, "main:api:%", "main:api:a\ufffd"])
def test_a_range_finds_what_begins_so_and_nothing_else(beginning: str) -> None:
    connection = apsw.Connection(":memory:")
    connection.execute("CREATE TABLE texts (t TEXT PRIMARY KEY) WITHOUT ROWID")
    connection.executemany("INSERT INTO texts VALUES (?)", [(text,) for text in TEXTS])
    condition = begins_with("t", beginning)
    found = {text for (text,) in connection.execute(f"SELECT t FROM texts WHERE {condition.text}", condition.values)}
    connection.close()

    assert found == {text for text in TEXTS if text.startswith(beginning)}


def test_conditions_are_joined_in_order() -> None:
    assert join_conditions([]) == EVERY_ROW
    assert join_conditions([Condition("a = ?", (1,)), Condition("b")]) == ("a = ? AND b", (1,))
