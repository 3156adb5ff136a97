"""The times of schedules, compared with a slow oracle that checks each minute."""

from __future__ import annotations

import subprocess
import sys
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from gateway.domain import cron
from gateway.errors import InvalidRequest

BERLIN, NEW_YORK, SYDNEY = "Europe/Berlin", "America/New_York", "Australia/Sydney"
#: zones whose clocks change at midnight
CAIRO, SAO_PAULO, BEIRUT = "Africa/Cairo", "America/Sao_Paulo", "Asia/Beirut"
#: a zone whose clocks change by half an hour
LORD_HOWE = "Australia/Lord_Howe"
#: a zone whose clocks change at a quarter to three and a quarter to four
CHATHAM = "Pacific/Chatham"
#: days close to something special: both clock changes of each zone, a leap day, ends of months
SPECIAL = {
    BERLIN: ["2026-03-29", "2026-10-25", "2028-02-29"],
    NEW_YORK: ["2026-03-08", "2026-11-01", "2027-02-28"],
    SYDNEY: ["2026-04-05", "2026-10-04", "2026-12-31"],
    CAIRO: ["2024-04-26", "2024-11-01"],
    SAO_PAULO: ["2018-02-18", "2018-11-04"],
    BEIRUT: ["2024-03-31", "2024-10-27"],
    LORD_HOWE: ["2024-04-07", "2024-10-06"],
    # one of each kind of change since 1970: by 15 minutes to a day, in both directions, at odd minutes, around midnight
    CHATHAM: ["2026-04-05", "2026-09-27"],
    "Africa/Algiers": ["1971-04-25", "1978-09-22"],
    "America/Caracas": ["2007-12-09", "2016-05-01"],
    "America/Goose_Bay": ["1987-04-05", "1987-10-25", "1988-04-03", "1988-10-30"],
    "America/Guyana": ["1975-08-01"],
    "America/Iqaluit": ["1999-10-31"],
    "America/Montevideo": ["1974-01-13", "1974-03-10", "1974-09-01"],
    "America/St_Johns": ["1987-10-25", "1988-04-03", "1988-10-30", "2026-03-08", "2026-11-01"],
    "Antarctica/Casey": ["2009-10-18", "2010-03-05", "2020-10-04", "2021-03-14"],
    "Antarctica/Troll": ["2026-03-29", "2026-10-25"],
    "Antarctica/Vostok": ["1994-02-01", "1994-11-01"],
    "Asia/Bishkek": ["1997-03-30", "1997-10-26"],
    "Asia/Colombo": ["1996-05-25", "1996-10-26", "2006-04-15"],
    "Asia/Kathmandu": ["1986-01-01"],
    "Asia/Pyongyang": ["2015-08-15", "2018-05-05"],
    "Australia/Eucla": ["2008-10-26", "2009-03-29"],
    "Europe/Dublin": ["2026-03-29", "2026-10-25"],
    "Pacific/Apia": ["2011-12-30"],
    "Pacific/Guam": ["1976-08-22"],
    "Pacific/Kiritimati": ["1979-10-01"],
    "Pacific/Norfolk": ["2015-10-04"],
}
_NAMES = {name: number for number, name in enumerate("SUN MON TUE WED THU FRI SAT".split())}
_MONTHS = {name: n for n, name in enumerate("JAN FEB MAR APR MAY JUN JUL AUG SEP OCT NOV DEC".split(), start=1)}


# --- the oracle -------------------------------------------------------------------------------


def _matches(field: str, value: int, low: int, high: int, names: dict[str, int]) -> bool:
    for part in field.split(","):
        span, _, step = part.partition("/")
        first, _, last = span.partition("-")
        if span == "*":
            begin, end = low, high
        else:
            begin = names[first] if first in names else int(first)
            end = (names[last] if last in names else int(last)) if last else (high if step else begin)
        if begin <= value <= end and (value - begin) % int(step or 1) == 0:
            return True
    return False


def _fits(expression: str, local: datetime) -> bool:
    minute, hour, day, month, weekday = expression.split()
    sunday_first = local.isoweekday() % 7
    on_weekday = any(_matches(weekday, number, 0, 7, _NAMES) for number in {sunday_first, local.isoweekday()})
    on_day = _matches(day, local.day, 1, 31, {})
    on = (on_day and on_weekday) if day[0] == "*" or weekday[0] == "*" else (on_day or on_weekday)
    return (
        on
        and _matches(minute, local.minute, 0, 59, {})
        and _matches(hour, local.hour, 0, 23, {})
        and _matches(month, local.month, 1, 12, _MONTHS)
    )


