"""Computes the times of a schedule: from cron expressions, intervals and single moments.

Times are whole seconds, as milliseconds since 1970 UTC. `docs/schedules.md` says what happens when the clocks
change.
"""

from __future__ import annotations

import re
import zoneinfo
from collections import deque
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

from cronsim import CronSim, CronSimError

from gateway.domain import times
from gateway.errors import InvalidRequest

#: longest expression
LENGTH = 200
#: longest interval of `every`
LONGEST = 366 * 86_400
#: how many missed times are listed one by one
LISTED = 100
#: steps forward from the first missed time; if there are more, the search goes backward from now
WALK = 1000

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_WORDS = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_EVERY = re.compile(r"every\s+([0-9]{1,9})\s*([smhd])", re.ASCII)
_MOMENT = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]", re.ASCII)


class Recent(NamedTuple):
    """Times of a schedule that are due, oldest first."""

    times: tuple[int, ...]
    #: how many times are due, including those that `times` leaves out; None if there are too many to count
    number: int | None


class Timing(NamedTuple):
    """An expression, parsed."""

    #: the five fields of a cron expression; empty for an interval or a single moment
    cron: str
    zone: zoneinfo.ZoneInfo
    #: interval between two times, in milliseconds; 0 if the expression is not an interval
    every: int = 0
    #: the only time; 0 if there is more than one
    once: int = 0

    def after(self, moment: int, anchor: int) -> int | None:
        """Return the first time after a moment, or None if there is none.

        Args:
            anchor: the moment that an interval counts from.
        """
        return next(self._walk(moment, anchor), None)

    def upto(self, first: int, now: int, anchor: int) -> Recent:
        """Return the newest of the times from the first one until now."""
        newest: deque[int] = deque(maxlen=LISTED)
        for count, time in enumerate(self._walk(first - 1, anchor)):
            if time > now:
                return Recent(tuple(newest), count)
            if count == WALK:
                break
            newest.append(time)
        else:
            return Recent(tuple(newest), len(newest))
        return Recent(tuple(self._newest(first, now, anchor)), None)

    def _newest(self, first: int, now: int, anchor: int) -> deque[int]:
        """Return the newest times, by a search through longer and longer spans before now."""
        span = LISTED * (self.every or 60_000)
        while True:
            newest: deque[int] = deque(maxlen=LISTED)
            for time in self._walk(max(now - span, first - 1), anchor):
                if time > now:
                    break
                newest.append(time)
            if len(newest) == LISTED or now - span < first:
                return newest
            span *= 2

    def _walk(self, moment: int, anchor: int) -> Iterator[int]:
        if self.once:
            if self.once > moment:
                yield self.once
        elif self.every:
            count = max((moment - anchor) // self.every, 0) + 1
            while True:
                yield anchor + count * self.every
                count += 1
        else:
            yield from self._walk_cron(moment)

    def _walk_cron(self, moment: int) -> Iterator[int]:
        try:
            begin = datetime.fromtimestamp(moment // 1000, UTC).astimezone(self.zone)
            walk = _Walk(self.cron, begin)
            for found in walk:
                time = int(found.timestamp()) * 1000
                if walk.fixup_tz is None and not self._is_read(time, walk):
                    continue  # a midnight that the clocks skip
                if time > moment:  # in a repeated hour, the clock has shown this time before
                    moment = time
                    yield time
        except (OverflowError, ValueError):  # after the year 9999
            return

    def _is_read(self, time: int, walk: CronSim) -> bool:
        """Return whether a clock in the zone shows the hour and minute of the expression at this time."""
        real = datetime.fromtimestamp(time // 1000, self.zone)
        return real.hour in walk.hours and real.minute in walk.minutes


class _Walk(CronSim):
    """The library's iterator, made exact: by whole hours, it is late after a clock change of half an hour."""

    def advance_hour(self) -> bool:
        moved = super().advance_hour()
        if self.dt.tzinfo is not None and moved and self.dt.minute:
            begin = (self.dt.astimezone(UTC) - timedelta(minutes=self.dt.minute)).astimezone(self.dt.tzinfo)
            if begin.hour == self.dt.hour:
                self.dt = begin
        return moved


def zone(name: str) -> zoneinfo.ZoneInfo:
    """Return the time zone of an IANA name.

    Raises:
        InvalidRequest: there is no time zone of this name.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise InvalidRequest(
            f"timezone: there is no time zone {name[:64]!r}; use an IANA name such as Europe/Berlin."
        ) from None


def parse(text: str, timezone: str) -> Timing:
    """Parse an expression.

    Raises:
        InvalidRequest: the expression is not valid, or its time never comes; the message says why.
    """
    time_zone, words = zone(timezone), text.strip()
    if len(words) > LENGTH:
        raise InvalidRequest(f"schedule: the expression is longer than {LENGTH} characters.")
    if words.lower().startswith("every"):
        return Timing("", time_zone, every=_interval(words))
    if _MOMENT.match(words):
        return Timing("", time_zone, once=_moment(words))
    cron = " ".join(_WORDS.get(words.lower(), words).split())
    if cron.count(" ") != 4:
        raise InvalidRequest(
            f"schedule: {words!r} is not a cron expression of five fields, nor an interval such as 'every 15m', nor a"
            " time such as 2030-01-31T09:00:00Z."
        )
    try:
        timing = Timing(cron, time_zone)
        CronSim(cron, datetime.now(UTC))
    except CronSimError as error:
        field = str(error).removeprefix("Bad ")
        raise InvalidRequest(f"schedule: {words!r} is not valid or its time never comes: check the {field}.") from None
    return timing


def _interval(words: str) -> int:
    found = _EVERY.fullmatch(words.lower())
    seconds = int(found[1]) * _UNITS[found[2]] if found else 0
    if not 1 <= seconds <= LONGEST:
        raise InvalidRequest(
            f"schedule: {words!r} is not an interval such as 'every 15m' (units s, m, h, d; from 1 s to 366 d)."
        )
    return seconds * 1000


def _moment(words: str) -> int:
    try:
        found = datetime.fromisoformat(words)
    except ValueError:
        raise InvalidRequest(f"schedule: {words!r} is not a time such as 2030-01-31T09:00:00Z.") from None
    if found.tzinfo is None:
        raise InvalidRequest(f"schedule: {words!r} has no UTC offset; write 2030-01-31T09:00:00+01:00, or Z for UTC.")
    try:
        return times.milliseconds(found) // 1000 * 1000
    except OverflowError:
        raise InvalidRequest(f"schedule: {words!r} is outside the range of times that can be computed.") from None
