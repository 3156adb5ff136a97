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
MAX_SCHEDULE_EXPRESSION_CHARACTERS = 200
#: longest interval of `every`
MAX_INTERVAL_SECONDS = 366 * 86_400
#: how many missed times are listed one by one
MAX_LISTED_TIMES = 100
#: steps forward from the first missed time; if there are more, the search goes backward from now
MAX_FORWARD_STEPS = 1000

_SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_CRON_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
}
_INTERVAL_PATTERN = re.compile(r"every\s+([0-9]{1,9})\s*([smhd])", re.ASCII)
_TIMESTAMP_PATTERN = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]", re.ASCII)


class DueTimes(NamedTuple):
    """Times of a schedule that are due, oldest first."""

    times: tuple[int, ...]
    #: how many times are due, including those that `times` leaves out; None if there are too many to count
    total: int | None


class Timing(NamedTuple):
    """An expression, parsed."""

    #: the five fields of a cron expression; empty for an interval or a single moment
    cron: str
    zone: zoneinfo.ZoneInfo
    #: interval between two times, in milliseconds; 0 if the expression is not an interval
    interval: int = 0
    #: the only time; 0 if there is more than one
    only_time: int = 0

    def next_after(self, moment: int, anchor: int) -> int | None:
        """Return the first time after a moment, or None if there is none.

        Args:
            anchor: the moment that an interval counts from.
        """
        return next(self._iterate_times(moment, anchor), None)

    def collect_due_times(self, first: int, now: int, anchor: int) -> DueTimes:
        """Return the newest of the times from the first one until now."""
        newest: deque[int] = deque(maxlen=MAX_LISTED_TIMES)
        for count, time in enumerate(self._iterate_times(first - 1, anchor)):
            if time > now:
                return DueTimes(tuple(newest), count)
            if count == MAX_FORWARD_STEPS:
                break
            newest.append(time)
        else:
            return DueTimes(tuple(newest), len(newest))
        return DueTimes(tuple(self._collect_newest(first, now, anchor)), None)

    def _collect_newest(self, first: int, now: int, anchor: int) -> deque[int]:
        """Return the newest times, by a search through longer and longer spans before now."""
        span = MAX_LISTED_TIMES * (self.interval or 60_000)
        while True:
            newest: deque[int] = deque(maxlen=MAX_LISTED_TIMES)
            for time in self._iterate_times(max(now - span, first - 1), anchor):
                if time > now:
                    break
                newest.append(time)
            if len(newest) == MAX_LISTED_TIMES or now - span < first:
                return newest
            span *= 2

    def _iterate_times(self, moment: int, anchor: int) -> Iterator[int]:
        if self.only_time:
            if self.only_time > moment:
                yield self.only_time
        elif self.interval:
            count = max((moment - anchor) // self.interval, 0) + 1
            while True:
                yield anchor + count * self.interval
                count += 1
        else:
            yield from self._iterate_cron_times(moment)

    def _iterate_cron_times(self, moment: int) -> Iterator[int]:
        try:
            begin = datetime.fromtimestamp(moment // 1000, UTC).astimezone(self.zone)
            walk = _HalfHourShiftCronSim(self.cron, begin)
            for found in walk:
                time = int(found.timestamp()) * 1000
                if walk.fixup_tz is None and not self._clock_shows(time, walk):
                    continue  # a midnight that the clocks skip
                if time > moment:  # in a repeated hour, the clock has shown this time before
                    moment = time
                    yield time
        except (OverflowError, ValueError):  # after the year 9999
            return

    def _clock_shows(self, time: int, walk: CronSim) -> bool:
        """Return whether a clock in the zone shows the hour and minute of the expression at this time."""
        real = datetime.fromtimestamp(time // 1000, self.zone)
        return real.hour in walk.hours and real.minute in walk.minutes


class _HalfHourShiftCronSim(CronSim):
    """CronSim without its error after a clock change of half an hour.

    CronSim moves forward by whole hours. After such a change it reaches the hour at half past,
    and misses the first half; or it misses the second time of a half hour that is repeated.
    """

    def advance_minute(self) -> bool:
        before = self.dt
        moved = super().advance_minute()
        if before.tzinfo is not None and self.dt.utcoffset() != before.utcoffset():
            self.dt = before.replace(second=0)
            while self.dt.minute not in self.minutes:  # minute by minute: the clock may show one of them twice
                self.tick(60)
                if self.dt.minute == 0:
                    break  # check the month, the day and the hour again
        return moved

    def advance_hour(self) -> bool:
        moved = super().advance_hour()
        if self.dt.tzinfo is not None and moved and self.dt.minute:
            begin = (self.dt.astimezone(UTC) - timedelta(minutes=self.dt.minute)).astimezone(self.dt.tzinfo)
            if begin.hour == self.dt.hour:
                self.dt = begin
        return moved


def find_time_zone(name: str) -> zoneinfo.ZoneInfo:
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


def is_single_time(text: str) -> bool:
    """Return whether an expression is a single moment."""
    return _TIMESTAMP_PATTERN.match(text.strip()) is not None


def parse_expression(text: str, timezone: str) -> Timing:
    """Parse an expression.

    Raises:
        InvalidRequest: the expression is not valid, or its time never comes; the message says why.
    """
    time_zone, words = find_time_zone(timezone), text.strip()
    if len(words) > MAX_SCHEDULE_EXPRESSION_CHARACTERS:
        raise InvalidRequest(
            f"schedule: the expression is longer than {MAX_SCHEDULE_EXPRESSION_CHARACTERS} characters."
        )
    if words.lower().startswith("every"):
        return Timing("", time_zone, interval=_parse_interval(words))
    if is_single_time(words):
        return Timing("", time_zone, only_time=_parse_timestamp(words))
    cron = " ".join(_CRON_ALIASES.get(words.lower(), words).split())
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


def _parse_interval(words: str) -> int:
    found = _INTERVAL_PATTERN.fullmatch(words.lower())
    seconds = int(found[1]) * _SECONDS_PER_UNIT[found[2]] if found else 0
    if not 1 <= seconds <= MAX_INTERVAL_SECONDS:
        raise InvalidRequest(
            f"schedule: {words!r} is not an interval such as 'every 15m' (units s, m, h, d; from 1 s to 366 d)."
        )
    return seconds * 1000


def _parse_timestamp(words: str) -> int:
    try:
        found = datetime.fromisoformat(words)
    except ValueError:
        raise InvalidRequest(f"schedule: {words!r} is not a time such as 2030-01-31T09:00:00Z.") from None
    if found.tzinfo is None:
        raise InvalidRequest(f"schedule: {words!r} has no UTC offset; write 2030-01-31T09:00:00+01:00, or Z for UTC.")
    try:
        return times.to_milliseconds(found) // 1000 * 1000
    except OverflowError:
        raise InvalidRequest(f"schedule: {words!r} is outside the range of times that can be computed.") from None
