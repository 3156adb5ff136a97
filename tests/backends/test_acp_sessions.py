"""In each session of an ACP agent, what `permissions` says holds, or the turn does not go on: scripted agents."""

from __future__ import annotations

import time
from typing import Any

import msgspec
import pytest

from gateway.backends.acp.backend import OFFER_SECONDS
from gateway.backends.acp.options import Options
from gateway.backends.acp.presets import KNOWN_AGENTS, AgentPreset
from gateway.domain import newest
from gateway.domain.agent import PermissionPolicy
from gateway.domain.permission import Answer
from gateway.errors import AgentError
from harness.waiting import until
from tests.support.acp import SCRIPTED_ACP_COMMAND, Rig, ref, text

CLAUDE_MODES = "auto,default,acceptEdits,plan"


def mode(rig: Rig) -> str | None:
    """Return the mode that was set last, if one was set."""
    file = rig.workspace / "mode"
    return file.read_text() if file.exists() else None


@pytest.mark.parametrize("policy", PermissionPolicy)
async def test_a_known_agent_is_set_to_the_mode_in_which_it_asks(rig: Rig, policy: PermissionPolicy) -> None:
    rig.but("--mode-option", CLAUDE_MODES, preset=AgentPreset.CLAUDE, permissions=policy)

    await rig.ask("Hello")

    assert mode(rig) == "default"


async def test_a_mode_that_is_no_option_is_set_as_well(rig: Rig) -> None:
    rig.but("--modes", "yolo,default", preset=AgentPreset.GEMINI)

    await rig.ask("Hello")

    assert rig.chosen == "default"


@pytest.mark.parametrize("offered", ["agent,read-only,workspace-write", "read-only,auto,full-access"])
async def test_an_agent_that_writes_nothing_where_it_asks_gets_another_mode_when_all_is_allowed(
    rig: Rig, offered: str
) -> None:
    rig.but("--mode-option", offered, preset=AgentPreset.CODEX)
    await rig.ask("Hello")
    denied = mode(rig)
    rig.but("--mode-option", offered, preset=AgentPreset.CODEX, permissions=PermissionPolicy.ALLOW)
    await rig.ask("Hello")

    assert (denied, mode(rig)) == ("read-only", "workspace-write" if "workspace-write" in offered else "auto")


async def test_the_mode_is_set_in_a_session_that_goes_on_and_in_one_that_is_loaded(rig: Rig) -> None:
    rig.but("--mode-option", CLAUDE_MODES, preset=AgentPreset.CLAUDE)
    first = ref(await rig.ask("Hello"))
    (rig.workspace / "mode").unlink()
    await rig.ask("again", first)
    going_on = mode(rig)
    (rig.workspace / "mode").unlink()
    await rig.again()
    await rig.ask("once more", first)

    assert (going_on, mode(rig)) == ("default", "default")


async def test_a_command_of_the_user_is_known_by_the_name_that_it_tells(rig: Rig) -> None:
    rig.but("--mode-option", "auto,default,yolo", "--name", "qwen-code")

    await rig.ask("Hello")

    assert mode(rig) == "default"


@pytest.mark.parametrize("mode", [None, "plan"])
@pytest.mark.parametrize("policy", [PermissionPolicy.DENY, PermissionPolicy.ASK])
async def test_a_turn_is_refused_when_the_agent_is_known_too_late_for_the_variables_that_make_it_ask(
    rig: Rig, policy: PermissionPolicy, mode: str | None
) -> None:
    rig.but("--name", "OpenCode", permissions=policy, mode=mode)

    with pytest.raises(
        AgentError, match="but it was started without OPENCODE_PERMISSION, which makes it ask"
    ) as raised:
        await rig.ask("Hello")

    assert "Name its `preset`" in str(raised.value.remedy)


