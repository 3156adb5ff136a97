"""What a supervisor keeps for its new version: only that of this very process counts."""

from __future__ import annotations

import json

import pytest

from gateway.process import identity
from gateway.supervisor import reexec


def test_what_this_process_kept_is_found() -> None:
    kept = {"who": str(identity.own_identity()), "number": 7}

    assert reexec.find_kept(json.dumps(kept)) == kept


@pytest.mark.parametrize("given", ["", "{", "[]", "7", "{}", '{"who": "1/2/3"}', "[" * 100_000])
def test_what_others_put_there_is_not_used(given: str) -> None:
    assert reexec.find_kept(given) is None
