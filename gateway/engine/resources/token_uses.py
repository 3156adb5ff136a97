"""When tokens and browsers were last used: known at once, and stored a little later, many together."""

from __future__ import annotations

from gateway.domain.ports.store import Store
from gateway.domain.times import Clock
from gateway.domain.token import TokenUse


class TokenUses:
    """The last use of each token and browser. A request costs no write: a service stores what is new."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        #: uses that are not stored yet, by the hash of the secret; at most one for each that is let in
        self._unstored: dict[str, TokenUse] = {}

    def note_use(self, token: str, address: str, client: str) -> None:
        """Note that a token is used now.

        Args:
            token: hash of its secret, or `OWN_TOKEN`.
        """
        self._unstored[token] = TokenUse(token=token, at=self._clock(), address=address, client=client)

    async def store_uses(self) -> None:
        """Store the uses that are new."""
        uses, self._unstored = self._unstored, {}
        if not uses:
            return
        try:
            await self._store.tokens.save_uses(list(uses.values()))
        except BaseException:
            self._unstored = uses | self._unstored
            raise

    async def list_uses(self) -> dict[str, TokenUse]:
        """Return the last use of each token, by the hash of its secret, also of other processes."""
        found = {use.token: use for use in await self._store.tokens.list_uses()}
        for token, use in self._unstored.items():
            if token not in found or found[token].at < use.at:
                found[token] = use
        return found
