"""The client of a gateway's HTTP API."""

from __future__ import annotations

import io
import json
import signal
import threading
from http.client import HTTPResponse
from typing import Any

import pytest

from cli.instance import Instance
from cli.remote import client, local_link
from cli.remote.client import GatewayClient
from cli.remote.local_link import LocalLink
from gateway import errors
from gateway.errors import (
    InvalidRequest,
    NotRunning,
    RunNotFound,
    StorageFull,
    Unauthorized,
    Unavailable,
)
from harness.live_gateway import Live
from harness.waiting import PATIENCE


def test_errors_are_known_by_their_code_on_the_wire() -> None:
    assert client._ERRORS_BY_CODE["RUN_NOT_FOUND"] is errors.RunNotFound
    assert client._ERRORS_BY_CODE["INVALID_REQUEST"] is errors.InvalidRequest
    assert client._ERRORS_BY_CODE["FORBIDDEN"] is errors.Forbidden


def test_an_error_is_raised_as_what_it_is(served: Live) -> None:
    with pytest.raises(RunNotFound):
        GatewayClient(LocalLink(Instance.from_environment(served.env))).get("/api/tasks/01ZZZ")


def test_pages_are_put_together_up_to_the_limit(served: Live) -> None:
    own = GatewayClient(LocalLink(Instance.from_environment(served.env)))
    made = [own.post("/api/tasks", {"input": "x", "labels": {"paged": "1"}})["task"]["id"] for _ in range(5)]

    def listed(limit: int) -> tuple[list[str], bool]:
        page = own.get_pages("/api/tasks", "tasks", limit, label="paged")
        return [task["id"] for task in page["tasks"]], page["next_cursor"] is not None

    assert listed(3) == (made[:1:-1], True)
    assert listed(50) == (made[::-1], False)


def test_a_token_beyond_latin_1_is_sent_and_refused_like_any_other(served: Live) -> None:
    own = GatewayClient(LocalLink(Instance.from_environment({**served.env, "MOONGATE_TOKEN": "пароль"})))

    with pytest.raises(Unauthorized, match="MOONGATE_TOKEN"):
        own.get("/api/agents")


def test_without_a_token_it_says_how_to_give_one(served: Live, tmp_path_factory: pytest.TempPathFactory) -> None:
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    (elsewhere / "locks").symlink_to(served.home / "locks")
    own = GatewayClient(
        LocalLink(Instance.from_environment({"MOONGATE_HOME": str(elsewhere), "MOONGATE_CONFIG": str(served.config)}))
    )

    with pytest.raises(Unauthorized, match="none was found"):
        own.get("/api/agents")


def test_a_call_goes_to_the_gateway_that_came_back(alone: tuple[Live, object], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_link, "FIRST_ANSWER_SECONDS", PATIENCE)
    live, _ = alone
    live.start()
    own = GatewayClient(LocalLink(Instance.from_environment(live.env)))
    live.kill()
    starting = threading.Thread(target=live.start)
    starting.start()

    assert [agent["id"] for agent in own.get("/api/agents")["agents"]] == ["main"]
    starting.join()


