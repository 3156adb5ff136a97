"""What a real agent leaves in its outbox, and cannot do with it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.api.client import ask, done
from tests.support.inprocess import serving

#: fills the outbox with what is no file, more files than a message may have, and two that are good
SCRIPT = """
cat > /dev/null
cd "$MOONGATE_OUTBOX"
ln -s /etc/passwd link; ln -s /etc directory; mkfifo pipe; : > "$(printf 'bad\\377\\nname')"
mkdir deep; echo good > deep/chart.txt
echo done
"""
MANY = """
cat > /dev/null
cd "$MOONGATE_OUTBOX"
i=0; while [ $i -lt 3000 ]; do : > $i; i=$((i+1)); done
echo done
"""
REPLACED = """
cat > /dev/null
rmdir "$MOONGATE_OUTBOX"; ln -s /etc "$MOONGATE_OUTBOX"
echo done
"""


async def run(directory: Path, script: str) -> tuple[dict[str, object], list[str]]:
    """Run a script as an agent; return its task and the warnings in its log."""
    agent = {"id": "main", "backend": "command", "command": ["sh", "-c", script]}
    async with serving(directory, {"agents": {"list": [agent]}}) as served:
        task = (await ask(served, "POST", "/api/tasks", {"input": "go"})).body["task"]
        ended = await done(served, task["id"])
        log = await ask(served, "GET", f"/api/tasks/{task['id']}/events", Accept="application/json")
    told = [event["data"] for event in log.body["events"]]
    return ended, [event["message"] for event in told if event["kind"] == "log" and event["level"] == "warning"]


pytestmark = pytest.mark.skipif(os.name != "posix", reason="links and pipes of POSIX")


async def test_links_and_pipes_are_not_followed_and_told_of_and_files_are_kept(tmp_path: Path) -> None:
    task, warnings = await run(tmp_path, SCRIPT)

    assert (task["status"], task["result"]) == ("succeeded", "done")
    assert [file["name"] for file in task["files"]] == ["bad_name", "chart.txt"]  # type: ignore[attr-defined]
    assert sorted(warnings) == [f"outbox: '{name}' is not a file." for name in ("directory", "link", "pipe")]


async def test_more_files_than_a_message_may_have_are_told_of_in_few_words(tmp_path: Path) -> None:
    task, warnings = await run(tmp_path, MANY)

    assert (task["status"], len(task["files"])) == ("succeeded", 10)  # type: ignore[arg-type]
    assert len(warnings) <= 21
    assert warnings[0].startswith("files of the agent that are not kept stay in ")
    assert "more than 1000 entries" in warnings[1]


async def test_an_outbox_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    task, warnings = await run(tmp_path, REPLACED)

    assert (task["status"], task["files"], len(warnings)) == ("succeeded", [], 1)
    assert Path("/etc/passwd").exists()
