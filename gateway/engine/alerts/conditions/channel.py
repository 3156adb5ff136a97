"""A channel is refused, or has been unreachable or silent for some minutes; it ends when it works."""

from __future__ import annotations

from gateway.domain.alert import AlertKind
from gateway.domain.ports.channel import ChannelState
from gateway.engine.alerts.condition import AlertSources, Finding, Look, Situation

#: states in which a channel works
_WORKING_STATES = frozenset(("ready", "polling", "webhook"))


class ChannelTrouble:
    kind = AlertKind.CHANNEL
    interval_seconds = 5.0
    needs_news = False

    def __init__(self, sources: AlertSources) -> None:
        self._channels = sources.channels
        self._patience = round(sources.limits.channel_minutes * 60_000)
        #: since when each channel has not worked, in milliseconds since 1970 UTC
        self._waiting_since: dict[str, int] = {}

    async def look(self, situation: Situation) -> Look:
        findings, ended = [], {}
        states = self._channels.read_states()
        for name, state in states.items():
            trouble = self._find_trouble(name, state, situation.now)
            if trouble:
                findings.append(Finding(subject=name, text=f"channel {name} {trouble}"))
            elif name in situation.open and state.state in _WORKING_STATES and name not in self._waiting_since:
                ended[name] = f"channel {name} works again"
        for name in situation.open:
            if name not in states:
                ended[name] = f"channel {name} is no longer configured"
        return Look(open=findings, ended=ended)

    def _find_trouble(self, name: str, state: ChannelState, now: int) -> str:
        """Return what is wrong; empty if nothing is, or if it is not known yet."""
        if state.state == "refused":
            return f"is refused: {state.detail}"
        is_silent = state.state == "polling" and state.last_poll is not None and now - state.last_poll >= self._patience
        if state.state in _WORKING_STATES and not is_silent:
            self._waiting_since.pop(name, None)
            return ""
        if state.state == "waiting" or is_silent:
            since = state.last_poll if state.last_poll is not None else self._waiting_since.setdefault(name, now)
            self._waiting_since[name] = since
            if now - since >= self._patience:
                minutes = (now - since) // 60_000
                return f"has not worked for {minutes} min: {state.detail}"
        return ""


CONDITION = ChannelTrouble