def test_a_call_to_a_gateway_that_is_gone_for_good_ends(
    alone: tuple[Live, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_link, "FIRST_ANSWER_SECONDS", 0.1)
    live, _ = alone
    live.start()
    own = GatewayClient(LocalLink(Instance.from_environment(live.env)))
    live.kill()

    with pytest.raises(NotRunning):
        own.get("/api/agents")


def test_a_run_is_followed_only_so_long_without_a_gateway(
    alone: tuple[Live, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(client, "RETURN_TIMEOUT_SECONDS", 0.1)
    live, _ = alone
    live.start()
    own = GatewayClient(LocalLink(Instance.from_environment(live.env)))
    run = own.post("/api/tasks", {"input": "@@ hang"})["task"]["id"]
    told: list[str] = []
    events = own.follow_events(run, told.append)
    next(events)
    live.kill()

    with pytest.raises(NotRunning) as raised:
        list(events)

    assert raised.value.remedy == f"Start it: gateway start\nThen: gateway tasks watch {run}"
    assert told == ["The gateway is gone; waiting 0.1s for it. The task is kept."]


def test_a_gateway_that_does_not_answer_is_named_by_its_pid(
    alone: tuple[Live, object], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local_link, "FIRST_ANSWER_SECONDS", 0.0)
    monkeypatch.setattr("cli.remote.probe.PROBE_TIMEOUT_SECONDS", 0.1)
    live, _ = alone
    live.start()
    assert live.process is not None
    generation = live.generation
    live.signal(signal.SIGSTOP)  # so that the supervisor does not start another one
    live.signal(signal.SIGSTOP, generation)
    with pytest.raises(NotRunning, match=f"pid {live.process.pid}"):
        GatewayClient(LocalLink(Instance.from_environment(live.env)))


def test_words_that_are_not_the_gateways_are_not_taken_for_its(served: Live) -> None:
    error = GatewayClient(LocalLink(Instance.from_environment(served.env)))._read_error(
        502, b"<html>Bad Gateway</html>"
    )

    assert type(error) is Unavailable
    assert error.remedy == "Does the gateway run behind the proxy?"
    assert "502" in error.message


def test_an_upload_whose_answer_is_lost_is_sent_again_and_is_one_file(
    served: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = GatewayClient(LocalLink(Instance.from_environment(served.env)))
    send, lost = own._send_request, []

    def lose_first_answer(method: str, *arguments: Any) -> HTTPResponse:
        answer = send(method, *arguments)
        if method == "POST" and not lost:
            lost.append(answer.read())
            raise ConnectionResetError
        return answer

    monkeypatch.setattr(own, "_send_request", lose_first_answer)
    sent = own.upload_file("once.bin", io.BytesIO(bytes(1 << 20)), 1 << 20, lambda size: None)["file"]

    listed = [file["id"] for file in own.get_pages("/api/files", "files", 1000)["files"] if file["name"] == "once.bin"]
    assert (len(lost), listed) == (1, [sent["id"]])


def test_a_file_that_is_refused_before_it_was_sent_is_an_error_with_the_reason(alone: tuple[Live, object]) -> None:
    live, _ = alone
    live.config.write_text(json.dumps({**json.loads(live.config.read_text()), "files": {"quota": 2000}}))
    live.start()
    own = GatewayClient(LocalLink(Instance.from_environment(live.env)))
    size = 20_000_000

    with pytest.raises(StorageFull, match=r"files\.quota"):
        own.upload_file("large.bin", io.BytesIO(bytes(size)), size, lambda sent: None)


def test_a_file_that_becomes_shorter_while_it_is_sent_is_not_stored(served: Live) -> None:
    own = GatewayClient(LocalLink(Instance.from_environment(served.env)))

    with pytest.raises(InvalidRequest, match="became shorter"):
        own.upload_file("short.bin", io.BytesIO(bytes(10)), 11, lambda sent: None)
    assert "short.bin" not in [file["name"] for file in own.get_pages("/api/files", "files", 1000)["files"]]


def test_a_download_goes_on_where_the_connection_broke(served: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    own = GatewayClient(LocalLink(Instance.from_environment(served.env)))
    content = bytes(range(256)) * 8192
    sent = own.upload_file("broken.bin", io.BytesIO(content), len(content), lambda size: None)["file"]
    read, pieces = HTTPResponse.read1, list[bytes]()

    def break_second_read(answer: HTTPResponse, size: int = -1) -> bytes:
        if len(pieces) == 1:
            pieces.append(b"")
            raise ConnectionResetError
        return read(answer, size)

    monkeypatch.setattr(HTTPResponse, "read1", break_second_read)
    own.download_file(sent["id"], pieces.append)

    assert pieces[1] == b""
    assert b"".join(pieces) == content


def test_a_download_that_ends_early_twice_is_an_error(served: Live, monkeypatch: pytest.MonkeyPatch) -> None:
    own = GatewayClient(LocalLink(Instance.from_environment(served.env)))
    sent = own.upload_file("ends.bin", io.BytesIO(b"content"), 7, lambda size: None)["file"]
    monkeypatch.setattr(HTTPResponse, "read1", lambda answer, size=-1: b"")

    with pytest.raises(Unavailable):
        own.download_file(sent["id"], lambda piece: None)
