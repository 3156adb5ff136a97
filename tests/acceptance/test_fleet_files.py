"""Files with `store.url`: what one gateway received, another one on another machine returns."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
import urllib.request
from collections.abc import Callable

import pytest

from harness.live_gateway import Live
from harness.waiting import PATIENCE
from tests.support import postgres

pytestmark = pytest.mark.slow

CONTENT = bytes(range(256)) * 20_000
#: says how many bytes it got, and hands them back as a file
AGENT = """
import os, pathlib, shutil
given = pathlib.Path(os.environ["MOONGATE_ATTACHMENTS"].splitlines()[0])
shutil.copy(given, pathlib.Path(os.environ["MOONGATE_OUTBOX"]) / "back.bin")
print(given.stat().st_size)
"""


@pytest.fixture
def both(live: Callable[..., Live]) -> tuple[Live, Live]:
    """Two gateways with homes of their own, and one database."""
    command = [sys.executable, "-I", "-S", "-c", AGENT]
    config = {
        "store": {"url": postgres.shared_server().url(postgres.create_database())},
        "agents": {"list": [{"id": "main", "backend": "command", "command": command}]},
    }
    return live("one", config=config).start(), live("two", config=config).start()


def upload(gateway: Live, content: bytes = CONTENT) -> str:
    """Upload a file as curl does, and return its id."""
    request = urllib.request.Request(f"{gateway.url}/api/files?name=a.bin", data=content, method="POST")
    request.add_header("Authorization", f"Bearer {gateway.token}")
    request.add_header("Content-Type", "application/octet-stream")
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return str(json.load(response)["file"]["id"])


def download(gateway: Live, file: str, **headers: str) -> bytes:
    request = urllib.request.Request(f"{gateway.url}/api/files/{file}", headers=headers)
    request.add_header("Authorization", f"Bearer {gateway.token}")
    with urllib.request.urlopen(request, timeout=PATIENCE) as response:
        return bytes(response.read())


def test_what_was_uploaded_to_one_gateway_is_downloaded_from_another(both: tuple[Live, Live]) -> None:
    first, second = both
    file = upload(first)

    assert download(second, file) == CONTENT
    assert download(second, file, Range="bytes=1000-1999") == CONTENT[1000:2000]

    shutil.rmtree(second.home / "data" / "file-cache")
    assert download(second, file) == CONTENT
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    (second.home / "data" / "file-cache" / sha256[:2] / sha256[2:]).write_bytes(b"damaged")
    assert download(second, file) == CONTENT
    assert not (first.home / "data" / "files").exists()


def test_an_agent_gets_a_file_and_its_own_are_downloaded_whichever_gateway_runs_it(both: tuple[Live, Live]) -> None:
    first, _ = both
    attachments = [{"file": upload(first)}]
    question = {"message": "How large is it?", "attachments": attachments, "wants_files": True}
    answers = [gateway.call("POST", "/api/agent", question).body for gateway in both]

    assert [answer["reply"].strip() for answer in answers] == [str(len(CONTENT))] * 2
    for answer in answers:
        (made,) = answer["files"]
        assert [download(gateway, made["id"]) for gateway in both] == [CONTENT] * 2


def test_a_file_that_was_deleted_through_one_gateway_is_gone_on_the_other(both: tuple[Live, Live]) -> None:
    first, second = both
    file = upload(first)
    assert download(second, file) == CONTENT

    assert second.call("DELETE", f"/api/files/{file}").status == 200

    assert first.call("GET", f"/api/files/{file}").status == 404


def test_a_file_outlives_the_machine_that_received_it(both: tuple[Live, Live]) -> None:
    first, second = both
    file = upload(first)
    first.kill()
    shutil.rmtree(first.home / "data")

    assert download(second, file) == CONTENT
