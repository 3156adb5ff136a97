"""TypeScript checks the types of the dashboard's code, and of what it takes from the HTTP API."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest

from tests.support import clients
from tests.support.generator import load_generator

WEB = Path(__file__).parents[2] / "gateway" / "web"


@pytest.fixture
def web(tmp_path: Path) -> Path:
    """A copy of the dashboard, with the types of the API as it is now."""
    copy = tmp_path / "web"
    shutil.copytree(WEB, copy)
    (copy / "api.d.ts").write_text(load_generator().write_types())
    return copy


def check(web: Path) -> None:
    compiler = clients.node_package("typescript") / "bin" / "tsc"
    clients.run_node(str(compiler), "-p", "jsconfig.json", cwd=web)


@pytest.mark.clients
def test_the_dashboard_has_no_error_of_types(web: Path) -> None:
    check(web)


@pytest.mark.clients
def test_a_field_that_the_api_does_not_have_is_an_error(web: Path) -> None:
    (web / "wrong.js").write_text("""// @ts-check
import { get } from './core/api.js';
(await get('/api/tasks')).tasks[0].wrong_in_a_list;
(await get(`/api/cron/${location.hash}`)).job.wrong_in_one;
(await get(`/api/cron/${location.hash}/nothing/of/this`)).is_not_known;
""")

    with pytest.raises(AssertionError) as told:
        check(web)

    assert re.findall(r"Property '(\w+)' does not exist", str(told.value)) == ["wrong_in_a_list", "wrong_in_one"]
