from __future__ import annotations

from typing import Any

import pytest

from gateway.agent_setup.entries import format_entry, parse_entry
from gateway.domain.agent import PermissionPolicy


@pytest.mark.parametrize(
    ("written", "policy", "must_ask"),
    [
        ({}, PermissionPolicy.DENY, False),
        ({"permissions": "deny"}, PermissionPolicy.DENY, True),
        ({"permissions": "ask"}, PermissionPolicy.ASK, True),
        ({"permissions": "allow"}, PermissionPolicy.ALLOW, False),
    ],
)
def test_an_agent_knows_whether_its_entry_says_permissions(
    written: dict[str, Any], policy: PermissionPolicy, must_ask: bool
) -> None:
    entry = {"id": "main", "backend": "opencode"} | written

    agent = parse_entry("agents", entry)

    assert (agent.permission_policy, agent.must_ask) == (policy, must_ask)
    assert format_entry(agent) == entry
