"""Clients that others make: generated from `/openapi.json`, and OpenAI's SDKs of today."""

from __future__ import annotations

import hashlib
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

from gateway.api import openapi
from gateway.api.routing import discover_routes
from harness.live_gateway import Live
from tests.support import clients
from tests.support.thorough import leave_out_on_push

pytestmark = pytest.mark.clients

PROGRAMS = Path(__file__).parents[1] / "data" / "clients"
ROOT = Path(__file__).parents[2]


@pytest.fixture
def gateway(tmp_path: Path) -> Iterator[Live]:
    live = Live(tmp_path / "home").start()
    yield live
    live.close()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the document."""
    made = tmp_path / "client"
    made.mkdir()
    (made / "openapi.json").write_text(json.dumps(openapi.build_document(discover_routes())))
    return made


def told(live: Live) -> Mapping[str, str]:
    return {"MOONGATE_URL": live.url, "MOONGATE_TOKEN": live.token}


def test_the_document_has_no_errors(folder: Path) -> None:
    program = clients.node_package("@redocly/cli") / "bin" / "cli.js"

    clients.run_node(str(program), "lint", "openapi.json", cwd=folder)


def test_a_client_for_python_can_be_generated_and_works(gateway: Live, folder: Path) -> None:
    packages = clients.python_packages("openapi-python-client")
    (folder / "generator.json").write_text(json.dumps({"post_hooks": []}))
    generator = ["-m", "openapi_python_client", "generate", "--path", "openapi.json", "--config", "generator.json"]

    generated = clients.run_python(packages, *generator, "--output-path", "made", cwd=folder)
    (folder / "moongate_client").symlink_to(folder / "made" / "moongate_client")

    assert "Warning" not in generated, "a part of the API is missing in the client"
    used = clients.run_python(packages, str(PROGRAMS / "generated.py"), cwd=folder, env=told(gateway))
    assert used.split("\n")[0] == "echo: Hello True 404"


def test_a_client_for_typescript_can_be_generated_and_works(gateway: Live, folder: Path) -> None:
    generator = clients.node_package("openapi-typescript") / "bin" / "cli.js"
    compiler = clients.node_package("typescript") / "bin" / "tsc"
    clients.node_package("openapi-fetch")
    (folder / "generated.mts").write_text((PROGRAMS / "generated.ts").read_text())

    clients.run_node(str(generator), "openapi.json", "--output", "schema.d.ts", cwd=folder)
    options = {"strict": True, "target": "es2022", "module": "preserve", "lib": ["es2022", "dom"], "types": []}
    (folder / "tsconfig.json").write_text(json.dumps({"compilerOptions": options, "files": ["generated.mts"]}))
    clients.run_node(str(compiler), cwd=folder)

    assert clients.run_node("generated.mjs", cwd=folder, env=told(gateway)).strip() == "echo: Hello true 404"


def test_openais_sdk_for_javascript_works(gateway: Live, folder: Path) -> None:
    clients.node_package("openai")
    (folder / "openai.mjs").write_text((PROGRAMS / "openai.mjs").read_text())

    assert clients.run_node("openai.mjs", cwd=folder, env=told(gateway)).splitlines() == [
        "echo: Hello",
        "w0 w1 w2 w3 w4 ",
        "echo: Hello js",
        "response.completed echo: Hello",
        " ".join([hashlib.sha256(b"hello").hexdigest()] * 2),
        "![b.gif] message image_generation_call GIF89a",
        "cancelled",
        "424 true",
    ]


@leave_out_on_push
def test_the_next_generation_of_openais_sdk_for_python_works() -> None:
    """The tests of the API use one generation of the SDK; here they use the other, each with all calls that it makes.

    Cases that differ only in the data of the same calls are left out, for time: the SDK passes these data on.
    """
    packages = clients.python_packages("openai-3")
    modules = [f"tests/api/compat/test_openai{what}.py" for what in ("", "_files")]
    tests = ["-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:randomly", *modules]
    tests += ["-p", "tests.support.one_case_each"]

    done = clients.run_program(sys.executable, *tests, cwd=ROOT, env={"PYTHONPATH": str(packages)})

    assert " passed" in done
    assert "skipped" not in done
