"""`POST /api/webhook/{channel}`: per provider, what is taken, what is refused, and that it is taken once."""

from __future__ import annotations

import asyncio
import io
import json
import re
import textwrap
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import aiohttp
import pytest

from gateway import config
from gateway.api import failed_attempts
from gateway.api.routes import webhook
from gateway.assembly.checks import check_settings
from gateway.assembly.secret_values import collect_secrets
from gateway.domain.inbound import MAX_WEBHOOK_BYTES
from gateway.domain.page import Page
from gateway.domain.run import Run, RunFilter
from gateway.errors import ConfigError
from gateway.inbound import slack
from harness.command_line import Shell
from tests.api.client import Answer, ask, head, raw, read
from tests.contracts.stores import SteppedClock
from tests.support import providers
from tests.support.inprocess import Serving, serving
from tests.support.providers import WEBHOOK_SENDERS, WebhookProvider

BY_NAME = {sender.name: sender for sender in WEBHOOK_SENDERS}
each = pytest.mark.parametrize("sender", WEBHOOK_SENDERS, ids=lambda sender: sender.name)
timed = pytest.mark.parametrize("sender", [s for s in WEBHOOK_SENDERS if s.timed], ids=lambda sender: sender.name)


@pytest.fixture
def clock() -> SteppedClock:
    return SteppedClock()


@pytest.fixture
async def taking(tmp_path: Path, clock: SteppedClock) -> AsyncIterator[Serving]:
    """A gateway with a webhook endpoint for each provider."""
    async with serving(tmp_path / "home", {"inbound": providers.make_endpoint_settings()}, clock=clock) as served:
        yield served


async def post(served: Serving, name: str, body: bytes, headers: Mapping[str, str]) -> Answer:
    """Post without a token: a provider has none."""
    url = f"http://127.0.0.1:{served.port}/api/webhook/{name}"
    sent = {"Content-Type": "application/json", **headers}
    async with aiohttp.ClientSession() as client, client.post(url, data=io.BytesIO(body), headers=sent) as response:
        data = await response.read()
        return Answer(response.status, json.loads(data), response.headers)


