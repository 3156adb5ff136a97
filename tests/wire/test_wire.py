"""What a release put on a wire or on a disk is still there, unchanged. More about it in this folder's docstring."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.wire import promises
from tests.wire.collecting import KINDS


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("version", promises.releases())
def test_all_that_a_release_promised_is_kept(version: str, kind: str, tmp_path: Path) -> None:
    promised = promises.read(version, kind)

    broken = promises.broken(promised, KINDS[kind](tmp_path))

    assert promised
    assert not broken, "\n".join([f"{version} promised otherwise:", *broken])


def test_what_is_gone_or_changed_is_told_by_name_and_what_is_new_is_not() -> None:
    promised = {"stays": 1, "goes": None, "changes": {"type": "integer"}}
    found = {"stays": 1, "changes": {"type": "string"}, "comes": 2}

    assert promises.broken(promised, found) == [
        "gone: goes",
        'changed: changes: was {"type": "integer"}, is {"type": "string"}',
    ]
