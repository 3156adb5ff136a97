"""The code keeps the rules of CONTRIBUTING.md: one job per folder, short modules, and complete names."""

from __future__ import annotations

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
PACKAGES = ("gateway", "cli")
#: how many lines a module may have
MAX_MODULE_LINES = 450
#: attributes by which a package finds its members: each module of the package has one
SEAM_ATTRIBUTES = {"BACKEND", "BODIES", "CHANNEL", "COMMAND", "CONDITION", "PROVIDER", "ROUTES"}
#: words that readers stumble over
UNWANTED_WORDS = re.compile(r"\b(anew|whereby|thereby|wherewith)\b|\bbeside (?!the point)", re.IGNORECASE)


def source_files() -> Iterator[Path]:
    for package in PACKAGES:
        yield from sorted((ROOT / package).rglob("*.py"))


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


@pytest.mark.parametrize(("folder", "most"), [("cli", 8), ("gateway/engine", 10), ("gateway", 18)])
def test_few_modules_stand_directly_in_a_large_folder(folder: str, most: int) -> None:
    modules = [path.name for path in (ROOT / folder).glob("*.py") if path.name != "__init__.py"]

    assert len(modules) <= most, sorted(modules)


def test_no_module_is_too_long_to_read() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in source_files()}

    assert {n: lines for n, lines in lengths.items() if lines > MAX_MODULE_LINES} == {}


def test_function_names_have_a_verb_and_an_object() -> None:
    names = [
        node.name
        for path in source_files()
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    ]
    words = [len([word for word in name.split("_") if word]) for name in names]

    assert sum(words) / len(words) >= 1.8


def test_no_two_constants_share_a_name() -> None:
    modules = defaultdict(list)
    for path in source_files():
        for node in ast.parse(path.read_text()).body:
            targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
            for target in targets:
                if isinstance(target, ast.Name) and re.fullmatch(r"_?[A-Z][A-Z0-9]+(_[A-Z0-9]+)*", target.id):
                    modules[target.id].append(name_of(path))

    shared = {name: places for name, places in modules.items() if len(places) > 1 and name not in SEAM_ATTRIBUTES}
    assert shared == {}


def readable_files() -> Iterator[Path]:
    for folder in ("gateway", "cli", "service_templates", "docs", "harness", "scripts"):
        yield from (path for path in sorted((ROOT / folder).rglob("*")) if path.suffix in {".py", ".md", ".sh", ""})
    yield from (ROOT / name for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", ".env.example"))


def test_words_that_readers_stumble_over_stay_away() -> None:
    found = [
        f"{name_of(path)}:{number}: {line.strip()}"
        for path in readable_files()
        if path.is_file()
        for number, line in enumerate(path.read_text().splitlines(), 1)
        if UNWANTED_WORDS.search(line)
    ]

    assert found == []
