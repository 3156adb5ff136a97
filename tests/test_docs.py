"""Docs cannot lie: what is made from the code is up to date, and what is named exists."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from gateway import app, config
from gateway.api import routing
from gateway.domain import run

ROOT = Path(__file__).parent.parent


def _generator() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs" / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_pages_made_from_the_code_are_up_to_date() -> None:
    stale = [str(path.relative_to(ROOT)) for path, text in _generator().pages().items() if path.read_text() != text]

    assert stale == [], "run scripts/docs"


def test_the_diagram_of_states_is_in_the_architecture_page() -> None:
    assert run.diagram() in (ROOT / "docs" / "architecture.md").read_text()


def test_the_example_config_is_a_valid_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((ROOT / "config.example.json").read_text())

    loaded = config.load({"MOONGATE_HOME": str(tmp_path)})

    assert [agent.id for agent in app.check(loaded, {})] == ["main", "local", "script", "echo"]


@pytest.mark.parametrize("page", [*sorted((ROOT / "docs").rglob("*.md")), ROOT / "README.md"], ids=lambda p: p.name)
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    targets = re.findall(r"\]\((?!https?:)([^)#]*)", page.read_text())

    assert [target for target in targets if target and not (page.parent / target).exists()] == []


def test_every_path_that_the_pages_name_is_a_route() -> None:
    known = {re.sub(r"{\w+}", "{}", route.path) for route in routing.all_routes()}
    named = set()
    for page in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]:
        named |= set(re.findall(r"(?:GET|POST|DELETE|PUT|PATCH) (/[\w/{}.-]+)", page.read_text()))

    unknown = {path for path in named if re.sub(r"{\w+}", "{}", path) not in known and "/maths" not in path}
    assert unknown == set()


def test_the_glossary_has_the_words_of_the_code() -> None:
    words = set(re.findall(r"\*\*(\w+)", (ROOT / "docs" / "glossary.md").read_text()))

    assert {"run", "session", "event", "agent", "backend", "channel", "attempt", "epoch", "lane"} <= words