async def send(served: Serving, sender: WebhookProvider, clock: SteppedClock, **spoiled: str) -> Answer:
    """Send what a provider sends, with some headers spoiled."""
    headers = sender.sign(sender.body, sender.secret, clock() // 1000)
    return await post(served, sender.name, sender.body, {**headers, **spoiled})


async def runs(served: Serving) -> list[Run]:
    return list(await served.engine.runs.list_runs(RunFilter(), Page()))


# --- what is taken ----------------------------------------------------------------------------


@each
async def test_a_valid_request_gives_one_run(taking: Serving, clock: SteppedClock, sender: WebhookProvider) -> None:
    answer = await send(taking, sender, clock)

    (run,) = await runs(taking)
    assert (answer.status, answer.body) == (202, {"status": "ok", "message_id": run.id})
    assert answer.headers["X-Run-Id"] == run.id
    assert (run.spec.input, run.spec.session, run.spec.source) == (sender.told, sender.session, "webhook")


@each
async def test_the_same_again_is_answered_the_same(
    taking: Serving, clock: SteppedClock, sender: WebhookProvider
) -> None:
    first = await send(taking, sender, clock)
    again = await send(taking, sender, clock, **({"X-Slack-Retry-Num": "1"} if sender.name == "slack" else {}))

    assert (again.status, again.body) == (202, first.body)
    assert len(await runs(taking)) == 1


async def test_a_provider_s_id_is_remembered_over_restarts_and_for_a_month(tmp_path: Path, clock: SteppedClock) -> None:
    settings = {"inbound": providers.make_endpoint_settings()}
    github = BY_NAME["github"]
    async with serving(tmp_path, settings, clock=clock) as served:
        first = await send(served, github, clock)
    clock.forward(29 * 24 * 3600 * 1000)
    async with serving(tmp_path, settings, clock=clock) as served:
        again = await send(served, github, clock)

        assert again.body == first.body
        assert len(await runs(served)) == 1


async def test_another_id_is_another_run(taking: Serving, clock: SteppedClock) -> None:
    await send(taking, BY_NAME["github"], clock)
    await send(taking, BY_NAME["github"], clock, **{"X-GitHub-Delivery": "another"})

    assert len(await runs(taking)) == 2


async def test_a_generic_message_replayed_with_its_signature_written_otherwise_is_the_same(
    taking: Serving, clock: SteppedClock
) -> None:
    body = json.dumps({"event": "message", "data": {"chat_id": "42", "content": "Hello!"}}).encode()
    signed = providers.generic(body, providers.SHARED_SECRET, clock() // 1000)
    spaced = {name: value.replace(",", " , ") for name, value in signed.items()}

    first, again = [await post(taking, "generic", body, headers) for headers in (signed, spaced)]

    assert (again.status, again.body) == (202, first.body)
    assert len(await runs(taking)) == 1


async def test_a_generic_message_without_an_id_is_known_by_its_signature(taking: Serving, clock: SteppedClock) -> None:
    body = json.dumps({"event": "message", "data": {"chat_id": "42", "content": "Hello!"}}).encode()
    signed = providers.generic(body, providers.SHARED_SECRET, clock() // 1000)
    later = providers.generic(body, providers.SHARED_SECRET, clock() // 1000 + 1)

    first, again, other = [await post(taking, "generic", body, headers) for headers in (signed, signed, later)]

    assert first.body == again.body != other.body
    assert len(await runs(taking)) == 2


@pytest.mark.parametrize("secret", ["old-secret", "new-secret"])
async def test_two_secrets_are_good_while_one_takes_the_place_of_the_other(
    tmp_path: Path, clock: SteppedClock, secret: str
) -> None:
    endpoint = {"provider": "generic", "secret": ["new-secret", "old-secret"]}
    async with serving(tmp_path, {"inbound": {"ci": endpoint}}, clock=clock) as served:
        body = BY_NAME["generic"].body

        assert (await post(served, "ci", body, providers.generic(body, secret, clock() // 1000))).status == 202


async def test_a_secret_may_stand_in_a_variable_or_a_file(tmp_path: Path, clock: SteppedClock) -> None:
    (tmp_path / "secret").write_text("from-a-file\n")
    inbound = {
        "one": {"provider": "generic", "secret_env": "CI_SECRET"},
        "two": {"provider": "generic", "secret_file": str(tmp_path / "secret")},
    }
    environ = {"PATH": "/usr/bin:/bin", "CI_SECRET": "from-a-variable"}
    async with serving(tmp_path / "home", {"inbound": inbound}, clock=clock, environ=environ) as served:
        for name, secret in (("one", "from-a-variable"), ("two", "from-a-file")):
            body = BY_NAME["generic"].body
            answer = await post(served, name, body, providers.generic(body, secret, clock() // 1000))

            assert answer.status == 202


# --- what is refused --------------------------------------------------------------------------


@each
@pytest.mark.parametrize("blank", [None, "", "   "], ids=["missing", "empty", "blank"])
async def test_a_request_without_its_signature_is_refused(
    taking: Serving, clock: SteppedClock, sender: WebhookProvider, blank: str | None
) -> None:
    headers = sender.sign(sender.body, sender.secret, clock() // 1000)
    if blank is None:
        del headers[sender.signature]
    else:
        headers[sender.signature] = blank
    answer = await post(taking, sender.name, sender.body, headers)

    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert sender.signature in answer.message
    assert await runs(taking) == []


@each
async def test_a_request_signed_with_another_secret_is_refused(
    taking: Serving, clock: SteppedClock, sender: WebhookProvider
) -> None:
    other = providers.STANDARD_SECRET[:-4] + "AAA=" if sender.name == "standard" else "another-secret"
    headers = sender.sign(sender.body, other, clock() // 1000)
    answer = await post(taking, sender.name, sender.body, headers)

    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert await runs(taking) == []


@pytest.mark.parametrize("sender", [s for s in WEBHOOK_SENDERS if s.name != "telegram"], ids=lambda sender: sender.name)
async def test_a_flipped_bit_of_the_body_is_refused(
    taking: Serving, clock: SteppedClock, sender: WebhookProvider
) -> None:
    headers = sender.sign(sender.body, sender.secret, clock() // 1000)
    flipped = bytearray(sender.body)
    flipped[len(flipped) // 2] ^= 1
    answer = await post(taking, sender.name, bytes(flipped), headers)

    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert await runs(taking) == []


@each
async def test_a_flipped_bit_of_the_signature_is_refused(
    taking: Serving, clock: SteppedClock, sender: WebhookProvider
) -> None:
    right = sender.sign(sender.body, sender.secret, clock() // 1000)[sender.signature]
    at = len(right) - 5  # a letter of the digest, before any padding
    flipped = right[:at] + ("0" if right[at] != "0" else "1") + right[at + 1 :]
    answer = await send(taking, sender, clock, **{sender.signature: flipped})

    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")
    assert await runs(taking) == []


@each
async def test_a_signature_that_is_not_ascii_is_refused(
    taking: Serving, clock: SteppedClock, sender: WebhookProvider
) -> None:
    headers = sender.sign(sender.body, sender.secret, clock() // 1000)
    lines = [f"{name}: {value}" for name, value in headers.items() if name != sender.signature]
    lines += [f"{sender.signature}: v0=sha256=\udcc3\udca9\udcff", "Content-Type: application/json"]
    answer = read(await raw(taking, head(f"POST /api/webhook/{sender.name}", *lines, bearer=None)))

    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")


@timed
@pytest.mark.parametrize(("seconds", "status"), [(-301, 401), (-299, 202), (299, 202), (301, 401)])
async def test_a_signature_of_another_time_is_refused(
    taking: Serving, clock: SteppedClock, sender: WebhookProvider, seconds: int, status: int
) -> None:
    headers = sender.sign(sender.body, sender.secret, clock() // 1000 + seconds)
    answer = await post(taking, sender.name, sender.body, headers)

    assert answer.status == status
    assert len(await runs(taking)) == (status == 202)


@timed
async def test_a_time_that_was_moved_is_refused(taking: Serving, clock: SteppedClock, sender: WebhookProvider) -> None:
    old = sender.sign(sender.body, sender.secret, clock() // 1000 - 3600)
    new = sender.sign(sender.body, sender.secret, clock() // 1000)
    assert sender.timed is not None
    moved = {**old, sender.timed: new[sender.timed]}
    if sender.timed == sender.signature:  # both in one header
        moved = {sender.signature: new[sender.signature].partition(",")[0] + ",v1=" + old[sender.signature][-64:]}
    answer = await post(taking, sender.name, sender.body, moved)

    assert answer.status == 401


@pytest.mark.slow
@each
async def test_a_stranger_is_refused_before_the_body_is_read(taking: Serving, sender: WebhookProvider) -> None:
    lines = ["Content-Type: application/json", "Content-Length: 1000"]
    if sender.name == "telegram":  # the others sign the body: their header can be missing or old, not wrong
        lines.append(f"{sender.signature}: wrong")
    answer = read(await raw(taking, head(f"POST /api/webhook/{sender.name}", *lines, bearer=None)))

    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")


async def test_the_gateway_s_token_opens_no_webhook(taking: Serving) -> None:
    answer = await ask(taking, "POST", "/api/webhook/generic", dict(BY_NAME["generic"].payload))

    assert (answer.status, answer.code) == (401, "UNAUTHORIZED")


async def test_too_many_failures_are_refused_unseen_but_the_right_one_passes(
    taking: Serving, clock: SteppedClock
) -> None:
    generic = BY_NAME["generic"]
    wrong = {"X-Moongate-Signature": f"t={clock() // 1000},v1={'0' * 64}"}
    statuses = [
        (await post(taking, "generic", generic.body, wrong)).status
        for _ in range(failed_attempts.MAX_FAILED_ATTEMPTS + 1)
    ]

    assert statuses == [401] * failed_attempts.MAX_FAILED_ATTEMPTS + [429]
    assert (await send(taking, generic, clock)).status == 202


# --- what has no webhook receiver -------------------------------------------------------------


@pytest.mark.parametrize(
    "inbound",
    [
        {},
        {"generic": {}},
        {"generic": {"secret_env": "NOT_SET"}},
        {"generic": {"secret": []}},
        {"generic": {"secret": "x", "enabled": False}},
    ],
    ids=["not configured", "no secret", "its variable is not set", "no secrets", "disabled"],
)
async def test_without_a_secret_there_is_no_route(tmp_path: Path, clock: SteppedClock, inbound: dict[str, Any]) -> None:
    async with serving(tmp_path, {"inbound": inbound}, clock=clock) as served:
        for secret in ("", "x", providers.SHARED_SECRET):
            body = BY_NAME["generic"].body
            answer = await post(served, "generic", body, providers.generic(body, secret, clock() // 1000))

            assert (answer.status, answer.code) == (404, "CHANNEL_NOT_FOUND")
        assert await runs(served) == []


@pytest.mark.parametrize("name", ["nowhere", "webchat", "telegram", "x" * 300])
async def test_an_unknown_channel_has_no_route(moongate: Serving, name: str) -> None:
    answer = await post(moongate, name, b"{}", {})

    assert (answer.status, answer.code) == (404, "CHANNEL_NOT_FOUND")


# --- what does not fit ------------------------------------------------------------------------


async def signed(served: Serving, clock: SteppedClock, body: bytes, name: str = "generic") -> Answer:
    return await post(served, name, body, providers.generic(body, providers.SHARED_SECRET, clock() // 1000))


def message_of(size: int) -> bytes:
    """Return the body of a webhook with so many bytes."""
    data = {"chat_id": "1", "content": "hi", "rest": ""}
    empty = len(json.dumps({"event": "message", "data": data}))
    return json.dumps({"event": "message", "data": {**data, "rest": "x" * (size - empty)}}).encode()


async def test_the_event_that_becomes_a_label_cannot_hide_what_it_says(taking: Serving, clock: SteppedClock) -> None:
    body = json.dumps({"event": "a\x9bb\u202ec", "data": {"chat_id": "1", "content": "x"}}).encode()
    answer = await signed(taking, clock, body)

    assert answer.status < 300
    assert [run.spec.labels["event"] for run in await runs(taking)] == ["a\ufffdb\ufffdc"]


@pytest.mark.parametrize(
    ("mark", "content", "told"),
    [
        ("\ufeff", "hi", "hi"),
        ("", r"cut off \ud83d", "cut off \ufffd"),
        ("\ufeff", r"\ude00 and \ud83d\ude00", "\ufffd and 😀"),
    ],
)
@pytest.mark.parametrize("name", ["generic", "github"])
async def test_a_webhook_that_its_sender_wrote_wrong_is_mended_after_its_signature_was_checked(
    taking: Serving, clock: SteppedClock, name: str, mark: str, content: str, told: str
) -> None:
    """Its sender does not send it again in another form: refused, the event would be lost."""
    sender = BY_NAME[name]
    wrong = {"generic": "content", "github": "full_name"}[name]
    body = re.sub(rf'("{wrong}": *)"[^"]*"', lambda found: f'{found[1]}"{content}"', sender.body.decode(), count=1)
    sent = f"{mark}{body}".encode()
    answer = await post(taking, name, sent, sender.sign(sent, sender.secret, clock() // 1000))

    (run,) = await runs(taking)
    assert answer.status == 202
    assert told in run.spec.input


async def test_a_huge_payload_is_refused_and_nothing_stored(taking: Serving, clock: SteppedClock) -> None:
    answer = await signed(taking, clock, message_of(MAX_WEBHOOK_BYTES + 1))

    assert (answer.status, answer.code) == (413, "TOO_LARGE")
    assert "inbound.generic.max_bytes" in answer.message
    assert "limits.body" not in answer.message, "raising it would change nothing"
    assert await runs(taking) == []


async def test_a_payload_larger_than_other_bodies_is_taken(taking: Serving, clock: SteppedClock) -> None:
    answer = await signed(taking, clock, message_of(MAX_WEBHOOK_BYTES))

    assert answer.status == 202
    assert taking.context.config.limits.body < MAX_WEBHOOK_BYTES


async def test_each_endpoint_has_its_own_limit(tmp_path: Path, clock: SteppedClock) -> None:
    entry = {"secret": providers.SHARED_SECRET, "provider": "generic"}
    inbound = {"small": {**entry, "max_bytes": 1024}, "generic": entry}
    async with serving(tmp_path, {"inbound": inbound}, clock=clock) as served:
        fits = await signed(served, clock, message_of(1024), "small")
        too_large = await signed(served, clock, message_of(1025), "small")
        elsewhere = await signed(served, clock, message_of(1025))

    assert (fits.status, too_large.status, elsewhere.status) == (202, 413, 202)
    assert "larger than 1024 bytes" in too_large.message
    assert "inbound.small.max_bytes" in too_large.message


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "not valid JSON"),
        (b"[]", "not a JSON object"),
        (b"{", "not valid JSON"),
        (b'{"event": "message", "data": {"chat_id": "1", "content": "\xff"}}', "not valid JSON"),
        (b'{"a":' + b"[" * 100_000 + b"]" * 100_000 + b"}", "nested too deeply"),
        (b'{"data": {}}', "event: "),
        (b'{"event": "message"}', "data: "),
        (
            b'{"event": "message", "data": {"chat_id": "1"}}',
            "inbound.generic.prompt: the payload has no value at 'data.content'",
        ),
        (b'{"event": "message", "data": {"content": "x"}}', "inbound.generic.session: the payload has no"),
        (b'{"event": "message", "data": {"chat_id": "1", "content": " "}}', "inbound.generic.prompt"),
        (b'{"event": "message", "data": {"chat_id": "a\\nb", "content": "x"}}', "chat_id"),
        (b'{"event": "message", "data": {"chat_id": "1", "content": "x", "id": []}}', "data.id"),
        (b'{"event": "message", "data": {"chat_id": "1", "content": "x", "id": "a\\nb"}}', "the id"),
    ],
)
async def test_what_is_signed_but_does_not_fit_is_refused_and_nothing_stored(
    taking: Serving, clock: SteppedClock, body: bytes, said: str
) -> None:
    answer = await signed(taking, clock, body)

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert said in answer.message
    assert await runs(taking) == []


async def test_what_is_neither_json_nor_a_form_is_not_read(taking: Serving, clock: SteppedClock) -> None:
    body = BY_NAME["generic"].body
    headers = providers.generic(body, providers.SHARED_SECRET, clock() // 1000)
    answer = await post(taking, "generic", body, {**headers, "Content-Type": "text/plain"})

    assert (answer.status, answer.code) == (415, "UNSUPPORTED_MEDIA")


# --- forms ------------------------------------------------------------------------------------

FORM = {"Content-Type": "application/x-www-form-urlencoded"}


def command(**fields: str) -> bytes:
    """Return what Slack posts when somebody types a command."""
    sent = {"command": "/ask", "text": "how are you & yours?", "channel_id": "C42", "trigger_id": "13345224609.8"}
    return urlencode({**sent, **fields}).encode()


async def type_in_slack(served: Serving, clock: SteppedClock, body: bytes) -> Answer:
    return await post(
        served, "slack", body, {**providers.slack(body, providers.SHARED_SECRET, clock() // 1000), **FORM}
    )


async def test_a_command_of_slack_is_a_run_and_its_user_is_told_so(taking: Serving, clock: SteppedClock) -> None:
    first, again = [await type_in_slack(taking, clock, command()) for _ in range(2)]

    (run,) = await runs(taking)
    assert (run.spec.input, run.spec.session) == ("how are you & yours?", "main:slack:C42")
    assert (first.status, first.body) == (200, {"response_type": "ephemeral", "text": f"Taken, as task {run.id}."})
    assert again.body == first.body


async def test_a_command_of_slack_without_a_signature_is_refused(taking: Serving, clock: SteppedClock) -> None:
    body = command()
    signed = providers.slack(body, providers.SHARED_SECRET, clock() // 1000)
    answers = [
        await post(taking, "slack", body, FORM),
        await post(taking, "slack", body + b"&text=more", {**signed, **FORM}),
        await post(taking, "slack", body, {**signed, **FORM, "X-Slack-Request-Timestamp": str(clock() // 1000 - 301)}),
    ]

    assert [answer.status for answer in answers] == [401, 401, 401]
    assert await runs(taking) == []


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (command(text=""), "leaves the text empty"),
        (command(trigger_id=""), "trigger_id"),
        (b"command=%ff", "UTF-8"),
        (b"a=1&" * 300, "fields"),
        (b"payload=[1]", "JSON object"),
    ],
)
async def test_a_form_that_does_not_fit_is_refused_and_nothing_stored(
    taking: Serving, clock: SteppedClock, body: bytes, said: str
) -> None:
    answer = await type_in_slack(taking, clock, body)

    assert (answer.status, answer.code) == (400, "INVALID_REQUEST")
    assert said in answer.message
    assert await runs(taking) == []


@pytest.mark.parametrize(
    ("url", "kept"),
    [
        ("https://hooks.slack.com/commands/T1/2/x", True),
        ("https://hooks.slack.com.example.org/", False),
        ("http://127.0.0.1:1/", False),
        ("https://hooks.slack.com/\n", False),
        ("", False),
    ],
)
async def test_the_answer_to_a_command_goes_to_slack_only(url: str, kept: bool) -> None:
    posted = slack.PROVIDER.read_webhook({}, b"", {"command": "/ask", "trigger_id": "1", "response_url": url})

    assert (posted.reply_to is not None and posted.reply_to.address == url) is kept


async def test_the_answer_to_a_command_is_told_in_slack_s_words(taking: Serving, clock: SteppedClock) -> None:
    await type_in_slack(taking, clock, command(text="@@ say I am fine"))
    (run,) = await runs(taking)
    ended = await taking.engine.runs.wait_for_run(run.id, 20)

    assert json.loads(webhook.BODIES["slack"](ended)) == {"text": "I am fine"}


async def test_github_may_send_a_form_as_it_does_unless_told_otherwise(taking: Serving, clock: SteppedClock) -> None:
    github = BY_NAME["github"]
    body = urlencode({"payload": github.body.decode()}).encode()
    answer = await post(taking, "github", body, {**providers.github(body, providers.SHARED_SECRET, 0), **FORM})

    (run,) = await runs(taking)
    assert (answer.status, run.spec.input) == (202, github.told)


# --- what needs no run ------------------------------------------------------------------------


async def test_slack_is_answered_its_challenge(taking: Serving, clock: SteppedClock) -> None:
    body = json.dumps({"type": "url_verification", "challenge": "3eZbrw1a"}).encode()
    answer = await post(taking, "slack", body, providers.slack(body, providers.SHARED_SECRET, clock() // 1000))

    assert (answer.status, answer.body) == (200, {"challenge": "3eZbrw1a"})
    assert await runs(taking) == []


async def test_an_unsigned_challenge_of_slack_is_not_answered(taking: Serving) -> None:
    assert (await post(taking, "slack", b'{"type":"url_verification","challenge":"x"}', {})).status == 401


async def test_what_a_bot_says_in_slack_is_not_acted_on(taking: Serving, clock: SteppedClock) -> None:
    event = {"type": "message", "bot_id": "B1", "text": "hello", "channel": "C1"}
    body = json.dumps({"type": "event_callback", "event_id": "Ev1", "event": event}).encode()
    answer = await post(taking, "slack", body, providers.slack(body, providers.SHARED_SECRET, clock() // 1000))

    assert (answer.status, answer.body["status"]) == (200, "ignored")
    assert await runs(taking) == []


async def test_github_s_ping_is_answered(taking: Serving, clock: SteppedClock) -> None:
    answer = await send(taking, BY_NAME["github"], clock, **{"X-GitHub-Event": "ping"})

    assert (answer.status, answer.body["status"]) == (200, "ok")
    assert await runs(taking) == []


async def test_an_event_that_nobody_wants_is_ignored_by_name(taking: Serving, clock: SteppedClock) -> None:
    answer = await send(taking, BY_NAME["github"], clock, **{"X-GitHub-Event": "issues"})

    assert (answer.status, answer.body["status"]) == (200, "ignored")
    assert "issues.opened" in answer.body["reason"]
    assert await runs(taking) == []


# --- its agent --------------------------------------------------------------------------------


async def test_the_agent_of_a_webhook_endpoint_may_be_made_through_the_api(tmp_path: Path, clock: SteppedClock) -> None:
    endpoints = {"generic": {"secret": providers.SHARED_SECRET, "agent": "reviewer"}}
    generic = BY_NAME["generic"]
    async with serving(tmp_path, {"inbound": endpoints}, clock=clock) as served:
        early = await send(served, generic, clock)
        before = (await ask(served, "GET", "/health")).body
        made = await ask(served, "POST", "/api/agents", {"name": "Reviewer", "slug": "reviewer"})
        answer = await send(served, generic, clock)
        after = (await ask(served, "GET", "/health")).body

        (run,) = await runs(served)

    assert (early.status, early.code) == (404, "AGENT_NOT_FOUND")
    assert (before["status"], after["status"]) == ("degraded", "healthy")
    assert "gateway channels list says why" in before["checks"]["generic"]
    assert (answer.status, run.spec.agent) == (202, made.body["agent"]["id"])


# --- settings ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("inbound", "said"),
    [
        ({"x": {"provider": "gitlab", "secret": "s"}}, 'inbound.x.provider: unknown value "gitlab"'),
        ({"x": {"secret": "s"}}, 'inbound.x.provider: unknown value "x"'),
        ({"a b": {"provider": "generic"}}, "inbound.a b: a name"),
        ({"github": {"secret": "s", "prompt": "{a"}}, "inbound.github.prompt: there is a single '{'"),
        ({"github": {"secret": "s", "session": "{a.}"}}, "inbound.github.session"),
        ({"github": {"secret": " "}}, "inbound.github.secret: a blank secret"),
        ({"github": {"secret_file": "/nowhere/at/all"}}, "cannot read the secret in /nowhere/at/all"),
        ({"github": {"secret": "s", "deliver": "telegram:1"}}, "the channel 'telegram' is not configured"),
        ({"github": {"secret": "s", "prompts": "x"}}, "prompts"),
        ({"standard": {"secret": "whsec_%%%"}}, "whsec_"),
    ],
)
def test_a_mapping_that_cannot_be_is_refused_at_the_start(tmp_path: Path, inbound: dict[str, Any], said: str) -> None:
    (tmp_path / "config.json").write_text(json.dumps({"inbound": inbound}))

    with pytest.raises(ConfigError) as refused:
        check_settings(config.load({"MOONGATE_HOME": str(tmp_path)}), {})

    assert said in str(refused.value)


def test_secrets_are_hidden_in_the_log_and_in_what_is_shown(tmp_path: Path) -> None:
    secret = {"secret": ["planted-one", "planted-two"]}
    (tmp_path / "config.json").write_text(json.dumps({"inbound": {"github": secret, "slack": {"secret_env": "S"}}}))
    (tmp_path / ".env").write_text("S=planted-three\n")
    loaded = config.load({"MOONGATE_HOME": str(tmp_path)})

    shown = Shell({"MOONGATE_HOME": str(tmp_path), "PATH": "/usr/bin:/bin"}, tmp_path)("config", "show", "--json")

    assert {"planted-one", "planted-two", "planted-three"} <= set(collect_secrets(loaded, [], {}))
    assert (shown.code, "planted" in shown.out + shown.err) == (0, False)


# --- what the page says -----------------------------------------------------------------------

PAGE = (Path(__file__).parents[2] / "docs" / "webhooks-in.md").read_text()


def block(language: str) -> str:
    """Return the page's first block of code in a language, as it would be copied."""
    found = re.search(rf"^ *```{language}\n(.*?)^ *```", PAGE, re.MULTILINE | re.DOTALL)
    assert found is not None
    return textwrap.dedent(found[1])


async def test_github_starts_a_review_as_the_page_says(tmp_path: Path) -> None:
    environ = {"PATH": "/usr/bin:/bin", "GITHUB_WEBHOOK_SECRET": providers.SHARED_SECRET}
    async with serving(tmp_path, json.loads(block("json")), environ=environ) as served:
        body = BY_NAME["github"].body
        answer = await post(served, "github", body, providers.github(body, providers.SHARED_SECRET, 0))

        (run,) = await runs(served)
        assert (answer.status, run.spec.session) == (202, "main:github:a/b#7")
        assert run.spec.input == (
            "Review pull request 7 of a/b, https://github.example/a/b/pull/7:\nMend it\n\n(no description)"
        )


async def test_the_page_s_script_is_taken(tmp_path: Path) -> None:
    inbound = {"generic": {"secret": "the secret of the entry"}}
    async with serving(tmp_path, {"inbound": inbound}) as served:
        script = block("python").replace("18790", str(served.port))
        await asyncio.to_thread(exec, script, {"print": lambda _: None})

        (run,) = await runs(served)
        assert (run.spec.input, run.spec.session) == ("Build 7 is red: why?", "main:generic:builds")
