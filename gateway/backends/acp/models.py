"""The models and modes that an agent offers in its sessions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import msgspec
from acp.schema import SessionConfigOptionSelect, SessionConfigSelectOption, SessionModeState
from msgspec import Struct, field

from gateway.backends.acp.modes import find_option
from gateway.domain.offer import Offer, OtherModels, make_choices


class _ListedModel(Struct, frozen=True, rename="camel"):
    model_id: str
    name: str = ""


class ModelList(Struct, frozen=True, rename="camel"):
    """The models of a session, for `session/set_model`. Gemini CLI has them instead of an option."""

    current_model_id: str
    available_models: list[_ListedModel] = field(default_factory=list)

    @property
    def ids(self) -> list[str]:
        return [model.model_id for model in self.available_models]


def read_models(told: Any) -> ModelList | None:
    """Return the models of an agent's answer; None if it has none, or tells them in another form."""
    try:
        return msgspec.convert(told, ModelList)
    except msgspec.ValidationError:
        return None


def list_named_values(option: SessionConfigOptionSelect) -> list[tuple[str, str]]:
    """Return the values that an option may have, with their names."""
    grouped = [[one] if isinstance(one, SessionConfigSelectOption) else one.options for one in option.options]
    return [(one.value, one.name) for group in grouped for one in group]


def find_value(option: SessionConfigOptionSelect, wanted: str) -> str:
    """Return the value that a user means: it may be named by its name, if only one has that name."""
    values = list_named_values(option)
    named = [value for value, name in values if name == wanted]
    return named[0] if len(named) == 1 and wanted not in dict(values) else wanted


def describe_offer(
    options: Sequence[SessionConfigOptionSelect],
    models: ModelList | None,
    modes: SessionModeState | None,
    other_models: OtherModels,
) -> Offer:
    """Return what an agent offers in a session.

    Args:
        other_models: which models the agent takes that it does not list.
    """
    offered_models = _merge(
        find_option(options, "model"),
        [] if models is None else [(model.model_id, model.name or model.model_id) for model in models.available_models],
    )
    offered_modes = _merge(
        find_option(options, "mode"), [] if modes is None else [(mode.id, mode.name) for mode in modes.available_modes]
    )
    kept, is_complete = make_choices(offered_models)
    return Offer(
        models=kept or None,
        modes=make_choices(offered_modes)[0] or None,
        other_models=other_models if is_complete else OtherModels.ANY,
    )


def _merge(option: SessionConfigOptionSelect | None, listed: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the choices of an option, then those that only the older list has."""
    found = {} if option is None else dict(list_named_values(option))
    return list((found | {id_: name for id_, name in listed if id_ not in found}).items())
