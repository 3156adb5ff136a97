"""What opencode's own process prints at its start; no opencode is needed."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from gateway.backends.opencode import server
from gateway.errors import AgentError
from gateway.process.child import Children
from harness.waiting import PATIENCE
from tests.support.fixtures import children, ledger

__all__ = ["children", "ledger"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs here are POSIX shell scripts")


async def test_the_address_is_found_in_a_line_with_colours(children: Children) -> None:
    program = r"printf '\033]0;opencode\007opencode server listening on \033[36mhttp://127.0.0.1:4321\033[0m\r\n'; cat"
    child = await children.spawn_child(["sh", "-c", program], cwd="/", env=children.make_environment({}))

    assert await server._read_url(child, PATIENCE) == "http://127.0.0.1:4321"
    await child.stop_group()


async def test_what_the_program_printed_before_it_ended_is_in_the_error(children: Children, tmp_path: Path) -> None:
    program = tmp_path / "opencode"
    program.write_text("#!/bin/sh\nprintf '\\033[31mbad config\\033[0m\\n'; exit 3\n")
    program.chmod(0o755)

    with pytest.raises(AgentError, match=r"ended with status 3\. It wrote: bad config$"):
        await server.launch_server(
            children, [str(program)], children.make_environment({}), tmp_path / "directory", PATIENCE
        )
