"""Computes the times of a schedule: from cron expressions, intervals and single moments.

Times are whole seconds, as milliseconds since 1970 UTC. `docs/schedules.md` says what happens when the clocks
change.
"""

from __future__ import annotations

import heapq
import io
import re
import struct
import zoneinfo
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime, timedelta, tzinfo
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

#: the greatest change of a zone's clocks: to the other side of the date line
MAX_CLOCK_CHANGE = timedelta(days=1)

_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 readings of clocks have no zone
_SECONDS_PER_UNIT = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_CRON_ALIASES = {
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
_FULL_NAMES = (
    "SUNDAY MONDAY TUESDAY WEDNESDAY THURSDAY FRIDAY SATURDAY"
    " JANUARY FEBRUARY MARCH APRIL JUNE JULY AUGUST SEPTEMBER OCTOBER NOVEMBER DECEMBER"
).split()
_FULL_NAME_PATTERN = re.compile(rf"(?<![A-Z])({'|'.join(_FULL_NAMES)})(?![A-Z])", re.IGNORECASE | re.ASCII)
#: UTC as a time zone file (RFC 9636, version 1): one type without an offset, and its name
_UTC_FILE = b"TZif" + bytes(16) + struct.pack(">6l", 0, 0, 0, 0, 1, 4) + struct.pack(">lBB", 0, 0, 0) + b"UTC\0"
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
    #: time zone of the fields
    zone: tzinfo = UTC
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
        zone = self.zone
        begin = datetime.fromtimestamp(moment // 1000, UTC)
        # Where the clocks are set back within the next day, begin with what they show after that: what they show
        # twice is then found in time.
        shown = min(begin.astimezone(zone).replace(tzinfo=None), _show_clock(begin + MAX_CLOCK_CHANGE, zone))
        try:
            readings = CronSim(self.cron, shown - timedelta(seconds=1))
            found = (
                _find_first_times(readings, zone) if self._names_minute_and_hour else _find_all_times(readings, zone)
            )
            for second in found:
                time = second * 1000
                if time > moment:  # several readings may be due at the end of one gap
                    moment = time
                    yield time
        except (OverflowError, ValueError):  # after the year 9999
            return

    @property
    def _names_minute_and_hour(self) -> bool:
        minute, hour = self.cron.split()[:2]
        return not minute.startswith("*") and not hour.startswith("*")


def _show_clock(later: datetime, zone: tzinfo) -> datetime:
    """Return what a clock would show `MAX_CLOCK_CHANGE` before a moment if it ran as it does at that moment."""
    return later.astimezone(zone).replace(tzinfo=None) - MAX_CLOCK_CHANGE


def _find_first_times(readings: Iterable[datetime], zone: tzinfo) -> Iterator[int]:
    """Yield when the clocks of a zone first show each reading: in seconds since 1970, in the order of the readings.

    A reading that they skip counts as shown at the end of the gap.
    """
    gap_end: datetime | None = None
    for reading in readings:
        if gap_end is not None and reading < gap_end:
            continue  # skipped by the same change as the reading before
        first, second = _find_offsets(reading, zone)
        if first >= second:
            yield _count_seconds(reading - first)
        else:
            end = _find_change(_count_seconds(reading - second), _count_seconds(reading - first), zone)
            gap_end = datetime.fromtimestamp(end, zone).replace(tzinfo=None)
            yield end


def _find_all_times(readings: Iterable[datetime], zone: tzinfo) -> Iterator[int]:
    """Yield all times at which the clocks of a zone show one of the readings: in seconds since 1970, in their order."""
    repeated: list[int] = []  # readings that will be shown a second time, the earliest first
    for reading in readings:
        first, second = _find_offsets(reading, zone)
        time = _count_seconds(reading - first)
        while repeated and repeated[0] <= time:
            yield heapq.heappop(repeated)
        if first >= second:
            yield time
        if first > second:
            heapq.heappush(repeated, _count_seconds(reading - second))
    while repeated:
        yield heapq.heappop(repeated)


def _find_offsets(reading: datetime, zone: tzinfo) -> tuple[timedelta, timedelta]:
    """Return the UTC offsets with which the clocks of a zone may show a reading.

    They are equal if it is shown once. It is shown twice if the first one is greater, and skipped if it is less
    (PEP 495).
    """
    first, second = (reading.replace(tzinfo=zone, fold=fold).utcoffset() for fold in (0, 1))
    assert first is not None, "a time zone has an offset at any time"
    assert second is not None, "as above"
    return first, second


def _find_change(before: int, after: int, zone: tzinfo) -> int:
    """Return when the clocks change between two moments, in seconds since 1970."""
    offset = datetime.fromtimestamp(after, zone).utcoffset()
    while after - before > 1:
        middle = (before + after) // 2
        if datetime.fromtimestamp(middle, zone).utcoffset() == offset:
            after = middle
        else:
            before = middle
    return after


def _count_seconds(utc: datetime) -> int:
    return (utc - _EPOCH) // timedelta(seconds=1)


def find_time_zone(name: str) -> zoneinfo.ZoneInfo:
    """Return the time zone of an IANA name.

    Raises:
        InvalidRequest: there is no time zone of this name.
    """
    try:
        return zoneinfo.ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        if name == "UTC":
            return zoneinfo.ZoneInfo.from_file(io.BytesIO(_UTC_FILE), key=name)
        raise InvalidRequest(
            f"timezone: there is no time zone {name[:64]!r}; use an IANA name such as Europe/Berlin."
        ) from None


def is_single_time(text: str) -> bool:
    """Return whether an expression is a single moment."""
    return _TIMESTAMP_PATTERN.match(text.strip()) is not None


def parse_expression(text: str, timezone: str) -> Timing:
    """Parse an expression. Only a cron expression needs its time zone.

    Raises:
        InvalidRequest: the expression is not valid, or its time never comes; the message says why.
    """
    words = text.strip()
    if len(words) > MAX_SCHEDULE_EXPRESSION_CHARACTERS:
        raise InvalidRequest(
            f"schedule: the expression is longer than {MAX_SCHEDULE_EXPRESSION_CHARACTERS} characters."
        )
    if words.lower().startswith("every"):
        return Timing("", interval=_parse_interval(words))
    if is_single_time(words):
        return Timing("", only_time=_parse_timestamp(words))
    cron = " ".join(_CRON_ALIASES.get(words.lower(), words).split())
    cron = _FULL_NAME_PATTERN.sub(lambda name: name[0][:3], cron)
    if cron.count(" ") != 4:
        raise InvalidRequest(
            f"schedule: {words!r} is not a cron expression of five fields, nor an interval such as 'every 15m', nor a"
            " time such as 2030-01-31T09:00:00Z."
        )
    try:
        timing = Timing(cron, find_time_zone(timezone))
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
