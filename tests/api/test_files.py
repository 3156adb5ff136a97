"""`/api/files`: upload, look at, download, delete."""

from __future__ import annotations

import asyncio
import hashlib
import io
import os
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from harness.waiting import until
from tests.api.client import Answer, ask, done, head, raw, read, token
from tests.domain.test_media_type import HTML, SVG, make_png, make_zip_bomb
from tests.support.files_below import list_files
from tests.support.inprocess import Serving, serving

PNG = make_png()


async def upload(
    served: Serving, content: bytes = b"hello", name: str = "a.txt", kind: str = "", **headers: str
) -> Answer:
    sent = {"Content-Type": kind} if kind else {}
    sent |= {key.replace("_", "-"): value for key, value in headers.items()}
    async with served.client.post(
        "/api/files", params={"name": name}, data=io.BytesIO(content), headers=sent, skip_auto_headers=["Content-Type"]
    ) as answer:
        return Answer(answer.status, await answer.json(), answer.headers)


async def uploaded(served: Serving, *given: Any, **more: Any) -> dict[str, Any]:
    answer = await upload(served, *given, **more)
    assert answer.status == 201, answer.body
    found: dict[str, Any] = answer.body["file"]
    return found


async def download(served: Serving, file: str, query: str = "", method: str = "GET", **headers: str) -> Answer:
    """Return the answer with its body as bytes."""
    sent = {key.replace("_", "-"): value for key, value in headers.items()}
    async with served.client.request(method, f"/api/files/{file}{query}", headers=sent) as answer:
        return Answer(answer.status, await answer.read(), answer.headers)


def on_disk(served: Serving) -> list[Path]:
    """Return the contents and drafts that are on disk."""
    return list_files(served.context.config.data_directory / "files")


# --- upload -----------------------------------------------------------------------------------


async def test_an_upload_is_answered_with_what_it_is_and_comes_back_bit_for_bit(moongate: Serving) -> None:
    content = os.urandom(3_000_000)
    file = await uploaded(moongate, content, "../../report.bin", kind="application/x-own")

    sha256 = hashlib.sha256(content).hexdigest()
    told = {"name": "report.bin", "media_type": "application/x-own", "size": len(content), "sha256": sha256}
    assert {key: file[key] for key in told} == told
    assert (await download(moongate, file["id"])).body == content
    assert [path.parent.name + path.name for path in on_disk(moongate)] == [sha256]


async def test_a_form_with_a_file_is_the_same_as_its_content_alone(moongate: Serving) -> None:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("purpose", "assistants")
    form.add_field("file", io.BytesIO(PNG), filename="Gr\u00fc\u00dfe \u65e5.png", content_type="text/html")
    form.add_field("note", "last")
    async with moongate.client.post("/api/files?name=ignored", data=form) as answer:
        body = await answer.json()

    assert answer.status == 201, body
    file = body["file"]
    assert (file["name"], file["media_type"], file["size"]) == ("Gr\u00fc\u00dfe \u65e5.png", "image/png", len(PNG))
    assert (await download(moongate, file["id"])).body == PNG


async def test_a_form_without_a_name_takes_that_of_the_query(moongate: Serving) -> None:
    body = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nhello\r\n--b--\r\n'
    async with moongate.client.post(
        "/api/files?name=q.txt", data=body, headers={"Content-Type": "Multipart/Form-Data; boundary=b"}
    ) as answer:
        file = (await answer.json())["file"]

    assert (file["name"], file["size"], file["media_type"]) == ("q.txt", 5, "text/plain")


PART = b'--b\r\nContent-Disposition: form-data; name="file"\r\n'
FORMS = {
    "without a part `file`": b'--b\r\nContent-Disposition: form-data; name="other"\r\n\r\nx\r\n--b--\r\n',
    "with two": (PART + b"\r\nx\r\n") * 2 + b"--b--\r\n",
    "with another boundary": b'--c\r\nContent-Disposition: form-data; name="file"\r\n\r\nx\r\n--c--\r\n',
    "empty": b"",
    "with no parts": b"--b--\r\n",
    "cut off in its file": PART + b"\r\nx",
    "cut off after its file": PART + b"\r\nx\r\n--b\r\n",
    "cut off in a header": b"--b\r\nContent-Dispo",
    "with a header that is none": b"--b\r\nnonsense\r\n\r\nx\r\n--b--\r\n",
    "of bytes": bytes(range(256)) * 10,
    "nested": b"--b\r\nContent-Type: multipart/mixed; boundary=c\r\n\r\n--c\r\n\r\nx\r\n--c--\r\n--b--\r\n",
    "encoded": PART + b"Content-Transfer-Encoding: base64\r\n\r\neA==\r\n--b--\r\n",
    "compressed": PART + b"Content-Encoding: gzip\r\n\r\nx\r\n--b--\r\n",
    "with a name that is no text": b'--b\r\nContent-Disposition: form-data; name="\xff"\r\n\r\nx\r\n--b--\r\n',
}


