"""What an agent offers its users to choose: models and modes, as it told at last."""

from __future__ import annotations

import re
from collections.abc import Iterable
from enum import StrEnum

from msgspec import Struct

#: choices of a kind that are kept, at most; and characters of their names
MAX_CHOICES = 2_000
MAX_CHOICE_CHARACTERS = 200
#: near names that an error tells, at most
MAX_NEAR_NAMES = 5


class OtherModels(StrEnum):
    """Which names of models an agent takes that it does not list."""

    NONE = "none"
    #: other spellings of a listed one, such as `claude-sonnet-5` for `sonnet`
    SIMILAR = "similar"
    #: any; or it is not known
    ANY = "any"


class OfferedChoice(Struct, frozen=True, kw_only=True):
    """Something that a user may choose."""

    #: how it is named in a request
    id: str
    #: its name for people
    name: str


class Offer(Struct, frozen=True, kw_only=True):
    """What an agent offers. None where it has not told."""

    models: tuple[OfferedChoice, ...] | None = None
    modes: tuple[OfferedChoice, ...] | None = None
    #: which names of models it takes that are not in `models`
    other_models: OtherModels = OtherModels.ANY

    def takes_model(self, model: str) -> bool:
        """Return whether the agent may take a model: False only if it certainly does not."""
        if self.models is None or self.other_models is OtherModels.ANY:
            return True
        given = model.casefold()
        names = [name.casefold() for choice in self.models for name in (choice.id, choice.name)]
        # opencode takes a variant after the id of a model
        if given in names or any(given.startswith(f"{choice.id.casefold()}/") for choice in self.models):
            return True
        # claude-agent-acp takes `opusplan`, too
        return self.other_models is OtherModels.SIMILAR and any(word in given for word in _split_words(" ".join(names)))

    def find_near_models(self, model: str) -> list[str]:
        """Return the ids of the models that are spelled like this one; without any, the first ones."""
        ids = [choice.id for choice in self.models or ()]
        import difflib  # late: only needed for a wrong name

        return difflib.get_close_matches(model, ids, n=MAX_NEAR_NAMES) or ids[:MAX_NEAR_NAMES]


def make_choices(found: Iterable[tuple[str, str]]) -> tuple[tuple[OfferedChoice, ...], bool]:
    """Return choices for ids and names, and whether all were kept: there is a limit for their number and length."""
    kept: list[OfferedChoice] = []
    is_complete = True
    for id_, name in found:
        if len(kept) == MAX_CHOICES or len(id_) > MAX_CHOICE_CHARACTERS:
            is_complete = False
        else:
            kept.append(OfferedChoice(id=id_, name=name[:MAX_CHOICE_CHARACTERS]))
    return tuple(kept), is_complete


def _split_words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]{3,}", text))
