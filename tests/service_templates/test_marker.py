"""The variable that units set has the name that the gateway looks for. The two do not import each other."""

from __future__ import annotations

import service_templates
from gateway.supervisor import marker


def test_units_carry_the_mark_that_the_gateway_looks_for() -> None:
    assert marker.SERVICE_MARKER_VARIABLE == service_templates.MARKER
