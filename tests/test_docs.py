"""Docs cannot lie: what is made from the code is up to date, and what is named exists."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import get_args

import msgspec
import pytest

from gateway import config
from gateway.api import routing
from gateway.api.routes.health import Health
from gateway.assembly.checks import check_settings
from gateway.domain import event, run
from tests.support import markdown
from tests.support.generator import load_generator

ROOT = Path(__file__).parent.parent
PAGES = [*sorted((ROOT / "docs").rglob("*.md")), *sorted(ROOT.glob("*.md")), ROOT / "bench" / "RESULTS.md"]
GLOSSARY = (ROOT / "docs" / "glossary.md").read_text()


def test_pages_made_from_the_code_are_up_to_date() -> None:
    stale = [str(path.relative_to(ROOT)) for path, text in load_generator().pages().items() if path.read_text() != text]

    assert stale == [], "run scripts/docs"


def test_the_diagram_of_states_is_in_the_architecture_page() -> None:
    assert run.draw_diagram() in (ROOT / "docs" / "architecture.md").read_text()


def test_the_example_config_is_a_valid_one(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text((ROOT / "config.example.json").read_text())

    loaded = config.load({"MOONGATE_HOME": str(tmp_path)})

    assert [agent.id for agent in check_settings(loaded, {})] == ["main", "local", "script", "echo"]


def test_each_line_of_the_example_environment_is_the_default_of_its_setting(tmp_path: Path) -> None:
    example = (ROOT / ".env.example").read_text()
    without = config.load({"MOONGATE_HOME": str(tmp_path)})

    (tmp_path / ".env").write_text(re.sub("^#(?=[A-Z_]+=)", "", example, flags=re.MULTILINE))
    loaded = config.load({"MOONGATE_HOME": str(tmp_path)})

    assert "MOONGATE_FLEET_AGENTS" in loaded.dotenv
    for name in config.Settings.__struct_fields__:
        assert getattr(loaded, name) == getattr(without, name)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages_lead_somewhere(page: Path) -> None:
    lost = []
    for link in markdown.links(page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = page.parent / path if path else page
        if not target.exists() or (anchor and anchor not in markdown.anchors(target.read_text())):
            lost.append(link)

    assert lost == []


@pytest.mark.parametrize(
    ("heading", "slug"),
    [
        ("After a crash", "after-a-crash"),
        ("`gateway.port`, and what it is", "gatewayport-and-what-it-is"),
        ("On [Windows](windows.md): *first* steps", "on-windows-first-steps"),
        ("Tokens & scopes", "tokens--scopes"),
        ("What `max_runs` limits", "what-max_runs-limits"),
        ("Über uns, 日本", "über-uns-日本"),
    ],
)
def test_headings_have_the_anchors_that_github_makes(heading: str, slug: str) -> None:
    assert markdown.anchors(f"# Page\n\n## {heading}\n") == {"page", slug}


def test_a_heading_that_comes_again_is_numbered_and_code_has_none() -> None:
    page = "# One\n## Two\n## Two\n```sh\n# no heading\n[no](link.md)\n```\n`[no](link.md)` [yes](link.md#two-1)\n"

    assert markdown.anchors(page) == {"one", "two", "two-1"}
    assert markdown.links(page) == ["link.md#two-1"]


def test_every_path_that_the_pages_name_is_a_route() -> None:
    known = {re.sub(r"{\w+}", "{}", route.path) for route in routing.discover_routes()}
    named = set()
    for page in [*(ROOT / "docs").glob("*.md"), ROOT / "README.md"]:
        named |= set(re.findall(r"(?:GET|POST|DELETE|PUT|PATCH) (/[\w/{}.-]+)", page.read_text()))

    unknown = {path for path in named if re.sub(r"{\w+}", "{}", path) not in known and "/maths" not in path}
    assert unknown == set()


def _find_examples(page: str) -> str:
    """Return the lines of a page's blocks of code."""
    return "\n".join(re.findall(r"^ *```.*\n([\s\S]*?)^ *```$", page, re.MULTILINE))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_examples_work_wherever_the_token_is_and_however_many_ids_begin_alike(page: Path) -> None:
    examples = _find_examples(page.read_text())

    assert re.findall(r".*\.moongate/token.*", examples) == []
    assert re.findall(r"gateway .* 01[0-9A-Z]+\b.*", examples) == []
    token = re.search(r"Bearer \$(\w+)", examples)
    assert token is None or f"{token[1]}=" in examples, "the page does not say where the token comes from"


def test_the_page_about_access_says_who_sees_which_field_of_health() -> None:
    table = (ROOT / "docs" / "access.md").read_text().partition("| caller |")[2].partition("\n\n")[0]

    assert set(re.findall(r"`(\w+)`", table)) == {field.name for field in msgspec.structs.fields(Health)}


def test_the_glossary_names_the_public_types_of_domain_and_engine_and_no_others() -> None:
    named = re.findall(r"`([A-Z]\w*)`", GLOSSARY)

    assert set(named) == _public_types("gateway/domain") | _public_types("gateway/engine")


def test_the_rows_of_the_glossary_are_in_alphabetical_order() -> None:
    words = re.findall(r"^\| \*\*(.+?)\*\* \|", GLOSSARY, re.MULTILINE)

    assert len(words) == GLOSSARY.count("\n| ") - 1, "each row but the heading begins with its word in bold"
    assert words == sorted(set(words), key=str.lower)


def _public_types(folder: str) -> set[str]:
    """Return the names of the public classes and type aliases that a folder's modules define."""
    found = set()
    for path in (ROOT / folder).rglob("*.py"):
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                found.add(node.name)
            elif isinstance(node, ast.Assign):
                names = [target.id for target in node.targets if isinstance(target, ast.Name)]
                found |= {name for name in names if re.fullmatch(r"([A-Z][a-z]+)+", name)}
    return found


def test_the_page_about_tasks_explains_every_event() -> None:
    page = (ROOT / "docs" / "tasks.md").read_text()
    kinds = [member.__struct_config__.tag for member in get_args(event.AnyEventData)]

    assert [kind for kind in kinds if f"`{kind}`" not in page] == []
    fields = {field.encode_name for member in get_args(event.AnyEventData) for field in msgspec.structs.fields(member)}
    assert [name for name in sorted(fields) if f"`{name}`" not in page] == []


def test_the_reference_says_what_each_field_means() -> None:
    text = load_generator().api()

    rows = re.findall(r"^- `.*$", text, re.MULTILINE)
    assert len(rows) > 800
    assert [row for row in rows if not re.search(r"\. [A-Z`].*\.$", row) and "](#object" not in row] == []
    assert markdown.anchors(text) >= {link[1:] for link in markdown.links(text) if link.startswith("#")}