@pytest.mark.parametrize(
    "changes",
    [
        {"permissions": PermissionPolicy.ALLOW},
        {"env": {"OPENCODE_PERMISSION": "{}"}},
        {"preset": AgentPreset.OPENCODE},
    ],
    ids=str,
)
async def test_an_agent_with_the_variables_that_make_it_ask_works_under_any_name(
    rig: Rig, changes: dict[str, Any]
) -> None:
    rig.but("--name", "OpenCode", **changes)

    assert text(await rig.ask("Hello")) == "echo: Hello"


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (["--modes", "auto,plan"], r"it does not offer its mode 'default', in which it asks \(modes: auto, plan\)"),
        (["--mode-option", "auto"], r"it does not offer its mode 'default'"),
    ],
)
async def test_a_turn_is_refused_when_the_agent_does_not_offer_the_mode(
    rig: Rig, arguments: list[str], why: str
) -> None:
    rig.but(*arguments, preset=AgentPreset.CLAUDE)

    with pytest.raises(AgentError, match=f"permissions are 'deny', but {why}") as raised:
        await rig.ask("Hello")

    assert "Update its program" in str(raised.value.remedy)


async def test_a_turn_is_refused_when_the_agent_does_not_take_the_mode(rig: Rig) -> None:
    rig.but("--mode-option", CLAUDE_MODES, "--stiff", preset=AgentPreset.CLAUDE)

    with pytest.raises(AgentError, match="has not set its mode to 'default'; it is 'auto'"):
        await rig.ask("Hello")


@pytest.mark.parametrize("policy", [PermissionPolicy.DENY, PermissionPolicy.ASK])
@pytest.mark.parametrize(
    ("preset", "chosen"),
    [
        (AgentPreset.CLAUDE, "acceptEdits"),
        (AgentPreset.CLAUDE, "bypassPermissions"),
        (AgentPreset.CODEX, "full-access"),
        (AgentPreset.CODEX, "agent"),
        (AgentPreset.GEMINI, "autoEdit"),
        (AgentPreset.QWEN, "yolo"),
        (None, "yolo"),
    ],
)
async def test_a_configured_mode_that_asks_nobody_is_refused_before_a_turn_and_by_the_health_check(
    rig: Rig, policy: PermissionPolicy, preset: AgentPreset | None, chosen: str
) -> None:
    rig.but("--mode-option", f"default,read-only,{chosen}", preset=preset, mode=chosen, permissions=policy)

    with pytest.raises(AgentError, match=f"its mode '{chosen}' lets it act without asking"):
        await rig.ask("Hello")
    found = await rig.backend.check_health(rig.agent)

    assert not found.ok
    assert f"'{chosen}'" in found.detail
    assert mode(rig) is None


@pytest.mark.parametrize(("preset", "chosen"), [(AgentPreset.CLAUDE, "plan"), (None, "careful")])
async def test_a_configured_mode_that_asks_is_set(rig: Rig, preset: AgentPreset | None, chosen: str) -> None:
    rig.but("--mode-option", f"default,{chosen}", preset=preset, mode=chosen)

    await rig.ask("Hello")

    assert mode(rig) == chosen


async def test_a_mode_that_the_agent_refuses_is_an_error_with_those_that_it_offers(rig: Rig) -> None:
    rig.but("--modes", "default,plan", "--picky", preset=AgentPreset.CLAUDE, mode="dontAsk")

    with pytest.raises(AgentError, match="no such mode") as raised:
        await rig.ask("Hello")

    assert raised.value.remedy == "It offers default, plan."


async def test_any_configured_mode_is_set_when_all_is_allowed(rig: Rig) -> None:
    rig.but(
        "--mode-option",
        CLAUDE_MODES,
        preset=AgentPreset.CLAUDE,
        mode="acceptEdits",
        permissions=PermissionPolicy.ALLOW,
    )

    await rig.ask("Hello")

    assert mode(rig) == "acceptEdits"


async def test_an_unknown_agent_is_left_in_its_mode_unless_the_mode_is_one_that_asks_nobody(rig: Rig) -> None:
    rig.but("--mode-option", "careful,default")
    await rig.ask("Hello")
    assert mode(rig) is None

    rig.but("--mode-option", "bypassPermissions,default")
    with pytest.raises(AgentError, match="it begins in its mode 'bypassPermissions'"):
        await rig.ask("Hello")


async def test_the_health_check_says_that_nobody_knows_whether_an_unknown_agent_asks(rig: Rig) -> None:
    unknown = (await rig.backend.check_health(rig.agent)).missing
    rig.but(preset=AgentPreset.CLAUDE)
    known = (await rig.backend.check_health(rig.agent)).missing
    rig.but(preset=None, permissions=PermissionPolicy.ALLOW)
    allowed = (await rig.backend.check_health(rig.agent)).missing

    assert "asks before it acts" in unknown
    assert "asks before it acts" not in known + allowed