def _oracle(expression: str, zone: ZoneInfo, begin: datetime, days: int) -> list[datetime]:
    """Return all times in a number of days, by a check of each minute."""
    end = begin + timedelta(days=days)
    fixed = expression.split()[0][0] != "*" and expression.split()[1][0] != "*"
    found = set()
    if not fixed:  # by elapsed time
        moment = begin
        while (moment := moment + timedelta(minutes=1)) <= end:
            if _fits(expression, moment.astimezone(zone)):
                found.add(moment)
        return sorted(found)
    # by the clock on the wall: each time of day once, and those in a gap at the end of the gap
    wall = begin.astimezone(zone).replace(tzinfo=None) - timedelta(hours=26)
    while wall <= end.astimezone(zone).replace(tzinfo=None) + timedelta(hours=26):
        if _fits(expression, wall):
            moment, later = wall, wall.replace(tzinfo=zone)
            while later.astimezone(UTC).astimezone(zone).replace(tzinfo=None) != moment:
                moment += timedelta(minutes=1)
                later = moment.replace(tzinfo=zone)
            if begin < later.astimezone(UTC) <= end:
                found.add(later.astimezone(UTC))
        wall += timedelta(minutes=1)
    return sorted(found)


def _numbers(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    # No range of one number with a step: cronsim reads `3-3/2` as `3/2`.
    span = st.tuples(number, number).filter(lambda two: two[0] != two[1]).map(lambda two: f"{min(two)}-{max(two)}")
    stepped = st.tuples(st.one_of(st.just("*"), span), st.integers(1, high)).map(lambda two: f"{two[0]}/{two[1]}")
    one = st.one_of(number.map(str), span, stepped)
    return st.one_of(st.just("*"), one, st.lists(one, min_size=2, max_size=3).map(",".join))


_weekdays = st.one_of(
    st.just("*"), st.sampled_from(["MON-FRI", "sun", "0", "7", "5-7", "SAT,SUN", "1-5", "TUE"]), _numbers(0, 7)
)
_months = st.one_of(st.just("*"), st.sampled_from(["MAR,OCT,NOV", "JAN-DEC", "feb-apr", "4,10,12"]), _numbers(1, 12))
_expressions = st.tuples(_numbers(0, 59), _numbers(0, 23), _numbers(1, 28) | st.just("*"), _months, _weekdays).map(
    " ".join
)


def _ms(moment: datetime) -> int:
    return int(moment.timestamp()) * 1000


_where = st.sampled_from([(zone, day) for zone, days in SPECIAL.items() for day in days])


@pytest.mark.slow
@settings(deadline=None, max_examples=150)
@given(_expressions, _where)
@example("30 2 * * *", (BERLIN, "2026-03-29"))
@example("30 2 * * *", (BERLIN, "2026-10-25"))
@example("*/20 2 * * *", (NEW_YORK, "2026-11-01"))
@example("0,30 1-3 * * *", (NEW_YORK, "2026-03-08"))
@example("15 * * * *", (SYDNEY, "2026-04-05"))
@example("0 0 29 2 *", (BERLIN, "2028-02-29"))
@example("0 0 31 * 1", (SYDNEY, "2026-12-31"))
@example("0 0 * * *", (CAIRO, "2024-04-26"))
@example("30 23 * * *", (CAIRO, "2024-11-01"))
@example("0,30 0 * * *", (SAO_PAULO, "2018-11-04"))
@example("* 0 4 * *", (SAO_PAULO, "2018-11-04"))
@example("0,30 * 4 * *", (SAO_PAULO, "2018-11-04"))
@example("*/15 0-1 4 * *", (SAO_PAULO, "2018-11-04"))
@example("*/15 23 * * *", (SAO_PAULO, "2018-02-18"))
@example("0 0 * * SUN", (BEIRUT, "2024-03-31"))
@example("59 23 * * *", (BEIRUT, "2024-10-27"))
@example("15 2 * * *", (LORD_HOWE, "2024-10-06"))
@example("45 1 * * *", (LORD_HOWE, "2024-04-07"))
@example("* 0 * * *", (LORD_HOWE, "2024-04-07"))
@example("* 2-3 * * *", (LORD_HOWE, "2024-10-06"))
@example("*/20 * * * *", (LORD_HOWE, "2024-10-06"))
@example("30 * * * *", (LORD_HOWE, "2024-04-07"))
@example("45 */1 * * *", (LORD_HOWE, "2024-04-07"))
@example("* 2 * * *", (CHATHAM, "2026-04-05"))
@example("*/5 2-3 * * *", (CHATHAM, "2026-04-05"))
@example("50 2 * * *", (CHATHAM, "2026-04-05"))
@example("50 2,3 * * *", (CHATHAM, "2026-09-27"))
@example("* * * * *", (CHATHAM, "2026-09-27"))
@example("7 * * * *", ("Asia/Kathmandu", "1986-01-01"))
@example("*/10 0 * * *", ("America/Guyana", "1975-08-01"))
@example("40 * * * *", ("Pacific/Kiritimati", "1979-10-01"))
@example("*/15 12 * * *", ("Pacific/Apia", "2011-12-30"))
@example("15 12 * * *", ("Pacific/Apia", "2011-12-30"))
@example("*/30 17-23 * * *", ("Antarctica/Vostok", "1994-02-01"))
@example("30 17-23 * * *", ("Antarctica/Vostok", "1994-02-01"))
@example("*/15 23,0 * * *", ("Antarctica/Casey", "2021-03-14"))
@example("*/7 22-23 * * *", ("America/St_Johns", "1988-10-30"))
def test_times_are_those_of_the_oracle(expression: str, where: tuple[str, str]) -> None:
    _check_against_oracle(expression, where)


def _check_against_oracle(expression: str, where: tuple[str, str]) -> None:
    name, day = where
    begin = datetime.fromisoformat(f"{day}T00:00:00+00:00") - timedelta(days=1)
    timing, found, moment = cron.parse_expression(expression, name), [], _ms(begin)
    while (time := timing.next_after(moment, 0)) is not None and time <= _ms(begin + timedelta(days=3)):
        found.append(time)
        moment = time

    assert (expression, found) == (
        expression,
        [_ms(time) for time in _oracle(expression.upper(), ZoneInfo(name), begin, 3)],
    )


# --- single behaviours ------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("expression", "zone", "begin", "times"),
    [
        # the clocks skip midnight: the day starts at 1:00, and the time of midnight comes then
        ("0 0 * * *", CAIRO, "2024-04-25T00:00", ["2024-04-25 22:00", "2024-04-26 21:00"]),
        ("0 0 * * *", SAO_PAULO, "2018-11-03T12:00", ["2018-11-04 03:00", "2018-11-05 02:00"]),
        ("0 0 * * *", BEIRUT, "2024-03-30T00:00", ["2024-03-30 22:00", "2024-03-31 21:00"]),
        # several skipped times come once
        ("0,20,40 0 * * *", CAIRO, "2024-04-25T20:00", ["2024-04-25 22:00", "2024-04-26 21:00"]),
        # the hour before midnight comes twice: the first one counts, and midnight comes once
        ("30 23 * * *", CAIRO, "2024-10-31T12:00", ["2024-10-31 20:30", "2024-11-01 21:30"]),
        ("0 0 * * *", SAO_PAULO, "2018-02-17T12:00", ["2018-02-18 03:00", "2018-02-19 03:00"]),
        ("30 23 * * *", BEIRUT, "2024-10-26T12:00", ["2024-10-26 20:30", "2024-10-27 21:30"]),
        # by elapsed time, it comes in both hours
        ("*/30 23 * * *", BEIRUT, "2024-10-26T19:45", ["2024-10-26 20:00", "2024-10-26 20:30", "2024-10-26 21:00"]),
        # the clocks skip half an hour, from 2:00 to 2:30
        ("15 2 * * *", LORD_HOWE, "2024-10-05T00:00", ["2024-10-05 15:30", "2024-10-06 15:15"]),
        # half an hour comes twice, from 1:30 to 2:00
        ("45 1 * * *", LORD_HOWE, "2024-04-06T00:00", ["2024-04-06 14:45", "2024-04-07 15:15"]),
        # by elapsed time: at 1:00 (14:00 in UTC) the last hour before the repeated half hour begins
        ("0 * * * *", LORD_HOWE, "2024-04-06T13:30", ["2024-04-06 14:00", "2024-04-06 15:30", "2024-04-06 16:30"]),
        ("15 * * * *", LORD_HOWE, "2024-04-06T14:00", ["2024-04-06 14:15", "2024-04-06 15:45", "2024-04-06 16:45"]),
        ("30 * * * *", LORD_HOWE, "2024-04-06T14:00", ["2024-04-06 14:30", "2024-04-06 15:00", "2024-04-06 16:00"]),
        ("45 * * * *", LORD_HOWE, "2024-04-06T14:00", ["2024-04-06 14:45", "2024-04-06 15:15", "2024-04-06 16:15"]),
        ("15,45 * * * *", LORD_HOWE, "2024-04-06T14:15", ["2024-04-06 14:45", "2024-04-06 15:15", "2024-04-06 15:45"]),
        ("*/30 1 * * *", LORD_HOWE, "2024-04-06T14:00", ["2024-04-06 14:30", "2024-04-06 15:00", "2024-04-07 14:30"]),
        ("30 */2 * * *", LORD_HOWE, "2024-04-06T14:00", ["2024-04-06 16:00", "2024-04-06 18:00"]),
        # by elapsed time: the minutes from 2:00 to 2:30 (15:30 in UTC) do not come
        ("0 * * * *", LORD_HOWE, "2024-10-05T14:00", ["2024-10-05 14:30", "2024-10-05 16:00", "2024-10-05 17:00"]),
        ("15 * * * *", LORD_HOWE, "2024-10-05T14:00", ["2024-10-05 14:45", "2024-10-05 16:15", "2024-10-05 17:15"]),
        ("30 * * * *", LORD_HOWE, "2024-10-05T14:00", ["2024-10-05 15:00", "2024-10-05 15:30", "2024-10-05 16:30"]),
        ("45 * * * *", LORD_HOWE, "2024-10-05T14:30", ["2024-10-05 15:15", "2024-10-05 15:45", "2024-10-05 16:45"]),
        ("*/20 2 * * *", LORD_HOWE, "2024-10-05T14:00", ["2024-10-05 15:40", "2024-10-06 15:00", "2024-10-06 15:20"]),
    ],
)
def test_clock_changes_at_midnight_and_by_half_an_hour_are_handled(
    expression: str, zone: str, begin: str, times: list[str]
) -> None:
    timing, moment, found = cron.parse_expression(expression, zone), _ms(datetime.fromisoformat(f"{begin}+00:00")), []
    for _ in times:
        time = timing.next_after(moment, 0)
        assert time is not None
        moment = time
        found.append(datetime.fromtimestamp(time / 1000, UTC).strftime("%Y-%m-%d %H:%M"))

    assert found == times


