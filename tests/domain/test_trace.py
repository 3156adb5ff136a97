"""Ids of traces and spans, and the header that carries them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.domain.trace import (
    WHOLE_RUN,
    TraceContext,
    derive_span_id,
    derive_trace_id,
    find_context,
    is_in_sample,
    parse_traceparent,
)

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def test_a_traceparent_is_read_and_written() -> None:
    context = TraceContext(TRACE, SPAN, True)

    assert context.traceparent == f"00-{TRACE}-{SPAN}-01"
    assert parse_traceparent(context.traceparent) == context
    assert parse_traceparent(f"00-{TRACE}-{SPAN}-00") == TraceContext(TRACE, SPAN, False)


def test_a_later_version_may_have_more_fields() -> None:
    assert parse_traceparent(f"cc-{TRACE}-{SPAN}-03-more") == TraceContext(TRACE, SPAN, True)


@pytest.mark.parametrize(
    "wrong",
    [
        "",
        TRACE,
        f"00-{TRACE}-{SPAN}",
        f"00-{TRACE}-{SPAN}-01-more",
        f"cc-{TRACE}-{SPAN}-01more",
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE.upper()}-{SPAN}-01",
        f"00-{TRACE}-{SPAN}-0g",
        f"00-{TRACE}-{SPAN}-01\n00",
    ],
)
def test_a_wrong_traceparent_names_nothing(wrong: str) -> None:
    assert parse_traceparent(wrong) is None


@given(st.text(max_size=80))
def test_no_text_breaks_the_parser(text: str) -> None:
    parse_traceparent(text)


def test_the_ids_of_a_run_are_the_same_in_every_process_and_release() -> None:
    assert derive_trace_id("01M8P8XZEBH8JZFJ1B1K135ZFY") == "538f8d6691d4b89241a008453a0bd1b3"
    assert derive_span_id("01M8P8XZEBH8JZFJ1B1K135ZFY", WHOLE_RUN) == "7dce01dd14451b92"


def test_a_run_is_in_the_trace_of_its_caller_or_in_its_own() -> None:
    assert find_context("r", WHOLE_RUN, None, 1.0).trace_id == derive_trace_id("r")
    assert find_context("r", WHOLE_RUN, "nonsense", 1.0).trace_id == derive_trace_id("r")
    assert find_context("r", WHOLE_RUN, f"00-{TRACE}-{SPAN}-00", 1.0) == TraceContext(
        TRACE, derive_span_id("r", WHOLE_RUN), False
    )


def test_a_share_of_the_traces_is_recorded() -> None:
    ids = [derive_trace_id(str(number)) for number in range(2_000)]

    assert all(is_in_sample(one, 1.0) for one in ids)
    assert not any(is_in_sample(one, 0.0) for one in ids)
    assert 350 < sum(is_in_sample(one, 0.2) for one in ids) < 450
