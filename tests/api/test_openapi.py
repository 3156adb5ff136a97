"""`/openapi.json` is true: what it says is what the gateway does, whatever is sent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, positive_data_acceptance

from gateway.api import openapi
from gateway.api.routing import discover_routes
from harness.live_gateway import Live
from harness.waiting import PATIENCE
from tests.api.client import ask
from tests.support.inprocess import Serving

#: cases of each operation, right and wrong ones: over 2,000 in all
EXAMPLES = 65


async def test_the_document_lists_every_route(moongate: Serving) -> None:
    document = (await ask(moongate, "GET", "/openapi.json")).body

    assert document["openapi"] == "3.1.0"
    listed = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert listed == {(route.method, route.path) for route in discover_routes()}


async def test_a_schema_keeps_the_name_that_it_was_published_under(moongate: Serving) -> None:
    document = (await ask(moongate, "GET", "/openapi.json")).body

    name = "gateway.api.compat.openai.words.Said"
    messages = document["components"]["schemas"]["ChatRequest"]["properties"]["messages"]
    assert messages["items"] == {"$ref": f"#/components/schemas/{name}"}
    assert document["components"]["schemas"][name]["title"] == "Said"


@pytest.fixture(scope="module")
def gateway(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A real gateway, for all cases of this module."""
    live = Live(tmp_path_factory.mktemp("fuzzed") / "home").start()
    yield live
    live.close()


@pytest.fixture(scope="module")
def session(gateway: Live) -> Iterator[requests.Session]:
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {gateway.token}"
        yield session


def without_security(document: dict[str, Any]) -> dict[str, Any]:
    """The session has the right token, so cases without one would be let in; see `test_access`."""
    for methods in document["paths"].values():
        for operation in methods.values():
            operation.pop("security", None)
    return document


SCHEMA = schemathesis.openapi.from_dict(without_security(openapi.build_document(discover_routes())))
#: one is endless, two end what is asked; see `test_gateway`
LEFT_OUT = {"/api/events", "/api/gateway/restart", "/api/gateway/stop"}
OPERATIONS = [found.ok() for found in SCHEMA.get_all_operations() if found.ok().path not in LEFT_OUT]


def can_be_wrong(operation: Any) -> bool:
    raw = operation.definition.raw
    return "requestBody" in raw or any(part["in"] != "path" for part in raw.get("parameters", ()))


CASES = [
    (operation, mode)
    for operation in OPERATIONS
    for mode in GenerationMode
    if mode is GenerationMode.POSITIVE or can_be_wrong(operation)
]
#: what is not held, as by design: a schema cannot say "printable"; the eleventh wrong token is a 429;
#: and 502 to 507 are documented answers
NOT_HELD = [positive_data_acceptance, ignored_auth, not_a_server_error]


@pytest.mark.slow
@pytest.mark.parametrize(("operation", "mode"), CASES, ids=lambda part: getattr(part, "label", part))
def test_whatever_is_sent_the_answer_is_as_documented(
    operation: Any, mode: GenerationMode, gateway: Live, session: requests.Session
) -> None:
    @given(case=operation.as_strategy(generation_mode=mode))
    @settings(max_examples=EXAMPLES, derandomize=True, deadline=None, suppress_health_check=list(HealthCheck))
    def send(case: Any) -> None:
        case.headers = {**(case.headers or {}), "Accept": "application/json"}
        if isinstance(case.query, dict):
            case.query.pop("follow", None)  # endless, too
            assume(all(case.query.values()))  # an empty list is not sent at all: then nothing is wrong
        response = case.call_and_validate(
            base_url=gateway.url, session=session, timeout=PATIENCE, excluded_checks=NOT_HELD
        )
        assert response.status_code not in (500, 501), response.text

    send()