@pytest.mark.parametrize("policy", [PermissionPolicy.DENY, PermissionPolicy.ASK])
async def test_a_turn_ends_when_the_agent_leaves_the_mode_in_which_it_asks(rig: Rig, policy: PermissionPolicy) -> None:
    rig.but("--mode-option", CLAUDE_MODES, preset=AgentPreset.CLAUDE, permissions=policy)

    with pytest.raises(AgentError, match="it has changed to its mode 'auto', which lets it act without asking"):
        await rig.ask("[[switch auto]]")


@pytest.mark.parametrize("models", [[], ["--models", "small,large"]], ids=["in its answer", "in an update"])
async def test_a_turn_does_not_begin_when_the_agent_leaves_the_mode_before_it(rig: Rig, models: list[str]) -> None:
    rig.but("--mode-option", CLAUDE_MODES, "--drift", "auto", *models, preset=AgentPreset.CLAUDE)

    with pytest.raises(AgentError, match="it has changed to its mode 'auto', which lets it act without asking"):
        await rig.ask("Hello", model="large")

    assert not list(rig.workspace.glob("s-*")), "the agent got no prompt"


async def test_a_turn_goes_on_when_the_agent_changes_to_another_mode_in_which_it_asks(rig: Rig) -> None:
    rig.but("--mode-option", CLAUDE_MODES, preset=AgentPreset.CLAUDE)

    assert text(await rig.ask("[[switch plan]]")) == "plan"


async def test_what_people_allow_always_may_change_the_mode_of_their_session_only(rig: Rig) -> None:
    rig.but("--mode-option", CLAUDE_MODES, preset=AgentPreset.CLAUDE, permissions=PermissionPolicy.ASK)
    rig.people.says = Answer.ALLOW_ALWAYS
    said = await rig.ask("[[widen acceptEdits]]")
    (rig.workspace / "mode").unlink()
    await rig.ask("go on", ref(said))
    kept = mode(rig)
    await rig.ask("another session")

    assert (text(said), kept, mode(rig)) == ("acceptEdits", None, "default")


async def test_an_agent_may_tell_again_to_which_mode_people_have_let_it_change_and_no_other(rig: Rig) -> None:
    rig.but("--mode-option", CLAUDE_MODES, preset=AgentPreset.CLAUDE, permissions=PermissionPolicy.ASK)
    rig.people.says = Answer.ALLOW_ALWAYS
    session = ref(await rig.ask("[[widen acceptEdits]]"))

    assert text(await rig.ask("[[switch acceptEdits]]", session)) == "acceptEdits"
    with pytest.raises(AgentError, match="changed to its mode 'auto'"):
        await rig.ask("[[switch auto]]", session)


async def test_people_who_allow_something_once_do_not_allow_another_mode(rig: Rig) -> None:
    rig.but("--mode-option", CLAUDE_MODES, preset=AgentPreset.CLAUDE, permissions=PermissionPolicy.ASK)
    rig.people.says = Answer.ALLOW

    assert text(await rig.ask("[[widen acceptEdits]]")) == "as before"
    with pytest.raises(AgentError, match="changed to its mode 'acceptEdits'"):
        await rig.ask("[[switch acceptEdits]]")


def test_the_variables_that_make_an_agent_ask_give_way_to_those_of_its_entry(rig: Rig) -> None:
    rig.but(preset=AgentPreset.OPENCODE)
    denies = rig.backend._build_environment(rig.agent)["OPENCODE_PERMISSION"]
    rig.but(preset=AgentPreset.OPENCODE, env={"OPENCODE_PERMISSION": "{}"})
    own = rig.backend._build_environment(rig.agent)["OPENCODE_PERMISSION"]
    rig.but(preset=AgentPreset.OPENCODE, env={}, permissions=PermissionPolicy.ALLOW)

    assert '"*": "ask"' in denies
    assert own == "{}"
    assert "OPENCODE_PERMISSION" not in rig.backend._build_environment(rig.agent)


