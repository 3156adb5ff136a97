"""Where tokens are kept. Only the hashes of their secrets are stored."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.token import Ticket, Token, TokenUse


class TokenStore(Protocol):
    """Tokens, browsers that signed in with them, and tickets: short-lived stand-ins for a token that work once."""

    async def add(self, token: Token, key: IdempotencyKey | None = None) -> None:
        """Store a token. Under the same key it replaces the earlier one, whose secret the client never got.

        Raises:
            Conflict: the name is taken, or the key was used with another body.
        """
        ...

    async def revoke(self, name: str) -> bool:
        """Delete a token, with the browsers that signed in with it, or one browser. Returns whether there was one."""
        ...

    async def list(self) -> Sequence[Token]: ...

    async def add_sign_in(self, sign_in: Token, at_most: int, replaced: str | None = None) -> Sequence[str]:
        """Store a browser that signed in.

        Args:
            at_most: how many browsers may be signed in with the same token: the longest unused ones are deleted.
            replaced: hash of a browser's secret; that one is deleted.

        Returns the hashes of the deleted ones, and of those that had expired.
        """
        ...

    async def record_use(self, hash_: str, last_used: int, expires: int) -> None:
        """Store when a browser was last used, and when its sign-in expires; both in milliseconds since 1970 UTC."""
        ...

    async def save_uses(self, uses: Sequence[TokenUse]) -> None:
        """Store when tokens and browsers were last used; one that is gone is left out, and a later use stays."""
        ...

    async def list_uses(self) -> Sequence[TokenUse]:
        """Return the last use of each token and browser that was used."""
        ...

    async def add_ticket(self, ticket: Ticket, key: IdempotencyKey | None = None) -> None:
        """Store a ticket. Under the same key it replaces the earlier one, whose secret the client never got.

        Raises:
            Conflict: the key was used with another body.
        """
        ...

    async def redeem_ticket(self, hash_: str) -> str | None:
        """Use up a ticket and return the token that it stands for; None if there is none or it has expired."""
        ...