@pytest.mark.parametrize("place", [(zone, day) for zone, days in SPECIAL.items() for day in days])
@pytest.mark.parametrize("expression", ["*/5 0-3,23 * * *", "5,35 0-3,22-23 * * *"])
@pytest.mark.slow
def test_around_each_kind_of_clock_change_the_times_are_those_of_the_oracle(
    expression: str, place: tuple[str, str]
) -> None:
    _check_against_oracle(expression, place)


def test_a_zone_whose_offset_has_seconds_is_followed() -> None:
    """The clocks of Monrovia were 44 minutes and 30 seconds behind UTC until 7 January 1972."""
    timing, moment = cron.parse_expression("30 23 * * *", "Africa/Monrovia"), _ms(datetime(1972, 1, 6, 12, tzinfo=UTC))
    first = timing.next_after(moment, 0)

    assert first == _ms(datetime(1972, 1, 7, 0, 14, 30, tzinfo=UTC))
    assert timing.next_after(first, 0) == _ms(datetime(1972, 1, 7, 23, 30, tzinfo=UTC))


@pytest.mark.parametrize(
    ("given", "same"),
    [
        ("@midnight", "0 0 * * *"),
        ("@MidNight", "0 0 * * *"),
        ("@annually", "0 0 1 1 *"),
        ("@YEARLY", "0 0 1 1 *"),
        ("0 9 * * MONDAY", "0 9 * * 1"),
        ("0 9 * * monday-Friday", "0 9 * * 1-5"),
        ("0 9 * * Tue,Thursday,saturday,SUNDAY", "0 9 * * 2,4,6,0"),
        ("0 9 * * wednesday#2", "0 9 * * 3#2"),
        ("0 9 1 January,march-MAY,August *", "0 9 1 1,3-5,8 *"),
        ("0 9 1 february,april,june,july,september,october,november,december *", "0 9 1 2,4,6,7,9-12 *"),
    ],
)
def test_names_of_days_months_and_expressions_may_be_written_in_full_and_in_any_case(given: str, same: str) -> None:
    timings = [cron.parse_expression(text, BERLIN) for text in (given, same)]
    moment = _ms(datetime(2026, 1, 1, tzinfo=UTC))

    for _ in range(20):
        times = {timing.next_after(moment, 0) for timing in timings}
        assert len(times) == 1
        (time,) = times
        assert time is not None
        moment = time