@pytest.mark.parametrize("command", [["/opt/opencode", "acp"], ["opencode", "acp", "--print-logs"]])
def test_a_command_of_the_user_is_known_by_the_name_of_its_program(command: list[str]) -> None:
    assert Options(command=command).asking == KNOWN_AGENTS[AgentPreset.OPENCODE].asking
    assert Options(command=SCRIPTED_ACP_COMMAND).asking is None


@pytest.mark.parametrize("preset", AgentPreset)
def test_each_known_agent_is_made_to_ask(preset: AgentPreset) -> None:
    asking = KNOWN_AGENTS[preset].asking

    assert asking is not None
    assert asking.mode or asking.env


# --- models -----------------------------------------------------------------------------------


async def test_a_model_is_set_where_models_are_no_option_and_set_back_for_the_next_turn(rig: Rig) -> None:
    rig.but("--models", "auto,pro")
    first = await rig.ask("Hello")
    untouched = (rig.workspace / "chosen").exists()
    await rig.ask("Hello", ref(first), model="pro")
    chosen = rig.chosen
    await rig.ask("Hello", ref(first))

    assert (untouched, chosen, rig.chosen) == (False, "pro", "auto")


async def test_a_model_is_set_in_a_session_that_is_loaded(rig: Rig) -> None:
    rig.but("--models", "auto,pro")
    first = ref(await rig.ask("Hello"))
    await rig.again()

    await rig.ask("Hello", first, model="pro")

    assert rig.chosen == "pro"


async def test_a_model_may_be_named_by_its_name(rig: Rig) -> None:
    rig.but("--model-names", "small,large", preset=AgentPreset.OPENCODE)

    await rig.ask("Hello", model="large")

    assert rig.chosen == "id-large"


async def test_a_model_that_the_agent_refuses_is_an_error_with_the_near_ones(rig: Rig) -> None:
    rig.but("--model-names", "small,large", preset=AgentPreset.OPENCODE)

    with pytest.raises(AgentError, match="no such model") as raised:
        await rig.ask("Hello", model="id-larg")

    assert raised.value.remedy == "It offers id-large."


async def test_what_an_agent_offers_is_known_from_its_last_session(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    rig.but("--model-names", "small,large", "--mode-option", "build,plan", preset=AgentPreset.OPENCODE)
    before = rig.backend.find_offer(rig.agent)
    with pytest.raises(AgentError):
        await rig.ask("Hello", model="huge")
    offer = rig.backend.find_offer(rig.agent)
    monkeypatch.setattr(time, "monotonic", lambda: OFFER_SECONDS + 1e9)
    later = rig.backend.find_offer(rig.agent)

    assert before is None
    assert offer is not None
    assert later is not None
    assert [(model.id, model.name) for model in offer.models or ()] == [("id-small", "small"), ("id-large", "large")]
    assert [mode.id for mode in offer.modes or ()] == ["build", "plan"]
    assert (offer.takes_model("huge"), later.takes_model("huge")) == (False, True)
    assert later.models == offer.models


async def test_what_is_known_of_agents_that_were_changed_is_forgotten(
    rig: Rig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(newest, "MAX_NEWEST_VALUES", 1)
    await rig.again()
    rig.but("--models", "auto,pro", idle_stop=0.01)
    for number in range(3):
        rig.agent = msgspec.structs.replace(rig.agent, env={"CHANGED": str(number)})
        await rig.ask("Hello")
    await until(lambda: not rig.backend._timers, "no process is idle")
    last = {rig.backend._process_key(rig.agent, 0)}

    assert (set(rig.backend._offers), set(rig.backend._taken), rig.backend._idle) == (last, last, {})


async def test_models_beside_an_option_are_offered_as_well_as_those_of_the_option(rig: Rig) -> None:
    rig.but("--models", "auto,pro", preset=AgentPreset.GEMINI, permissions=PermissionPolicy.ALLOW)
    await rig.ask("Hello")
    offer = rig.backend.find_offer(rig.agent)

    assert offer is not None
    assert [(model.id, model.name) for model in offer.models or ()] == [("auto", "Auto"), ("pro", "Pro")]
    assert offer.takes_model("one that it does not list"), "Gemini CLI takes any"


async def test_another_spelling_of_a_model_is_left_to_the_agent(rig: Rig) -> None:
    await rig.ask("Hello", model="Large")

    assert rig.chosen == "Large"
