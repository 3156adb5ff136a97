"""The kinds of change: which operators make them, and how often a kind is drawn.

Cosmic Ray has the operators for expressions. Those for statements and SQL are here. An operator finds the positions in
a node of the syntax tree at which it can change something, and makes one of these changes.
"""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import parso
from cosmic_ray.operators.boolean_replacer import (
    AddNot,
    ReplaceAndWithOr,
    ReplaceFalseWithTrue,
    ReplaceOrWithAnd,
    ReplaceTrueWithFalse,
)
from cosmic_ray.operators.break_continue import ReplaceBreakWithContinue, ReplaceContinueWithBreak
from cosmic_ray.operators.comparison_operator_replacement import operators as comparison_operators
from cosmic_ray.operators.number_replacer import NumberReplacer
from cosmic_ray.operators.operator import Example, Operator
from cosmic_ray.operators.unary_operator_replacement import operators as unary_operators
from cosmic_ray.operators.zero_iteration_for_loop import ZeroIterationForLoop

Position = tuple[tuple[int, int], tuple[int, int]]
"""Where a node begins and ends: line (from 1) and column (from 0) each."""

_LOGGERS = re.compile(r"(await\s+)?(self\.)?_?log(ger|_event)?\b")
_SQL = re.compile(r"\b(SELECT|DELETE FROM|UPDATE|WHERE|AND)\b")
_SQL_CONDITION = re.compile(r"(?<=\s)(?P<word>AND|WHERE)(?=\s)|(?<=\s)(?P<sign><=|>=|<|>)(?=\s)")
_WIDER = {"AND": "OR", "WHERE": "WHERE 1 OR", "<=": "<", "<": "<=", ">=": ">", ">": ">="}


class _Removal(Operator):
    """Replaces a whole simple statement with `pass`."""

    @abstractmethod
    def accepts(self, node: Any) -> bool:
        """Tell if a node is a statement to remove."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        if self.accepts(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        return parso.parse(f"{node.get_first_leaf().prefix}pass")


class RemoveRaise(_Removal):
    """Removes a `raise`."""

    def accepts(self, node: Any) -> bool:
        return node.type == "raise_stmt" or (node.type == "keyword" and node.value == "raise" and _is_statement(node))

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return (Example("raise ValueError(x)\n", "pass\n"),)


class RemoveStatement(_Removal):
    """Removes a call, an `await`, a `del`, or an assignment to an attribute or an item, in a function.

    Assignments to names stay, because every test would see the missing name. Lines of the log stay, because few tests
    should hold their words.
    """

    def accepts(self, node: Any) -> bool:
        if not _is_statement(node) or node.search_ancestor("funcdef") is None:
            return False
        if node.type == "del_stmt":
            return True
        if node.type == "expr_stmt":
            return bool(node.children[0].type in ("power", "atom_expr")) and node.children[1].type != "annassign"
        return node.type in ("power", "atom_expr") and not _LOGGERS.match(node.get_code(include_prefix=False))

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return (Example("def f():\n    close()\n", "def f():\n    pass\n"),)


class DisableHandler(Operator):
    """Makes an `except` that never matches."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        if node.type == "except_clause":
            yield node.children[1].start_pos, node.children[1].end_pos

    def mutate(self, node: Any, index: int) -> Any:
        node.children[1] = parso.parse(" ()")
        return node

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return (Example("try: f()\nexcept OSError as e: pass", "try: f()\nexcept () as e: pass"),)


class WidenSql(Operator):
    """Widens a condition of an SQL text: `AND` becomes `OR`, `WHERE` holds always, `<` and `<=` change places."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        for _ in self._conditions(node):
            yield node.start_pos, node.end_pos

    def mutate(self, node: Any, index: int) -> Any:
        found = self._conditions(node)[index]
        node.value = node.value[: found.start()] + _WIDER[found.group()] + node.value[found.end() :]
        return node

    @staticmethod
    def _conditions(node: Any) -> list[re.Match[str]]:
        if node.type not in ("string", "fstring_string") or not _SQL.search(node.value):
            return []
        return [
            found
            for found in _SQL_CONDITION.finditer(node.value)
            if not re.search(r"BETWEEN\s+\S+\s*$", node.value[: found.start()])
        ]

    @classmethod
    def examples(cls) -> Sequence[Example]:
        return (Example("'SELECT 1 FROM t WHERE a AND b'", "'SELECT 1 FROM t WHERE 1 OR a AND b'"),)


class ShiftSmallNumber(NumberReplacer):
    """Changes 0 and 1 by one: an index, an end of a range, an exit status. Larger numbers are limits and times."""

    def mutation_positions(self, node: Any) -> Iterator[Position]:
        if getattr(node, "value", None) in ("0", "1"):
            yield from super().mutation_positions(node)


def _is_statement(node: Any) -> bool:
    return node.parent is not None and node.parent.type == "simple_stmt"


@dataclass(frozen=True)
class Kind:
    """A kind of change: its name, how often it is drawn among all kinds (a weight), and its operators."""

    name: str
    weight: int
    operators: tuple[type[Operator], ...]


KINDS = (
    Kind("statement removed", 30, (RemoveStatement,)),
    Kind("condition negated", 20, (AddNot, *unary_operators())),
    Kind("comparison changed", 10, tuple(comparison_operators())),
    Kind("and, or exchanged", 10, (ReplaceAndWithOr, ReplaceOrWithAnd)),
    Kind("SQL condition widened", 10, (WidenSql,)),
    Kind("raise removed", 8, (RemoveRaise,)),
    Kind("handler that never matches", 4, (DisableHandler,)),
    Kind("True, False exchanged", 4, (ReplaceTrueWithFalse, ReplaceFalseWithTrue)),
    Kind("loop left or not entered", 2, (ZeroIterationForLoop, ReplaceBreakWithContinue, ReplaceContinueWithBreak)),
    Kind("0 or 1 changed", 2, (ShiftSmallNumber,)),
)