@pytest.mark.parametrize("body", FORMS.values(), ids=FORMS)
async def test_a_form_that_is_wrong_is_refused_and_leaves_nothing(moongate: Serving, body: bytes) -> None:
    async with moongate.client.post(
        "/api/files", data=body, headers={"Content-Type": "multipart/form-data; boundary=b"}
    ) as answer:
        told = await answer.json()

    assert (answer.status, told["error"]["code"]) == (400, "INVALID_REQUEST"), told
    assert on_disk(moongate) == []


@pytest.mark.parametrize("boundary", ["", "; boundary=", f"; boundary={'b' * 71}"])
async def test_a_form_without_a_usable_boundary_is_refused(moongate: Serving, boundary: str) -> None:
    kind = f"multipart/form-data{boundary}"
    async with moongate.client.post("/api/files", data=b"--b--", headers={"Content-Type": kind}) as answer:
        assert answer.status == 400, await answer.text()


async def test_a_large_field_beside_the_file_is_refused(moongate: Serving) -> None:
    form = aiohttp.FormData()
    form.add_field("other", io.BytesIO(b"x" * 100_000), filename="x")
    form.add_field("file", io.BytesIO(b"x"), filename="x")
    async with moongate.client.post("/api/files", data=form) as answer:
        assert answer.status == 413


async def test_an_empty_file_is_a_file(moongate: Serving) -> None:
    for data in (None, b""):
        async with moongate.client.post("/api/files", data=data) as answer:
            file = (await answer.json())["file"]
        assert (answer.status, file["size"], file["name"]) == (201, 0, "file")
        got = await download(moongate, file["id"])
        assert (got.status, got.body, got.headers["Content-Length"]) == (200, b"", "0")


NAMES = {
    "../../etc/passwd": "passwd",
    "a\0b": "ab",
    "x" * 300 + ".png": "x" * 196 + ".png",
    "\N{RIGHT-TO-LEFT OVERRIDE}gpj.exe": "gpj.exe",
    "": "file",
    'a"; filename="b.html': "a_; filename=_b.html",
    "a\r\nX-Evil: 1": "aX-Evil_ 1",
}


@pytest.mark.parametrize(("given", "name"), NAMES.items(), ids=ascii)
async def test_a_name_is_made_safe_and_cannot_leave_its_header(moongate: Serving, given: str, name: str) -> None:
    file = await uploaded(moongate, name=given)
    answer = await download(moongate, file["id"])

    assert file["name"] == name
    assert "X-Evil" not in answer.headers
    shown = answer.headers["Content-Disposition"]
    assert shown.startswith("attachment; filename=")
    assert shown.count('"') == 2
    assert aiohttp.multipart.parse_content_disposition(shown)[1]["filename*"] == name


async def test_a_name_that_is_too_long_for_any_name_is_refused(moongate: Serving) -> None:
    assert (await upload(moongate, name="x" * 1001)).status == 400


async def test_the_same_file_a_thousand_times_is_stored_once(moongate: Serving) -> None:
    gate = asyncio.Semaphore(16)

    async def once(number: int) -> str:
        async with gate:
            return str((await uploaded(moongate, b"same", f"{number}.txt"))["id"])

    ids = await asyncio.gather(*(once(number) for number in range(1000)))

    assert len(set(ids)) == 1000
    assert len(on_disk(moongate)) == 1
    assert (await ask(moongate, "GET", "/api/files?limit=1")).body["space"]["used"] == 4


async def test_an_upload_is_repeated_by_its_key_and_another_one_refused(moongate: Serving) -> None:
    first = await uploaded(moongate, b"1", Idempotency_Key="k")
    again = await uploaded(moongate, b"1", Idempotency_Key="k")
    other = await upload(moongate, b"2", Idempotency_Key="k")
    renamed = await upload(moongate, b"1", "b.txt", Idempotency_Key="k")

    assert first == again
    assert (other.status, renamed.status) == (409, 409)
    assert len((await ask(moongate, "GET", "/api/files")).body["files"]) == len(on_disk(moongate)) == 1


