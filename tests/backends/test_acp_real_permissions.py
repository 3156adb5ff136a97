"""What `permissions` says holds in the real ACP agents, proved by files that exist or must not."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from gateway.domain.agent import PermissionPolicy
from gateway.domain.event import Permission
from tests.support.real_acp import EACH, REAL, Real, staged
from tests.support.thorough import choose_cases

#: Gemini CLI stands for Qwen Code, which is made from it
ON_EACH_PUSH = [place for place, name in enumerate(REAL) if name != "qwen"]


@pytest.mark.parametrize("real", choose_cases(EACH, ON_EACH_PUSH))
async def test_what_permissions_says_holds_whatever_the_agents_own_mode_is(tmp_path: Path, real: Real) -> None:
    async with staged(real, tmp_path) as stage:
        for policy in (PermissionPolicy.DENY, PermissionPolicy.ASK):
            stage.agent = msgspec.structs.replace(stage.agent, permissions=policy)
            await stage.call(real.run(stage.workspace / "run"))
            await stage.call(real.run(tmp_path / "outside"))
            await stage.call(real.write(stage.workspace / "written"))
            if real.run_in_sandbox is not None:
                await stage.call(real.run_in_sandbox(stage.workspace / "run"))

            assert not list(stage.workspace.iterdir()), f"{policy}: asking nobody denies"
            assert not (tmp_path / "outside").exists()

        stage.agent = msgspec.structs.replace(stage.agent, permissions=PermissionPolicy.ALLOW)
        await stage.call(real.run(stage.workspace / "run"))
        heard = await stage.call(real.write(stage.workspace / "written"))

    assert {file.name for file in stage.workspace.iterdir()} >= {"run", "written"}
    assert all(str(asked.answer).startswith("allow") for asked in heard.of(Permission))
