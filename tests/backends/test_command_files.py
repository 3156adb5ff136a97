"""Attached files of a turn, as a program gets them, and the directory for files that it makes."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from gateway.backends import BackendResources
from gateway.backends.command.backend import CommandBackend
from gateway.backends.command.options import Options
from gateway.domain.agent import Agent
from gateway.domain.ports.backend import FileKind
from gateway.process.child import Children
from harness.pictures import make_png
from tests.support.attachments import FileDesk, attach_all, make_pdf, make_zip
from tests.support.fixtures import children, ledger
from tests.support.turns import Heard, listen, turn

BINARY = make_zip()
PDF = make_pdf()
PNG = make_png()

__all__ = ["children", "ledger"]

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="the programs here are POSIX shell scripts")

FILES = {"a b.png": PNG, "--model.pdf": PDF, "data.bin": BINARY}


def script(text: str, **options: Any) -> Agent:
    given = msgspec.convert({"command": ["sh", "-c", text, "sh"], **options}, Options)
    return Agent(id="main", backend="command", options=given)


@pytest.fixture
async def backend(children: Children, tmp_path: Path) -> AsyncIterator[CommandBackend]:
    async with CommandBackend(BackendResources(children=children, environ={}, directory=tmp_path)) as opened:
        yield opened


async def ask(backend: CommandBackend, who: Agent, place: Path, files: Mapping[str, bytes] = FILES) -> Heard:
    given = msgspec.structs.replace(turn(who, "Look", workspace=place), outbox=str(place / "outbox"))
    return await listen(backend, FileDesk(place / "files").attach_to(given, attach_all(files)))


def placed(place: Path, *names: str) -> list[str]:
    return [f"{place}/attachments/run-1/{name}" for name in names]


async def test_a_program_finds_the_paths_of_its_files_in_the_prompt_and_in_a_variable(
    backend: CommandBackend, tmp_path: Path
) -> None:
    who = script('cat; echo; printf "%s\\n" "$MOONGATE_ATTACHMENTS" | while read -r file; do wc -c < "$file"; done')

    heard = await ask(backend, who, tmp_path)

    [prompt, listed] = heard.answer.split("Attached files:\n")
    told = [line.removeprefix("- ").partition(" (")[0] for line in listed.splitlines()[:3]]
    assert prompt == "Look\n\n"
    assert told == placed(tmp_path, *FILES)
    assert listed.split()[-3:] == [str(len(content)) for content in FILES.values()]


async def test_a_program_without_files_has_an_empty_variable(backend: CommandBackend, tmp_path: Path) -> None:
    heard = await ask(backend, script('cat; echo "[${MOONGATE_ATTACHMENTS-unset}]"'), tmp_path, {})

    assert heard.answer == "Look[]"


async def test_a_program_knows_where_to_leave_files_for_people(backend: CommandBackend, tmp_path: Path) -> None:
    heard = await ask(backend, script('cat > /dev/null; echo "$MOONGATE_OUTBOX"'), tmp_path)

    assert heard.answer == f"{tmp_path}/outbox"


async def test_a_program_without_an_outbox_has_no_variable_for_it(backend: CommandBackend, tmp_path: Path) -> None:
    given = turn(script('cat > /dev/null; echo "${MOONGATE_OUTBOX-unset}"'), "Look", workspace=tmp_path)

    assert (await listen(backend, given)).answer == "unset"


async def test_a_program_with_an_option_for_files_gets_each_with_it(backend: CommandBackend, tmp_path: Path) -> None:
    who = script('cat > /dev/null; printf "%s\\n" "$@"', file_args=["--file", "{file}"])

    heard = await ask(backend, who, tmp_path)

    paths = placed(tmp_path, *FILES)
    assert heard.answer.splitlines() == [each for path in paths for each in ("--file", path)]


async def test_an_option_for_pictures_gets_no_other_files(backend: CommandBackend, tmp_path: Path) -> None:
    options = {"file_args": ["--image={file}"], "file_kinds": ["image"]}
    who = script('cat > /dev/null; printf "%s\\n" "$@"', **options)

    heard = await ask(backend, who, tmp_path)

    assert heard.answer == f"--image={placed(tmp_path, 'a b.png')[0]}"


async def test_the_arguments_for_files_come_before_those_that_continue_a_session(
    backend: CommandBackend, tmp_path: Path
) -> None:
    """They are options of the program itself, and the others may name a subcommand."""
    lines = 'cat > /dev/null; printf \'{"id": "s1", "text": "%s"}\\n\' "$*"'
    rules = [{"session": "id"}, {"text": "text"}]
    options = {"file_args": ["-f", "{file}"], "resume_args": ["resume", "{session}"], "output": "jsonl", "map": rules}
    who = script(lines, **options)
    given = turn(who, "Look", workspace=tmp_path, session_ref="s1")

    heard = await listen(backend, FileDesk(tmp_path / "files").attach_to(given, attach_all({"a.png": PNG})))

    assert heard.answer == f"-f {placed(tmp_path, 'a.png')[0]} resume s1"


def test_a_program_takes_the_kinds_for_which_it_has_an_option(backend: CommandBackend) -> None:
    some = {"file_args": ["--image={file}"], "file_kinds": ["image"]}

    assert backend.accepts(script("true")) == frozenset()
    assert backend.accepts(script("true", file_args=["{file}"])) == frozenset(FileKind)
    assert backend.accepts(script("true", **some)) == {FileKind.IMAGE}
    opencode = Agent(id="main", backend="command", options=msgspec.convert({"preset": "opencode-run"}, Options))
    assert backend.accepts(opencode) == {FileKind.IMAGE, FileKind.PDF}


def test_arguments_for_files_must_say_where_the_file_goes() -> None:
    with pytest.raises(msgspec.ValidationError, match=r"`file_args` must have \{file\} in them"):
        script("true", file_args=["--image"])