# --- limits -----------------------------------------------------------------------------------


async def test_a_file_that_is_too_large_is_refused_before_it_is_sent_if_its_size_is_known(tmp_path: Path) -> None:
    async with serving(tmp_path, {"files": {"size": 2048}}) as served:
        asks = head("POST /api/files", "Content-Length: 2049", "Expect: 100-continue")
        early = await raw(served, asks)
        assert (read(early).status, early.count(b"HTTP/1.1")) == (413, 1)
        assert "files.size" in read(early).message

        async def endless() -> Any:
            while True:
                yield b"x" * 1000

        async with served.client.post("/api/files", data=endless()) as answer:
            assert answer.status == 413
        assert (await upload(served, b"x" * 2049)).status == 413
        assert on_disk(served) == []
        assert (await upload(served, b"x" * 2048)).status == 201


async def test_a_client_that_asks_first_is_told_to_go_on(moongate: Serving) -> None:
    asked = head("POST /api/files?name=a.txt", "Content-Length: 5", "Expect: 100-continue")
    answer = await raw(moongate, asked + b"hello")

    assert answer.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201")
    form = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nhello\r\n--b--\r\n'
    kind = "Content-Type: multipart/form-data; boundary=b"
    asked = head("POST /api/files", kind, f"Content-Length: {len(form)}", "Expect: 100-continue")
    assert (await raw(moongate, asked + form)).startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 201")


async def test_a_chunked_upload_is_one_and_an_encoded_one_is_refused(moongate: Serving) -> None:
    chunked = head("POST /api/files?name=a.txt", "Transfer-Encoding: chunked") + b"3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n"
    assert read(await raw(moongate, chunked)).body["file"]["size"] == 5

    for kind in ("text/plain", "multipart/form-data; boundary=b"):
        for coding in ("gzip", "deflate", "br", "identity"):
            asked = head("POST /api/files", f"Content-Type: {kind}", "Content-Length: 5", f"Content-Encoding: {coding}")
            assert read(await raw(moongate, asked + b"hello")).status == 415
    assert len(on_disk(moongate)) == 1


@pytest.mark.parametrize(
    "sent",
    [
        head("POST /api/files", "Content-Length: 1000000") + b"x" * 500_000,
        head("POST /api/files", "Transfer-Encoding: chunked") + b"%x\r\n%b\r\n" % (400_000, b"x" * 400_000),
        head("POST /api/files", "Transfer-Encoding: chunked") + b"%x\r\n%b" % (500_000, b"x" * 400_000),
        head("POST /api/files", "Content-Type: multipart/form-data; boundary=b", "Content-Length: 999999")
        + b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\n'
        + b"x" * 400_000,
    ],
)
async def test_an_upload_that_breaks_off_leaves_nothing(moongate: Serving, sent: bytes) -> None:
    await raw(moongate, sent, half_close=True)
    await until(lambda: on_disk(moongate) == [], "nothing is left")
    _, writer = await asyncio.open_connection("127.0.0.1", moongate.port)
    writer.write(sent)
    await until(lambda: on_disk(moongate) != [], "its draft is there")
    writer.transport.abort()

    await until(lambda: on_disk(moongate) == [], "nothing is left")
    assert (await ask(moongate, "GET", "/api/files")).body["files"] == []


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data; boundary=b"])
async def test_an_upload_that_stops_coming_is_ended(tmp_path: Path, kind: str) -> None:
    form = b'--b\r\nContent-Disposition: form-data; name="file"\r\n\r\nhello'
    async with serving(tmp_path, {"limits": {"body_seconds": 0.3}}) as served:
        answer = await raw(served, head("POST /api/files", f"Content-Type: {kind}", "Content-Length: 9999") + form)

        assert (read(answer).status, on_disk(served)) == (504, [])


async def test_an_upload_that_only_trickles_is_ended(tmp_path: Path) -> None:
    async with serving(tmp_path, {"limits": {"body_seconds": 0.5}}) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head("POST /api/files", "Content-Length: 9999"))
        answering = asyncio.ensure_future(reader.readuntil(b"\r\n"))
        while not answering.done():  # never silent for as long as it may be
            writer.write(b"x")
            await asyncio.sleep(0.05)

        assert (await answering).startswith(b"HTTP/1.1 504 ")
        writer.close()


