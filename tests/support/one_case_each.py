"""A plugin for pytest, `-p tests.support.one_case_each`: of a test's cases that make the same calls, one runs."""

from __future__ import annotations

import pytest

#: parameters that choose which calls a test makes, and with which of their arguments; others are data in these calls
CALL_PARAMETERS = ("how", "kind", "door")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the first case of each test function for each choice of calls."""
    first: dict[object, pytest.Item] = {}
    for item in items:
        assert isinstance(item, pytest.Function)
        values = item.callspec.params if hasattr(item, "callspec") else {}
        calls = tuple(values.get(name) for name in CALL_PARAMETERS)
        first.setdefault((item.nodeid.partition("[")[0], calls), item)
    items[:] = first.values()
