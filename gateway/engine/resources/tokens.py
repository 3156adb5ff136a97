"""Tokens: the gateway's own token, and named tokens with a scope and an expiry."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence

from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.ports.store import Store
from gateway.domain.times import Clock
from gateway.domain.token import Scope, Ticket, Token, hash_secret
from gateway.engine.latch import Latch
from gateway.errors import Conflict, NotFound

#: the name of a caller who has the gateway's own token
OWNER_NAME = "owner"
#: milliseconds for which a ticket is valid
TICKET_LIFETIME_MILLISECONDS = 30_000


class Principal:
    """An authenticated caller."""

    def __init__(self, name: str, scope: Scope, expires: int | None = None) -> None:
        self.name = name
        self.scope = scope
        #: milliseconds since 1970 UTC; None never expires
        self.expires = expires
        #: set when the token is revoked, which ends live streams of this caller
        self.revoked = Latch()


class Tokens:
    """Authenticates callers, and manages named tokens. Only the hash of a token is stored."""

    def __init__(self, store: Store, own: str | None, clock: Clock) -> None:
        """Args:
        own: the gateway's own token, with all scopes; if None, no token is needed.
        """
        self._store = store
        self._clock = clock
        self._own = None if own is None else hash_secret(own).encode()
        self._owner = Principal(OWNER_NAME, Scope.ADMIN)
        self._named: dict[str, Principal] = {}

    async def load_tokens(self) -> None:
        """Read the tokens from the store; again after another process, which may have changed them, steps down."""
        before = set(self._named)
        tokens = {token.hash: token for token in await self._store.tokens.list()}
        for hashed in before - tokens.keys():
            revoked = self._named.pop(hashed, None)
            if revoked is not None:
                revoked.revoked.set()
        for hashed, token in tokens.items():  # known principals stay the same objects: streams hold them
            self._named.setdefault(hashed, Principal(token.name, token.scope, token.expires))

    @property
    def anonymous_principal(self) -> Principal | None:
        """The caller for requests without a token, if the gateway needs none; else None."""
        return self._owner if self._own is None else None

    def authenticate_token(self, secret: bytes) -> Principal | None:
        """Return the caller that a token belongs to, or None. It takes the same time for all wrong tokens."""
        hashed = hash_secret(secret)
        if self._own is not None and hmac.compare_digest(hashed.encode(), self._own):
            return self._owner
        return self._find_valid(hashed)

    async def issue_ticket(self, caller: Principal, key: IdempotencyKey | None = None) -> tuple[str, int]:
        """Create a ticket, which replaces a caller's token once.

        Returns:
            its secret, which is never shown again, and when it expires, in milliseconds since 1970 UTC.

        Raises:
            Conflict: the idempotency key was used for another.
        """
        secret = f"mt_{secrets.token_urlsafe(32)}"
        named = next((hashed for hashed, principal in self._named.items() if principal is caller), None)
        ticket = Ticket(
            hash=hash_secret(secret),
            token=named or self._own_hash,
            expires=self._clock() + TICKET_LIFETIME_MILLISECONDS,
        )
        await self._store.tokens.add_ticket(ticket, key)
        return secret, ticket.expires

    async def redeem_ticket(self, ticket: str) -> Principal | None:
        """Use up a ticket. Returns its caller, or None if the ticket was used or has expired, or its token is gone."""
        token = await self._store.tokens.redeem_ticket(hash_secret(ticket))
        if token is None:
            return None
        return self._owner if token == self._own_hash else self._find_valid(token)

    @property
    def _own_hash(self) -> str:
        return "" if self._own is None else self._own.decode()

    def _find_valid(self, hashed: str) -> Principal | None:
        found = self._named.get(hashed)
        if found is None or (found.expires is not None and found.expires <= self._clock()):
            return None
        return found

    async def list_tokens(self) -> Sequence[Token]:
        return await self._store.tokens.list()

    async def create_token(
        self, name: str, scope: Scope, expires: int | None, key: IdempotencyKey | None = None
    ) -> str:
        """Create a named token and return its secret, which is never shown again.

        The same idempotency key creates the same token again, with a new secret: the client has lost the first one.

        Raises:
            Conflict: there is a token with that name, or the key was used for another.
        """
        if name == OWNER_NAME:
            raise Conflict(f"{name!r} is the name of the gateway's own token.", remedy="Choose another name.")
        secret = f"mg_{secrets.token_urlsafe(32)}"
        token = Token(name=name, hash=hash_secret(secret), scope=scope, expires=expires, created=self._clock())
        await self._store.tokens.add(token, key)
        self._forget_token(name)
        self._named[token.hash] = Principal(name, scope, expires)
        return secret

    async def revoke_token(self, name: str) -> None:
        """End a named token and the live streams of its callers.

        Raises:
            NotFound: there is none with that name.
        """
        if not await self._store.tokens.revoke(name):
            raise NotFound(f"there is no token {name[:64]!r}.")
        self._forget_token(name)

    def _forget_token(self, name: str) -> None:
        for hashed, principal in list(self._named.items()):
            if principal.name == name:
                del self._named[hashed]
                principal.revoked.set()
