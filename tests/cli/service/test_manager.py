"""Each manager implements the protocol."""

from __future__ import annotations

import importlib

import pytest

from cli.service import lookup
from cli.service.manager import ServiceManager


@pytest.mark.parametrize("name", lookup.MANAGER_CLASSES.values())
def test_each_manager_has_all_that_is_promised_of_one(name: str) -> None:
    module, _, kind = name.partition(".")

    made = getattr(importlib.import_module(f"cli.service.managers.{module}"), kind)

    promised = {name for name in (*vars(ServiceManager), *ServiceManager.__annotations__) if not name.startswith("_")}
    assert promised > {"journal_command", "name"}
    assert promised - set(dir(made)) == set()