@pytest.mark.parametrize("word", ["MOONDAY", "MONDAYS", "XMONDAY", "JANU"])
def test_a_name_that_is_none_is_refused(word: str) -> None:
    with pytest.raises(InvalidRequest, match="not valid"):
        cron.parse_expression(f"0 9 * {word} *" if word == "JANU" else f"0 9 * * {word}", "UTC")


@pytest.mark.parametrize("expression", ["every 15m", "2030-01-31T09:00:00+01:00"])
def test_an_expression_that_needs_no_zone_is_parsed_without_it(expression: str) -> None:
    assert cron.parse_expression(expression, "Nowhere/Land") == cron.parse_expression(expression, "UTC")


def test_weekday_0_and_7_are_sunday() -> None:
    assert {cron.parse_expression(f"0 0 * * {day}", "UTC").next_after(0, 0) for day in ("0", "7", "sun")} == {
        3 * 86_400_000
    }


def test_an_interval_counts_from_its_anchor() -> None:
    timing = cron.parse_expression("every 15m", "UTC")

    found = [timing.next_after(moment, 1000) for moment in (0, 1000, 900_999, 901_000)]
    assert found == [901_000, 901_000, 901_000, 1_801_000]


def test_a_moment_comes_once() -> None:
    timing = cron.parse_expression("2030-01-31T09:00:00+01:00", "UTC")
    moment = _ms(datetime(2030, 1, 31, 8, tzinfo=UTC))

    assert (timing.next_after(0, 0), timing.next_after(moment, 0)) == (moment, None)


