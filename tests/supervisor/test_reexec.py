"""The state that a supervisor keeps for its new version: only the state of the same process counts."""

from __future__ import annotations

import json

import pytest

from gateway.process import identity
from gateway.supervisor import reexec


def test_the_state_of_this_process_is_found() -> None:
    kept = {"who": str(identity.own_identity()), "number": 7}

    assert reexec.find_kept(json.dumps(kept)) == kept


@pytest.mark.parametrize("given", ["", "{", "[]", "7", "{}", '{"who": "1/2/3"}', "[" * 100_000])
def test_the_state_of_others_is_not_used(given: str) -> None:
    assert reexec.find_kept(given) is None
