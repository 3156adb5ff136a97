"""A program that stands in for opencode 2: a scripted server of version 2, and the real opencode for everything else.

It is scripted because no opencode 2 can be installed here. `serve` answers `GET /api/info` as the sources of opencode 2
say, wants the password, and answers every other request with a web page and status 200; it writes its PID to the file
that SCRIPTED_SERVE names. Every other subcommand, such as `acp`, is the real program that REAL_OPENCODE names.
"""

from __future__ import annotations

import base64
import json
import os
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

SCRIPTED_VERSION = "2.0.7"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        said = base64.b64encode(f"opencode:{os.environ['OPENCODE_SERVER_PASSWORD']}".encode()).decode()
        if self.headers.get("Authorization") != f"Basic {said}":
            self._answer(401, "text/plain", b"")
        elif self.path == "/api/info":
            told = {"version": SCRIPTED_VERSION, "pid": os.getpid(), "urls": [], "paths": {"tmp": "/tmp"}}
            self._answer(200, "application/json", json.dumps(told).encode())
        else:
            self._answer(200, "text/html", b"<!doctype html><html></html>")

    do_POST = do_GET  # noqa: N815 the name that http.server calls

    def _answer(self, status: int, kind: str, data: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


def main() -> None:
    if sys.argv[1:] == ["--version"]:
        print(SCRIPTED_VERSION)
    elif sys.argv[1:2] == ["serve"]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
        with open(os.environ["SCRIPTED_SERVE"], "a") as file:
            file.write(f"{os.getpid()}\n")
        print(f"server listening on http://127.0.0.1:{server.server_port}", flush=True)
        server.serve_forever()
    else:
        program = os.environ["REAL_OPENCODE"]
        os.execv(program, [program, *sys.argv[1:]])


if __name__ == "__main__":
    main()
