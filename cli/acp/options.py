"""What a user can choose for a session in the editor: the agent, and the model if the agent offers some.

The agent is a mode and a configuration option: older editors know modes, newer ones prefer options.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cli.acp.sessions import EditorSession
from gateway.errors import InvalidRequest

AGENT_OPTION, MODEL_OPTION = "agent", "model"
#: the value that leaves the model to the agent; it is no possible name of a model
DEFAULT_MODEL = "(default)"


def render_choices(session: EditorSession, agents: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Return what an answer that opens a session says about choices."""
    modes = [{"id": id_, "name": name, "description": about} for id_, name, about in _list_agents(session, agents)]
    return {
        "modes": {"currentModeId": session.agent, "availableModes": modes},
        "configOptions": render_options(session, agents),
    }


def render_options(session: EditorSession, agents: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """Return the configuration options of a session."""
    values = [{"value": id_, "name": name, "description": about} for id_, name, about in _list_agents(session, agents)]
    options = [_make_select(AGENT_OPTION, "Agent", "mode", session.agent, values)]
    if session.models:
        offered = [{"value": model["id"], "name": model["name"] or model["id"]} for model in session.models]
        default = {"value": DEFAULT_MODEL, "name": "Default"}
        current = session.model or DEFAULT_MODEL
        if current not in [one["value"] for one in (default, *offered)]:
            offered.append({"value": current, "name": current})  # of an earlier run: the agent may know it still
        options.append(_make_select(MODEL_OPTION, "Model", "model", current, [default, *offered]))
    return options


def choose_model(session: EditorSession, value: str) -> None:
    """Choose the model of the next prompts.

    Raises:
        InvalidRequest: the agent does not offer it.
    """
    if value == DEFAULT_MODEL:
        session.model = None
    elif value in [model["id"] for model in session.models or ()]:
        session.model = value
    else:
        raise InvalidRequest(
            f"the agent {session.agent} does not offer the model {value[:64]!r}.",
            remedy=f"See: gateway agents show {session.agent}",
        )


def _make_select(
    id_: str, name: str, category: str, current: str, values: Sequence[Mapping[str, Any]]
) -> dict[str, Any]:
    return {
        "id": id_,
        "name": name,
        "category": category,
        "type": "select",
        "currentValue": current,
        "options": list(values),
    }


def _list_agents(session: EditorSession, agents: Sequence[Mapping[str, Any]]) -> list[tuple[str, str, str]]:
    """Return id, name and description of the agents, with that of the session if it takes no prompts any more."""
    listed = [(agent["id"], agent["name"], _describe_agent(agent)) for agent in agents]
    if session.agent not in [agent["id"] for agent in agents]:
        listed.append((session.agent, session.agent, "disabled or removed; takes no prompts"))
    return listed


def _describe_agent(agent: Mapping[str, Any]) -> str:
    model = f", model {agent['model']}" if agent["model"] else ""
    return f"{agent['backend']}{model}; works in a directory of its own, on the gateway's machine"
