"""Options and arguments that several commands share: the text to send, labels, ids, durations, and a daily budget."""

from __future__ import annotations

import math
import re
import sys
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import click


def read_text(argument: str | None) -> str:
    """Return the text to send: the argument, or standard input if there is no argument or it is `-`.

    Raises:
        UsageError: there is no text.
    """
    if argument is None and sys.stdin.isatty():
        raise click.UsageError("nothing to send: give a text, or pipe one in.", click.get_current_context())
    if argument in (None, "-"):
        argument = sys.stdin.buffer.read().decode("utf-8", "replace").rstrip("\n")
    if not argument:
        raise click.UsageError("the text to send is empty.", click.get_current_context())
    return argument


def parse_labels(words: tuple[str, ...]) -> dict[str, str]:
    """Return the labels in a list of `name=value` words.

    Raises:
        UsageError: a word has no `=`.
    """
    for word in words:
        if "=" not in word:
            raise click.UsageError(f'--label: "{word}" is not of the form name=value.', click.get_current_context())
    return {name: value for name, _, value in (word.partition("=") for word in words)}


# --- durations ------------------------------------------------------------------------------------

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)", re.ASCII)
_UNIT_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}


class Duration(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    """A duration such as 30s, 5m, 2h or 1h30m; a plain number counts in a unit of its own."""

    name = "duration"

    def __init__(
        self, unit: str = "s", *, most: float | None = None, least: float = 0.0, above: float | None = None
    ) -> None:
        """Args:
        unit: unit of a plain number, and of the value.
        most, least: bounds, in that unit.
        above: what the value must be greater than.
        """
        self._unit, self._least, self._most, self._above = unit, least, most, above

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> float:
        number = self._parse(str(value).strip())
        if number is None or not math.isfinite(number):
            self.fail(f"{str(value)[:64]!r} is not a duration: write it as 30s, 5m or 2h.", param, ctx)
        too_small = number < self._least or (self._above is not None and number <= self._above)
        if too_small or (self._most is not None and number > self._most):
            bounds = f"at least {self._least:g}" if self._above is None else f"more than {self._above:g}"
            bounds += f" and at most {self._most:g}" if self._most is not None else ""
            self.fail(f"{str(value)[:64]!r} is out of range: {bounds} {_UNIT_NAMES[self._unit]}.", param, ctx)
        return number

    def _parse(self, text: str) -> float | None:
        if re.fullmatch(r"\d+(\.\d*)?|\.\d+", text, re.ASCII):
            return float(text)
        if not re.fullmatch(rf"({_DURATION_PART.pattern})+", text, re.ASCII):
            return None
        seconds = sum(float(count) * _UNIT_SECONDS[unit] for count, unit in _DURATION_PART.findall(text))
        return round(seconds / _UNIT_SECONDS[self._unit], 9)


class Moment(click.ParamType):  # type: ignore[type-arg]  # as above
    """A moment in the past: how long ago, such as 2h, or a date or time; local time if it has no zone."""

    name = "moment"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        if isinstance(value, datetime):
            return value
        try:
            if _DURATION_PART.match(value):
                return datetime.now(UTC) - timedelta(seconds=Duration().convert(value, param, ctx))
            return datetime.fromisoformat(value).astimezone()
        except (ValueError, OverflowError):
            said = f"{value[:64]!r} is not a time: write it as 2h (ago), 2026-11-21, or 2026-11-21T09:00."
            self.fail(said, param, ctx)


_UNIT_NAMES = {"ms": "milliseconds", "s": "seconds", "d": "days"}


# --- ids ------------------------------------------------------------------------------------------


def add_id_argument(noun: str) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Return a decorator that adds the argument ID, and `--last` for the newest one."""

    def decorate(command: Callable[..., Any]) -> Callable[..., Any]:
        command = click.option("--last", is_flag=True, help=f"The newest {noun}, without its ID.")(command)
        return click.argument("id_", metavar="[ID]", required=False)(command)

    return decorate


# --- the daily budget of an agent or a schedule ---------------------------------------------------


def add_budget_options(command: Any) -> Any:
    """Add the options that set or remove a daily budget."""
    for option in reversed(
        (
            click.option("--budget-runs", type=click.IntRange(1), metavar="N", help="At most this many runs a day."),
            click.option(
                "--budget-tokens", type=click.IntRange(1), metavar="N", help="At most this many tokens a day."
            ),
            click.option(
                "--budget-cost",
                type=click.FloatRange(0, min_open=True),
                metavar="USD",
                help="At most this many US dollars a day.",
            ),
            click.option("--no-budget", is_flag=True, help="Remove the daily limits."),
        )
    ):
        command = option(command)
    return command


def pop_budget(given: dict[str, Any]) -> dict[str, Any]:
    """Take the budget options out of all given options; return the request field that they make, if any.

    A budget is set as a whole: a limit that is not given is removed.

    Raises:
        UsageError: limits and `--no-budget` are both given.
    """
    limits = {name: given.pop(f"budget_{name}") for name in ("runs", "tokens", "cost")}
    limits = {name: value for name, value in limits.items() if value is not None}
    removed = given.pop("no_budget")
    if removed and limits:
        raise click.UsageError("Give limits or --no-budget, not both.")
    return {"budget": limits} if limits or removed else {}


def describe_budget(budget: Mapping[str, Any] | None) -> str:
    """Return a budget as people read it, such as `20 runs, $5.00 a day`."""
    limits = budget or {}
    numbers = [(limits.get(name), name) for name in ("runs", "tokens")]
    parts = [f"{n:,} {name.removesuffix('s') if n == 1 else name}" for n, name in numbers if n is not None]
    parts += [f"${limits['cost']:,.2f}"] if limits.get("cost") is not None else []
    return f"{', '.join(parts)} a day" if parts else "none"