async def test_a_full_quota_refuses_with_507_what_is_not_there_yet(tmp_path: Path) -> None:
    async with serving(tmp_path, {"files": {"quota": 2048}}) as served:
        await uploaded(served, b"x" * 2000)
        refused = await upload(served, b"y" * 100)
        message = {"message": "hi", "attachments": [{"name": "a", "data": "eHh4" * 100}]}
        told = await ask(served, "POST", "/api/agent", message)

        assert [(one.status, one.code) for one in (refused, told)] == [(507, "STORAGE_FULL")] * 2
        assert "files.quota" in refused.message
        assert len(on_disk(served)) == 1
        assert (await ask(served, "GET", "/api/tasks")).body["tasks"] == []
        await uploaded(served, b"x" * 2000, "again.txt")


async def test_a_full_disk_is_507_at_each_step_and_leaves_nothing(
    moongate: Serving, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*args: object) -> None:
        raise OSError(28, "No space left on device")

    for step in ("write", "fsync", "link"):
        with monkeypatch.context() as patch:
            patch.setattr(f"gateway.store.file_directory.os.{step}", refuse)
            answer = await upload(moongate)
        assert (answer.status, answer.code, on_disk(moongate)) == (507, "STORAGE_FULL", []), step


# --- download ---------------------------------------------------------------------------------


async def test_a_picture_is_shown_and_everything_else_is_saved(moongate: Serving) -> None:
    for content, kind, name, expected in (
        (PNG, "text/html", "page.html", ("image/png", "inline")),
        (HTML, "image/png", "a.png", ("text/html", "attachment")),
        (SVG, "image/svg+xml", "a.svg", ("image/svg+xml", "attachment")),
        (SVG, "image/png", "a.png", ("image/svg+xml", "attachment")),
        (make_zip_bomb(), "image/gif", "a.gif", ("application/zip", "attachment")),
        (b"%PDF-1.7\n", "", "a.pdf", ("application/pdf", "attachment")),
        (b"hello", "", "a.txt", ("text/plain", "attachment")),
    ):
        file = await uploaded(moongate, content, name, kind)
        answer = await download(moongate, file["id"])
        disposition = answer.headers["Content-Disposition"].partition(";")[0]
        assert (answer.headers["Content-Type"], disposition) == expected
        assert answer.headers["X-Content-Type-Options"] == "nosniff"
        assert answer.headers["Content-Security-Policy"] == "sandbox; default-src 'none'; frame-ancestors 'none'"
        assert answer.body == content
        saved = await download(moongate, file["id"], "?download=true")
        assert saved.headers["Content-Disposition"].startswith("attachment;")


async def test_an_archive_is_stored_as_it_is_and_never_unpacked(moongate: Serving) -> None:
    bomb = make_zip_bomb()
    await uploaded(moongate, bomb, "bomb.zip", "application/zip")

    assert [path.stat().st_size for path in on_disk(moongate)] == [len(bomb)]


async def test_a_file_is_kept_by_browsers_and_asked_for_again_by_its_hash(moongate: Serving) -> None:
    file = await uploaded(moongate, PNG)
    first = await download(moongate, file["id"])
    tag = f'"{file["sha256"]}"'

    assert first.headers["ETag"] == tag
    assert first.headers["Cache-Control"] == "private, max-age=3600, immutable"
    assert first.headers["Vary"] == "Authorization, Cookie"
    assert "Last-Modified" not in first.headers
    for condition in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        again = await download(moongate, file["id"], If_None_Match=condition)
        assert (again.status, again.body, again.headers["ETag"]) == (304, b"", tag), condition
    assert (await download(moongate, file["id"], If_None_Match='"other"')).body == PNG
    assert (await download(moongate, file["id"], If_Match=tag)).status == 200
    assert (await download(moongate, file["id"], If_Match='"other"')).status == 412
    missing = await download(moongate, "0" * 26)
    assert (missing.status, missing.headers["Cache-Control"]) == (404, "no-store")


@pytest.mark.parametrize(
    ("given", "status", "part"),
    [
        ("bytes=0-0", 206, slice(0, 1)),
        ("bytes=2-", 206, slice(2, None)),
        ("bytes=-3", 206, slice(-3, None)),
        ("bytes=-9999", 206, slice(0, None)),
        ("bytes=5-9999", 206, slice(5, None)),
        ("bytes=10-", 416, None),
        ("bytes=-0", 200, slice(None)),
        ("bytes=5-2", 416, None),
        ("bytes=0-1,4-5", 200, slice(None)),
        ("bytes=0-0,-1", 200, slice(None)),
        ("lines=1-2", 200, slice(None)),
        ("bytes=", 200, slice(None)),
        ("nonsense", 200, slice(None)),
    ],
)
async def test_a_part_of_a_file(moongate: Serving, given: str, status: int, part: slice | None) -> None:
    content = b"0123456789"
    file = await uploaded(moongate, content)
    answer = await download(moongate, file["id"], Range=given)

    assert answer.status == status, answer.headers
    assert answer.headers.get("Accept-Ranges") == ("bytes" if status < 400 else None)
    if part is None:
        assert answer.headers["Content-Range"] == "bytes */10"
        assert answer.headers["Cache-Control"] == "no-store"
    else:
        assert answer.body == content[part]
        assert answer.headers["ETag"] == f'"{file["sha256"]}"'


