"""Browsers that are signed in: each has a cookie of its own, which stands for the token that it signed in with."""

from __future__ import annotations

import contextlib
import secrets
from collections.abc import Iterable, Mapping

from gateway.domain.ports.store import Store
from gateway.domain.times import Clock
from gateway.domain.token import Token, hash_secret
from gateway.engine.resources.principal import Principal
from gateway.errors import GatewayError, Unauthorized

#: milliseconds that a browser stays signed in after its last use, and how often that time begins again
SIGN_IN_LIFETIME_MILLISECONDS, EXTENSION_INTERVAL_MILLISECONDS = 30 * 86_400_000, 86_400_000
#: milliseconds after which the last use is stored again
USE_INTERVAL_MILLISECONDS = 3_600_000
#: browsers that may be signed in with the same token
MAX_SIGN_INS = 100


class SignedIn(Principal):
    """A caller whose browser is signed in. It has the name and the scope of the token that it signed in with."""

    def __init__(self, sign_in: Token, holder: Principal) -> None:
        super().__init__(holder.name, sign_in.scope, sign_in.expires, holder.reach, sign_in.hash)
        #: name by which it is listed and revoked
        self.listed_name = sign_in.name
        #: hex SHA-256 of the secret of the token
        self.parent = sign_in.parent or ""
        #: milliseconds since 1970 UTC
        self.last_used = self.stored_use = sign_in.last_used or sign_in.created
        self.latest_expiry = holder.expires

    def next_expiry(self, now: int) -> int:
        """Return when it expires if it is used now, in milliseconds since 1970 UTC: never after its token."""
        return _limit_expiry(now + SIGN_IN_LIFETIME_MILLISECONDS, self.latest_expiry)


class SignIns:
    """The browsers that are signed in."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._known: dict[str, SignedIn] = {}

    def load(self, stored: Iterable[Token], holders: Mapping[str, Principal]) -> None:
        """Learn what is stored; again after another process, which may have changed it, steps down.

        Args:
            holders: those who have a token, by its hash. Browsers that signed in with another are not let in.
        """
        found = {one.hash: one for one in stored if one.parent in holders}
        self.forget(self._known.keys() - found.keys())
        for hash_, one in found.items():  # known ones stay the same objects: streams hold them
            self._known.setdefault(hash_, SignedIn(one, holders[one.parent or ""]))

    def find(self, hash_: str) -> SignedIn | None:
        """Return the browser with that hash of the secret in its cookie, or None if there is none any more."""
        found = self._known.get(hash_)
        return None if found is None or (found.expires or 0) <= self._clock() else found

    def knows(self, hash_: str) -> bool:
        """Return whether a browser has that hash of the secret in its cookie, though its time may be over."""
        return hash_ in self._known

    async def add(self, parent: str, holder: Principal, browser: str, replaced: SignedIn | None) -> tuple[str, int]:
        """Sign a browser in.

        Args:
            parent: the hash of the token's secret.
            holder: who has the token.
            browser: what signs in, for people.
            replaced: what the same browser was signed in as.

        Returns:
            the secret for its cookie, and when it expires, in milliseconds since 1970 UTC.

        Raises:
            Unauthorized: the token was revoked meanwhile.
        """
        secret, now = f"ms_{secrets.token_urlsafe(32)}", self._clock()
        expires = _limit_expiry(now + SIGN_IN_LIFETIME_MILLISECONDS, holder.expires)
        made = Token(
            name=f"browser-{secrets.token_hex(4)}",
            hash=hash_secret(secret),
            scope=holder.scope,
            expires=expires,
            created=now,
            browser=browser,
            parent=parent,
            last_used=now,
        )
        removed = await self._store.tokens.add_sign_in(made, MAX_SIGN_INS, None if replaced is None else replaced.hash)
        self.forget(removed)
        if holder.revoked.is_set:
            raise Unauthorized("the token was revoked meanwhile.")
        self._known[made.hash] = SignedIn(made, holder)
        return secret, expires

    async def record_use(self, found: SignedIn) -> float | None:
        """Note that a browser is used; once a day, its time begins again.

        Returns the seconds that it stays signed in if its time began again; else None.
        """
        now = found.last_used = self._clock()
        if now - found.stored_use < USE_INTERVAL_MILLISECONDS:
            return None
        found.stored_use, before, later = now, found.expires or 0, found.next_expiry(now)
        is_extended = later - before >= EXTENSION_INTERVAL_MILLISECONDS
        found.expires = later if is_extended else before
        with contextlib.suppress(GatewayError):  # a full disk must not sign anyone out
            await self._store.tokens.record_use(found.hash, now, found.expires)
        return (later - now) / 1000 if is_extended else None

    def forget(self, hashes: Iterable[str]) -> None:
        """End sign-ins that are gone from the store, and the live streams of their callers."""
        for hash_ in hashes:
            gone = self._known.pop(hash_, None)
            if gone is not None:
                gone.revoked.set()

    def forget_named(self, name: str) -> None:
        """End the sign-in that is listed by that name."""
        self.forget([one.hash for one in self._known.values() if one.listed_name == name])

    def forget_children(self, parent: str) -> None:
        """End the sign-ins that were made with the token of that hash."""
        self.forget([one.hash for one in self._known.values() if one.parent == parent])


def _limit_expiry(expires: int, latest: int | None) -> int:
    return expires if latest is None else min(expires, latest)
