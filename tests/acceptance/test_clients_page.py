"""The client of docs/clients.md works as the page says, with the standard library alone."""

from __future__ import annotations

import http.server
import json
import os
import re
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from harness.live_gateway import Live
from harness.waiting import PATIENCE

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
CLIENT = re.findall(r"^```python\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[0]


def run_client(url: str, token: str | None, env: dict[str, str], tmp_path: Path) -> subprocess.CompletedProcess[str]:
    file = tmp_path / "client.py"
    file.write_text(CLIENT)
    given = {"MOONGATE_URL": url, **({"MOONGATE_TOKEN": token} if token else {})}
    environment = {**env, **given, "PATH": f"{Path(sys.executable).parent}:{os.environ.get('PATH', '')}"}
    return subprocess.run(
        [sys.executable, "-I", str(file)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=4 * PATIENCE,
        check=False,
    )


def test_the_client_finds_the_token_and_prints_the_answer(live: Callable[..., Live], tmp_path: Path) -> None:
    own = live().start()

    done = run_client(own.url, None, own.env, tmp_path)

    assert (done.stdout, done.stderr) == ("echo: What is 2+2?\n", "")


def test_the_client_repeats_what_passes_with_the_same_key_and_not_what_stays(tmp_path: Path) -> None:
    with answering([503, 507, 429, 200]) as (url, keys):
        passed = run_client(url, "t", dict(os.environ), tmp_path)
    with answering([400]) as (wrong_url, wrong_keys):
        refused = run_client(wrong_url, "t", dict(os.environ), tmp_path)

    assert (passed.stdout, len(keys), len(set(keys))) == ("done\n", 4, 1)
    assert len(wrong_keys) == 1
    assert "RuntimeError: no." in refused.stderr


@contextmanager
def answering(statuses: Sequence[int]) -> Iterator[tuple[str, list[str]]]:
    """A server that answers with one status after the other. Yields its URL, and the keys of the requests."""
    keys: list[str] = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            status = statuses[len(keys)]
            keys.append(self.headers["Idempotency-Key"])
            body = json.dumps({"reply": "done"} if status == 200 else {"error": {"message": "no."}}).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Retry-After", "0")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments: object) -> None: ...

    server = http.server.HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}", keys
    finally:
        server.shutdown()
        server.server_close()
        thread.join(PATIENCE)
