"""The mode of a session: in it, what the agent's `permissions` say holds, or the turn does not go on.

Several agents begin in a mode in which a model decides what may run, and nobody is asked.
"""

from __future__ import annotations

from collections.abc import Collection

from acp.schema import (
    ConfigOptionUpdate,
    CurrentModeUpdate,
    SessionConfigOptionSelect,
    SetSessionConfigOptionResponse,
)

from gateway.backends.acp.options import Options
from gateway.backends.acp.presets import AUTOMATIC_MODES, Asking
from gateway.domain.agent import Agent, PermissionPolicy
from gateway.errors import AgentError

_OTHER_REMEDY = 'set its `"permissions": "allow"`, which lets it do everything it asks for.'


class ModeKeeper:
    """Chooses the mode of an agent's sessions.

    Args:
        asking: how it is made to ask; None if that is not known.
    """

    def __init__(self, agent: Agent, asking: Asking | None) -> None:
        options: Options = agent.options
        self._wanted = options.mode
        self._policy = agent.permission_policy
        self._asking = asking
        #: variables that would make it ask, and that its process does not have: it was known too late, by its own name
        given = {*options.list_asking_variables(agent.permission_policy), *agent.env}
        self._unset = [name for name in (() if asking is None else asking.env) if name not in given]

    def check_wanted_mode(self) -> None:
        """Refuse a configured mode in which something runs unasked, unless everything is allowed.

        Raises:
            AgentError: the mode does not fit the agent's `permissions`.
        """
        if self._wanted is not None and self._is_forbidden(self._wanted):
            why = f"its mode {self._wanted!r} lets it act without asking"
            raise self._explain_refusal(why, "Remove the agent's `mode`")

    def choose_mode(self, offered: Collection[str], current: str | None) -> str | None:
        """Return the mode to set; None leaves the agent in its own.

        Args:
            offered: the modes that the agent offers.
            current: the mode in which it is.

        Raises:
            AgentError: in no mode would the agent's `permissions` hold.
        """
        self.check_wanted_mode()
        if self._unset and self._policy is not PermissionPolicy.ALLOW:
            why = f"it was started without {', '.join(self._unset)}, which makes it ask"
            raise self._explain_refusal(why, "Name its `preset`; its `command` may stay")
        if self._wanted is not None:
            return self._wanted
        asking = self._asking
        if self._policy is PermissionPolicy.ALLOW:
            allowed = () if asking is None else filter(None, (*asking.allowed_modes, asking.mode))
            return next((mode for mode in allowed if mode in offered), None)
        if asking is None:
            if current is not None and self._is_forbidden(current):
                why = f"it begins in its mode {current!r}, which lets it act without asking"
                raise self._explain_refusal(why, "Set the agent's `mode` to one in which it asks")
            return None
        if asking.mode is not None and asking.mode not in offered:
            told = ", ".join(sorted(offered)) or "none"
            why = f"it does not offer its mode {asking.mode!r}, in which it asks (modes: {told})"
            raise self._explain_refusal(why, "Update its program")
        return asking.mode

    def find_forbidden_mode(self, told: object) -> str | None:
        """Return the mode that an agent tells, if something may run unasked in it; otherwise None."""
        mode = None
        if isinstance(told, CurrentModeUpdate):
            mode = told.current_mode_id
        elif isinstance(told, ConfigOptionUpdate | SetSessionConfigOptionResponse):
            option = find_option(told.config_options, "mode")
            mode = option.current_value if option is not None else None
        return mode if mode is not None and self._is_forbidden(mode) else None

    def explain_change(self, mode: str) -> AgentError:
        """Return the error for an agent that has left the mode in which it asks."""
        why = f"it has changed to its mode {mode!r}, which lets it act without asking"
        return self._explain_refusal(why, "Start the task again")

    def _is_forbidden(self, mode: str) -> bool:
        """Return whether something may run unasked in a mode although not everything is allowed."""
        if self._policy is PermissionPolicy.ALLOW:
            return False
        return mode in AUTOMATIC_MODES if self._asking is None else not self._asking.is_safe(mode)

    def _explain_refusal(self, why: str, remedy: str) -> AgentError:
        told = f"the agent's permissions are {self._policy.value!r}, but {why}."
        return AgentError(told, remedy=f"{remedy}, or {_OTHER_REMEDY}")


def find_option(options: object, category: str) -> SessionConfigOptionSelect | None:
    """Return the option of a category, such as `mode` or `model`."""
    selects = [one for one in options or () if isinstance(one, SessionConfigOptionSelect)]  # type: ignore[attr-defined]
    return next((one for one in selects if category in (one.category, one.id)), None)
