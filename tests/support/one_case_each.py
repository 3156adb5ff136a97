"""A plugin for pytest, `-p tests.support.one_case_each`: of each parametrised test, only the first case runs."""

from __future__ import annotations

import pytest


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the first case of each test function."""
    first: dict[object, pytest.Item] = {}
    for item in items:
        first.setdefault(item.nodeid.partition("[")[0], item)
    items[:] = first.values()
