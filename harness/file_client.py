"""A client that sends and gets files: raw, as a multipart form, and inside JSON."""

from __future__ import annotations

import base64
import hashlib
import http.client
import json
from collections.abc import Mapping, Sequence
from typing import Any

from harness.live_gateway import Answer, Live
from harness.waiting import PATIENCE

_BOUNDARY = "a-line-that-no-file-of-a-test-has"


def exchange(
    live: Live,
    method: str,
    path: str,
    body: bytes | Sequence[bytes] | None = None,
    headers: Mapping[str, str] | None = None,
) -> tuple[int, bytes]:
    """Send one request over a connection of its own; return the status and the body as it came.

    Args:
        body: in several parts, so that many requests can share one; then a header must tell its length.
    """
    connection = http.client.HTTPConnection("127.0.0.1", live.port, timeout=PATIENCE)
    try:
        connection.request(method, path, body, {"Authorization": f"Bearer {live.token}", **(headers or {})})
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def upload(live: Live, data: bytes, name: str, *, key: str = "", as_form: bool = False) -> Answer:
    """Upload a file: as the body, or as a part of a form."""
    headers = {"Idempotency-Key": key} if key else {}
    if not as_form:
        headers["Content-Type"] = "application/octet-stream"
        return _parse(*exchange(live, "POST", f"/api/files?name={name}", data, headers))
    headers["Content-Type"] = f"multipart/form-data; boundary={_BOUNDARY}"
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'
    body = b"".join((head.encode(), data, f"\r\n--{_BOUNDARY}--\r\n".encode()))
    return _parse(*exchange(live, "POST", "/api/files", body, headers))


def inline(data: bytes, name: str) -> dict[str, str]:
    """Return an attachment that has its content in itself."""
    return {"name": name, "data": base64.b64encode(data).decode()}


def submit(live: Live, path: str, body: Mapping[str, Any], *, key: str = "") -> Answer:
    """Send a message with attachments."""
    headers = {"Content-Type": "application/json", **({"Idempotency-Key": key} if key else {})}
    return _parse(*exchange(live, "POST", path, json.dumps(body).encode(), headers))


def download(live: Live, file: str) -> bytes:
    """Return the content of a file, which must be there."""
    status, data = exchange(live, "GET", f"/api/files/{file}")
    assert status == 200, (file, status, data[:200])
    return data


def hash_content(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _parse(status: int, body: bytes) -> Answer:
    return Answer(status, json.loads(body), {})
