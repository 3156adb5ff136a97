"""`/openapi.json` is true: what it says is what the gateway does, whatever is sent."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import msgspec
import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, assume, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.generation import GenerationMode
from schemathesis.specs.openapi.checks import ignored_auth, negative_data_rejection, positive_data_acceptance

from gateway.api import openapi
from gateway.api.attachments import limit_body_with_files
from gateway.api.routing import discover_routes
from gateway.config import Config
from harness.live_gateway import Live
from harness.waiting import PATIENCE
from tests.api.client import ask
from tests.support.inprocess import Serving
from tests.support.thorough import is_thorough

#: cases of each operation, right and wrong ones, the same in each run: about 2,500 in all on each push. They are few
#: for time only: `MOONGATE_TEST_EXAMPLES=65 scripts/test tests/api/test_openapi.py` sends more, and finds more
EXAMPLES = int(os.environ.get("MOONGATE_TEST_EXAMPLES", "65" if is_thorough() else "12"))
#: as the gateway of this module has it
DEFAULTS = Config(home=Path("unused"), path=Path("unused"))


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    built: dict[str, Any] = msgspec.to_builtins(openapi.build_document(discover_routes()))
    return built


def walk(schema: Any) -> Iterator[dict[str, Any]]:
    """Yield all objects in a document."""
    if isinstance(schema, dict):
        yield schema
    for part in schema.values() if isinstance(schema, dict) else schema if isinstance(schema, list) else ():
        yield from walk(part)


async def test_the_document_lists_every_route(moongate: Serving) -> None:
    document = (await ask(moongate, "GET", "/openapi.json")).body

    assert document["openapi"] == "3.1.0"
    listed = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    assert listed == {(route.method, route.path) for route in discover_routes() if route.documented}


async def test_what_is_not_listed_is_listed_without_its_slash(moongate: Serving) -> None:
    listed = {(route.method, route.path) for route in discover_routes() if route.documented}

    hidden = [route for route in discover_routes() if not (route.documented or route.is_page)]
    assert {(route.method, route.path.rstrip("/")) for route in hidden} <= listed


def test_each_schema_has_a_name_that_generators_can_use(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]

    assert [name for name in schemas if not re.fullmatch(r"[A-Z][A-Za-z0-9]*", name)] == []
    assert [name for name, schema in schemas.items() if schema["title"] != name] == []


def test_each_schema_says_what_generators_need(document: dict[str, Any]) -> None:
    found = list(walk(document))

    assert [part for part in found if part.get("type") == "array" and "items" not in part] == []
    assert [part for part in found if any(isinstance(value, bool) for value in part.get("enum", ()))] == []
    assert [part for part in found if "text/event-stream" in part and "schema" not in part["text/event-stream"]] == []


def test_each_operation_says_whether_it_needs_a_token(document: dict[str, Any]) -> None:
    needs = {
        (method.upper(), path): operation["security"]
        for path, methods in document["paths"].items()
        for method, operation in methods.items()
    }

    assert needs == {
        (route.method, route.path): [] if route.scope is None else [{"bearer": []}]
        for route in discover_routes()
        if route.documented
    }


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


def is_refused_as_too_large(response: Any, operation: Any) -> bool:
    """Return whether a body over the route's own limit was refused; a schema does not know that limit.

    Raises:
        AssertionError: a body within the limit was refused as too large.
    """
    if response.status_code != 413:
        return False
    (route,) = (
        one for one in discover_routes() if (one.method, one.path) == (operation.method.upper(), operation.path)
    )
    limit = route.choose_body_limit(cast("Any", None), cast("Any", SimpleNamespace(config=DEFAULTS)))
    assert len(response.request.body or b"") > limit.max_bytes, response.text
    return True


#: bytes that the files in a body may add to it
FILES_ALLOWANCE = (
    limit_body_with_files(cast("Any", None), cast("Any", SimpleNamespace(config=DEFAULTS))).max_bytes
    - DEFAULTS.limits.body
)


@pytest.mark.parametrize(
    ("path", "size"),
    [("/v1/responses", DEFAULTS.limits.history + FILES_ALLOWANCE), ("/api/sessions", DEFAULTS.limits.body)],
)
def test_a_generated_body_over_the_limit_of_its_route_counts_as_refused(path: str, size: int) -> None:
    (operation,) = (one for one in OPERATIONS if (one.method.upper(), one.path) == ("POST", path))
    answers = [
        SimpleNamespace(status_code=status, request=SimpleNamespace(body=b"x" * length), text="")
        for status, length in [(400, size + 1), (413, size + 1), (413, size)]
    ]

    assert [is_refused_as_too_large(answer, operation) for answer in answers[:2]] == [False, True]
    with pytest.raises(AssertionError):
        is_refused_as_too_large(answers[2], operation)


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
        transport = {"base_url": gateway.url, "session": session, "timeout": PATIENCE}
        response = case.call(**transport)
        excluded = [*NOT_HELD, negative_data_rejection] if is_refused_as_too_large(response, operation) else NOT_HELD
        case.validate_response(response, excluded_checks=excluded, transport_kwargs=transport)
        assert response.status_code not in (500, 501), response.text

    send()
