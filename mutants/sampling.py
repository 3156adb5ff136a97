"""Find every change that can be made, and draw a sample of them."""

from __future__ import annotations

import difflib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cosmic_ray.ast import ast_nodes, get_ast
from cosmic_ray.mutating import mutate_code
from cosmic_ray.operators.operator import Operator

from mutants.operators import KINDS, Kind

AREAS = {
    "engine": ("gateway/engine",),
    "store": ("gateway/store",),
    "supervisor": ("gateway/supervisor", "gateway/process"),
    "auth": ("gateway/api/auth.py", "gateway/api/connection.py", "gateway/api/failed_attempts.py", "gateway/security"),
    "outbound": ("gateway/outbound",),
    "domain": ("gateway/domain",),
}
"""The parts of the core, and the files and folders of each."""

_NO_BEHAVIOUR = ("annassign", "tfpdef", "decorator", "assert_stmt", "import_from", "import_name")


@dataclass(frozen=True)
class Mutant:
    """One change: which occurrence of which operator in which file, on which lines (from 1), and the changed text."""

    path: str
    kind: str
    operator: str
    occurrence: int
    first_line: int
    last_line: int
    source: str
    mutated: str

    @property
    def name(self) -> str:
        return f"{self.path}:{self.first_line} {self.operator}#{self.occurrence}"

    @property
    def diff(self) -> str:
        lines = difflib.unified_diff(
            self.source.splitlines(), self.mutated.splitlines(), f"a/{self.path}", f"b/{self.path}", lineterm="", n=2
        )
        return "\n".join(lines)


def find_files(root: Path, areas: Sequence[str]) -> list[str]:
    """Return the Python files of the areas, as sorted paths from `root`.

    Raises KeyError with the name of an area that does not exist.
    """
    places = [root / place for area in areas for place in AREAS[area]]
    files = [file for place in places for file in ([place] if place.is_file() else place.rglob("*.py"))]
    return sorted(file.relative_to(root).as_posix() for file in files)


def draw_mutants(root: Path, areas: Sequence[str], count: int, seed: int) -> list[Mutant]:
    """Draw `count` different mutants: a kind by its weight, then a position of that kind with equal chances.

    At most one mutant is drawn for a line. Fewer are returned only if there are no more.
    """
    sources = {path: (root / path).read_text(encoding="utf-8") for path in find_files(root, areas)}
    chance = random.Random(seed)
    left = {kind.name: _shuffled(chance, _find_positions(kind, sources)) for kind in KINDS}
    weights = {kind.name: kind.weight for kind in KINDS}
    drawn: dict[tuple[str, int], Mutant] = {}
    while len(drawn) < count and any(left.values()):
        names = [name for name in left if left[name]]
        kind = chance.choices(names, [weights[name] for name in names])[0]
        path, operator, occurrence, lines = left[kind].pop()
        mutated = mutate_code(sources[path], operator(), occurrence)
        if (path, lines[0]) not in drawn and mutated is not None and _compiles(mutated) and mutated != sources[path]:
            drawn[path, lines[0]] = Mutant(
                path, kind, operator.__name__, occurrence, *lines, source=sources[path], mutated=mutated
            )
    return list(drawn.values())


_Found = tuple[str, type[Operator], int, tuple[int, int]]


def _find_positions(kind: Kind, sources: dict[str, str]) -> Iterator[_Found]:
    """Yield each position of a kind that can change behaviour: file, operator, occurrence, lines of the statement."""
    for path, source in sources.items():
        nodes = list(ast_nodes(get_ast(source)))
        for operator in kind.operators:
            occurrence = 0
            for node in nodes:
                for _ in operator().mutation_positions(node):
                    if _has_behaviour(node):
                        yield path, operator, occurrence, _find_lines(node)
                    occurrence += 1


def _has_behaviour(node: Any) -> bool:
    """Tell if a node is no annotation, assertion of a type, decorator, import, or head of a class."""
    around = node.search_ancestor("suite", "classdef")
    if around is not None and around.type == "classdef":
        return False
    if any(node.search_ancestor(kind) is not None for kind in _NO_BEHAVIOUR) or node.type in _NO_BEHAVIOUR:
        return False
    function = node.search_ancestor("funcdef")
    return function is None or function.annotation is None or node.start_pos >= function.annotation.end_pos


def _find_lines(node: Any) -> tuple[int, int]:
    """Return the lines of a simple statement, or of the head of a compound one, to which a node belongs."""
    statement = node if node.parent and node.parent.type == "simple_stmt" else node.search_ancestor("simple_stmt")
    if statement is not None:
        return statement.start_pos[0], statement.end_pos[0]
    return node.start_pos[0], node.children[1].end_pos[0] if hasattr(node, "children") else node.end_pos[0]


def _shuffled(chance: random.Random, found: Iterator[_Found]) -> list[_Found]:
    positions = list(found)
    chance.shuffle(positions)
    return positions


def _compiles(source: str) -> bool:
    try:
        compile(source, "mutant", "exec")
    except SyntaxError:
        return False
    return True