async def test_a_head_request_is_answered_without_the_content(moongate: Serving) -> None:
    file = await uploaded(moongate, b"0123456789")
    answer = await download(moongate, file["id"], method="HEAD")

    assert (answer.status, answer.body, answer.headers["Content-Length"]) == (200, b"", "10")
    assert answer.headers["ETag"] == f'"{file["sha256"]}"'


async def test_a_content_that_somebody_has_removed_is_a_clear_error_everywhere(moongate: Serving) -> None:
    file = await uploaded(moongate, b"gone")
    on_disk(moongate)[0].unlink()

    answer = await ask(moongate, "GET", f"/api/files/{file['id']}")
    assert (answer.status, answer.code) == (404, "FILE_NOT_FOUND")
    asked = {"input": "@@ read", "attachments": [{"file": file["id"]}]}
    task = (await ask(moongate, "POST", "/api/tasks", asked)).body["task"]
    ended = await done(moongate, task["id"])
    assert ended["status"] == "failed"
    assert "cannot be read" in ended["error"]


# --- list and delete --------------------------------------------------------------------------


async def test_files_are_listed_newest_first_in_pages(moongate: Serving) -> None:
    stored = [(await uploaded(moongate, bytes([number]), f"{number}"))["id"] for number in range(5)]
    first = (await ask(moongate, "GET", "/api/files?limit=3")).body
    rest = (await ask(moongate, "GET", f"/api/files?limit=3&cursor={first['next_cursor']}")).body

    assert [file["id"] for page in (first, rest) for file in page["files"]] == stored[::-1]
    assert rest["next_cursor"] is None
    shown = (await ask(moongate, "GET", f"/api/files/{stored[0]}/info")).body["file"]
    assert shown == rest["files"][-1]


async def test_an_unused_file_is_deleted_with_its_content(moongate: Serving) -> None:
    file = await uploaded(moongate)

    assert (await ask(moongate, "DELETE", f"/api/files/{file['id']}")).status == 200
    for method, path in (("GET", ""), ("GET", "/info"), ("DELETE", "")):
        answer = await ask(moongate, method, f"/api/files/{file['id']}{path}")
        assert (answer.status, answer.code) == (404, "FILE_NOT_FOUND")
    assert on_disk(moongate) == []


async def test_a_file_cannot_be_deleted_while_a_run_reads_it_nor_after(moongate: Serving) -> None:
    file = await uploaded(moongate)
    asked = {"input": "@@ sleep 0.2\n@@ read", "attachments": [{"file": file["id"]}]}
    task = (await ask(moongate, "POST", "/api/tasks", asked)).body["task"]
    answer = await ask(moongate, "DELETE", f"/api/files/{file['id']}")
    assert (answer.status, answer.code) == (409, "CONFLICT")

    ended = await done(moongate, task["id"])

    assert ended["result"].strip() == file["sha256"]
    assert (await ask(moongate, "DELETE", f"/api/files/{file['id']}")).status == 409


async def test_a_token_that_may_only_read_cannot_upload_or_delete(moongate: Serving) -> None:
    file = await uploaded(moongate)
    reader = await token(moongate, "reader", "read")
    bearer = {"Authorization": f"Bearer {reader}"}

    assert (await upload(moongate, **bearer)).status == 403
    assert (await ask(moongate, "DELETE", f"/api/files/{file['id']}", token=reader)).status == 403
    assert (await download(moongate, file["id"], **bearer)).status == 200
    assert (await ask(moongate, "GET", "/api/files", token=reader)).status == 200
    assert len(on_disk(moongate)) == 1


async def test_a_refused_upload_is_not_received(moongate: Serving) -> None:
    """Who has no token sends no file: the answer comes before the body."""
    asked = head("POST /api/files", "Content-Length: 20000000", "Expect: 100-continue", bearer="wrong" * 6)
    answer = await raw(moongate, asked)

    assert (read(answer).status, answer.count(b"HTTP/1.1")) == (401, 1)
