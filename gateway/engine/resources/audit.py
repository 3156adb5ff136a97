"""The audit log, as clients see it, and what it is told that no change of the store tells."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from gateway import log
from gateway.domain.actor import Actor, ActorKind
from gateway.domain.audit import (
    MAX_AUDIT_DETAILS,
    MAX_AUDIT_TEXT_CHARACTERS,
    AuditAction,
    AuditEntry,
    AuditFilter,
    AuditNote,
    AuditOutcome,
)
from gateway.domain.page import Page
from gateway.domain.ports.store import Store
from gateway.domain.retention import DAY_MILLISECONDS
from gateway.domain.times import MINUTE_MILLISECONDS, Clock
from gateway.errors import GatewayError
from gateway.settings.digests import SettingDigests, list_changes

#: callers and addresses whose refused attempts are told apart within a minute; those of others are counted together
MAX_REFUSED_ADDRESSES = 100
#: entries of a day that tell refused addresses apart; those of more are counted together: one entry a minute
MAX_REFUSED_ENTRIES_PER_DAY = 5_000
#: stands for the addresses beyond these
OTHER_ADDRESSES = "others"
_OTHERS = Actor(kind=ActorKind.STRANGER, address=OTHER_ADDRESSES)
#: scope of the notes that keep the digests of the settings of the last start
SETTINGS_SCOPE = "audited settings"

_log = log.get()


class AuditLog:
    """Lists the audit log and adds to it."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        #: refused attempts that are not stored yet: their number, by minute, who made them, and the scope they lacked
        self._refused: dict[tuple[int, Actor, str], int] = {}
        #: a day, by its number, and how many entries of it tell who it was
        self._refused_day, self._refused_today = 0, 0

    async def add(self, action: AuditAction, target: str = "", **details: str) -> None:
        """Add an entry for the caller of the current request. A disk that refuses does not undo what was done."""
        try:
            await self._store.audit.add([AuditNote(action=action, target=target, details=details)])
        except GatewayError as error:
            _log.warning("audit.unrecorded", action=action, error=str(error))

    async def note_settings(self, place: str, digests: SettingDigests) -> None:
        """Add an entry if the settings of a gateway differ from those of its start before.

        Args:
            place: tells apart the gateways of a fleet.
            digests: of its settings now.
        """
        notes = await self._store.notes.list(SETTINGS_SCOPE, "")
        kept = {name: found for name, text in notes.items() if (found := _read_digests(text)) is not None}
        before = kept.get(place)
        if before is None or before.key != digests.key:  # all would seem to have changed
            before = None
        elif changed := list_changes(before.by_name, digests.by_name):
            shown = dict(enumerate(_pack_names(changed)))
            details = {"names" if number == 0 else f"names_{number + 1}": text for number, text in shown.items()}
            await self.add(AuditAction.SETTINGS_CHANGED, place, count=str(len(changed)), **details)
        told: dict[str, str | None] = dict.fromkeys(notes.keys() - kept.keys())  # of no use to anybody
        if before != digests:
            told[place] = msgspec.json.encode(digests).decode()
        if told:
            await self._store.notes.save(SETTINGS_SCOPE, told)

    async def list_entries(self, which: AuditFilter, page: Page) -> Sequence[AuditEntry]:
        """Return entries, newest first; with `AuditFilter.after`, those that follow it, oldest first."""
        return await self._store.audit.list(which, page)

    def count_refusal(self, who: Actor, needed: str = "") -> None:
        """Count a refused attempt: an attacker must not fill the disk, so there is one entry for many.

        Args:
            needed: the scope that the caller's token lacks; empty if the caller has no valid token.
        """
        now = self._clock()
        minute, day = now // MINUTE_MILLISECONDS, now // DAY_MILLISECONDS
        if day != self._refused_day:
            self._refused_day, self._refused_today = day, 0
        key = (minute, who, needed)
        if key not in self._refused:
            has_room = len(self._refused) < MAX_REFUSED_ADDRESSES
            if has_room and self._refused_today < MAX_REFUSED_ENTRIES_PER_DAY:
                self._refused_today += 1
            else:
                key = (minute, _OTHERS, "")
        self._refused[key] = self._refused.get(key, 0) + 1

    async def store_refusals(self) -> None:
        """Store the refused attempts that were counted."""
        counted, self._refused = self._refused, {}
        if not counted:
            return
        try:
            await self._store.audit.add([_describe_refusals(*key, number) for key, number in counted.items()])
        except BaseException:
            for key, number in counted.items():
                self._refused[key] = self._refused.get(key, 0) + number
            raise


def _read_digests(text: str) -> SettingDigests | None:
    """Return what a note says; None for one of a form that is not used any more."""
    try:
        return msgspec.json.decode(text, type=SettingDigests)
    except msgspec.DecodeError:
        return None


def _pack_names(names: Sequence[str]) -> list[str]:
    """Return names in as few texts as an entry may have, each as long as it may be."""
    packed: list[str] = []
    for name in names:
        if packed and len(packed[-1]) + len(name) + 2 <= MAX_AUDIT_TEXT_CHARACTERS:
            packed[-1] += f", {name}"
        else:
            packed.append(name)
    return packed[: MAX_AUDIT_DETAILS - 1]


def _describe_refusals(minute: int, who: Actor, needed: str, attempts: int) -> AuditNote:
    return AuditNote(
        action=AuditAction.ACCESS_REFUSED,
        outcome=AuditOutcome.REFUSED,
        details={"attempts": str(attempts), **({"needed": needed} if needed else {})},
        actor=who,
    )