@pytest.mark.parametrize(
    ("expression", "zone", "named"),
    [
        ("30 2 30 2 *", "UTC", "never comes"),
        ("0 0 31 4,6,9,11 *", "UTC", "never comes"),
        ("61 * * * *", "UTC", "minute"),
        ("* * * *", "UTC", "five fields"),
        ("0 * * * * *", "UTC", "five fields"),
        ("*/0 * * * *", "UTC", "minute"),
        ("", "UTC", "five fields"),
        ("0 9 * * *", "Europe/Atlantis", "Europe/Atlantis"),
        ("0 9 * * *", "../etc/passwd", "time zone"),
        ("0 9 * * *", "", "time zone"),
        ("every 0s", "UTC", "interval"),
        ("every 367d", "UTC", "interval"),
        ("every day", "UTC", "interval"),
        ("2030-01-31T09:00:00", "UTC", "no UTC offset"),
        ("2030-02-31T09:00:00Z", "UTC", "not a time"),
        ("1 " * 200, "UTC", "longer than"),
    ],
)
def test_an_expression_that_is_not_valid_is_refused_and_the_error_says_why(
    expression: str, zone: str, named: str
) -> None:
    with pytest.raises(InvalidRequest, match=named):
        cron.parse_expression(expression, zone)


def test_the_newest_of_very_many_times_are_found_without_a_walk_through_all_of_them() -> None:
    year = 366 * 86_400_000
    found = cron.parse_expression("every 1s", "UTC").collect_due_times(1000, year, 0)

    assert (found.total, len(found.times), found.times[-1]) == (None, cron.MAX_LISTED_TIMES, year)
    daily = cron.parse_expression("* * 1 * *", "UTC").collect_due_times(0, year, 0)
    assert (daily.total, len(daily.times), daily.times[-1] <= year) == (None, cron.MAX_LISTED_TIMES, True)


def test_utc_needs_no_time_zone_database() -> None:
    block = "import sys; sys.modules['tzdata'] = None\n"
    code = "from gateway.domain import cron\nzone = cron.find_time_zone('UTC')\nprint(zone, zone.utcoffset(None))"

    done = subprocess.run(
        [sys.executable, "-c", block + code], env={"PYTHONTZPATH": ""}, capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("UTC 0:00:00\n", "")


def test_time_zones_are_known_without_a_database_of_the_system() -> None:
    code = "from gateway.domain import cron; print(cron.find_time_zone('Europe/Berlin'))"

    done = subprocess.run(
        [sys.executable, "-c", code], env={"PYTHONTZPATH": ""}, capture_output=True, text=True, check=False
    )

    assert (done.stdout, done.stderr) == ("Europe/Berlin\n", "")
