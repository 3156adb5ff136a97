"""`opencode run`, the preset of the command backend, keeps the contract: a process for each turn."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path

import msgspec
import pytest

from gateway.backends.command.options import Options
from gateway.backends.command.presets import ProgramPreset
from gateway.domain.agent import Agent, PermissionPolicy
from gateway.errors import AgentError
from harness.pictures import make_png
from harness.received_files import ReceivedFile, find_files
from harness.waiting import PATIENCE
from tests.contracts.backends import BackendContract, Stage
from tests.contracts.subjects import Modelled
from tests.support import installed
from tests.support import opencode as real
from tests.support.attachments import attach_all, make_pdf, make_wav, make_zip
from tests.support.thorough import choose_cases, is_thorough
from tests.support.turns import listen

BINARY = make_zip()
PDF = make_pdf()
PNG = make_png()
WAV = make_wav()
POLICIES = [None, *PermissionPolicy]


class OpencodeRun(Modelled):
    """The real program, with a scripted model."""

    preface = 1  # the system prompt
    streams = False
    together = 2
    patience = 3 * PATIENCE  # the first turn in a new home directory sets it up

    def made(self, url: str, directory: Path) -> Agent:
        home = real.home(directory / "home", url)
        options = Options(preset=ProgramPreset.OPENCODE_RUN, command=[installed.program("opencode")])
        return Agent(id="main", backend="command", options=options, env=real.environment(home))


@pytest.mark.agents("opencode")
class TestOpencodeRun(BackendContract):
    subject = OpencodeRun()

    # A turn takes seconds, and the next test shows the same as these two.
    test_the_answer_is_what_the_agent_said = None
    test_usage_is_reported = None
    if not is_thorough():  # the command backend does these for each program in the same way: see `TestCommandLines`
        test_turns_at_the_same_time_do_not_mix = None
        test_every_attachment_reaches_the_agent_or_is_named_to_it = None

    @pytest.mark.parametrize("text", ["-x --help -- a\0b " + "y" * 200_000 + " $(touch hacked) `touch hacked`"])
    async def test_a_prompt_is_data(self, stage: Stage, session: str, text: str) -> None:
        heard = await stage.ask(text, session)

        assert heard.answer == "echo: " + text[-400:]
        assert not list(stage.directory.rglob("hacked"))
        assert heard.usage.input > 0
        assert heard.usage.output > 0

    async def test_pictures_and_papers_reach_its_model_and_other_files_are_named(
        self, stage: Stage, session: str
    ) -> None:
        given = stage.turn(stage.subject.say("seen"), session)
        files = {"a, b.png": PNG, "c.pdf": PDF, "d.bin": BINARY, "e.wav": WAV}

        heard = await listen(stage.backend, stage.desk.attach_to(given, attach_all(files)))

        assert heard.answer == "seen"
        assert isinstance(stage.subject, OpencodeRun)
        body = stage.subject.model.last_prompt["body"]
        assert set(find_files(body)) == {ReceivedFile("image/png", PNG), ReceivedFile("application/pdf", PDF)}
        assert all(f"/{given.run}/{name} (" in json.dumps(body) for name in files)

    @pytest.mark.parametrize("policy", choose_cases(POLICIES, on_each_push=(0, POLICIES.index(PermissionPolicy.DENY))))
    async def test_what_permissions_say_holds(
        self, stage: Stage, session: str, policy: PermissionPolicy | None
    ) -> None:
        call = json.dumps({"command": "touch made", "description": "x"})
        given = stage.turn(f"[[tool bash {call}]]", session)
        given = msgspec.structs.replace(given, agent=msgspec.structs.replace(given.agent, permissions=policy))

        is_free = policy in (None, PermissionPolicy.ALLOW)
        with contextlib.nullcontext() if is_free else pytest.raises(AgentError, match="permission requested: bash"):
            await listen(stage.backend, given)

        assert (stage.directory / session / "made").exists() == is_free
