"""Tokens: the gateway's own token, and named tokens with a scope and an expiry."""

from __future__ import annotations

import hmac
import secrets
from collections.abc import Sequence
from contextlib import suppress

import msgspec

from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.ports.store import Store
from gateway.domain.reach import Reach
from gateway.domain.times import Clock
from gateway.domain.token import OWN_TOKEN, Scope, Ticket, Token, hash_secret
from gateway.engine.resources.principal import Principal
from gateway.engine.resources.sign_ins import SignedIn, SignIns
from gateway.engine.resources.token_uses import TokenUses
from gateway.errors import Conflict, NotFound, Unauthorized

#: the name of a caller who has the gateway's own token
OWNER_NAME = OWN_TOKEN
#: milliseconds for which a ticket is valid, and a code that signs a browser in
TICKET_LIFETIME_MILLISECONDS, CODE_LIFETIME_MILLISECONDS = 30_000, 60_000
#: beginnings of secrets: no ticket is good as a code, and no code as a ticket
_TICKET_PREFIX, _CODE_PREFIX = "mt_", "mc_"


class Tokens:
    """Authenticates callers, and manages named tokens. Only the hash of a token is stored."""

    def __init__(self, store: Store, own: str | None, clock: Clock) -> None:
        """Args:
        own: the gateway's own token, with all scopes; if None, no token is needed.
        """
        self._store = store
        self._clock = clock
        self._own = None if own is None else hash_secret(own).encode()
        self._owner = Principal(OWNER_NAME, Scope.ADMIN, hash_=OWN_TOKEN)
        self._named: dict[str, Principal] = {}
        self._sign_ins = SignIns(store, clock)
        self.uses = TokenUses(store, clock)

    async def load_tokens(self) -> None:
        """Read the tokens from the store; again after another process, which may have changed them, steps down."""
        before = set(self._named)
        stored = await self._store.tokens.list()
        tokens = {token.hash: token for token in stored if token.parent is None}
        for hashed in before - tokens.keys():
            revoked = self._named.pop(hashed, None)
            if revoked is not None:
                revoked.revoked.set()
        for hashed, token in tokens.items():  # known principals stay the same objects: streams hold them
            self._named.setdefault(hashed, Principal(token.name, token.scope, token.expires, token.reach, hashed))
        self._sign_ins.load((token for token in stored if token.parent is not None), self._holders)

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

    def authenticate_cookie(self, secret: str) -> SignedIn | None:
        """Return the caller whose browser has that secret in its cookie, or None."""
        return self._sign_ins.find(hash_secret(secret))

    def knows_cookie(self, secret: str) -> bool:
        """Return whether a browser has had that secret in its cookie, though its time may be over."""
        return self._sign_ins.knows(hash_secret(secret))

    async def issue_ticket(self, caller: Principal, key: IdempotencyKey | None = None) -> tuple[str, int]:
        """Create a ticket, which replaces a caller's token once.

        Returns:
            its secret, which is never shown again, and when it expires, in milliseconds since 1970 UTC.

        Raises:
            Conflict: the idempotency key was used for another.
            Unauthorized: the token was revoked since the caller was let in.
        """
        return await self._issue(_TICKET_PREFIX, caller, TICKET_LIFETIME_MILLISECONDS, key)

    async def redeem_ticket(self, ticket: str) -> Principal | None:
        """Use up a ticket. Returns its caller, or None if the ticket was used or has expired, or its token is gone."""
        return await self._redeem(_TICKET_PREFIX, ticket)

    async def issue_code(self, caller: Principal, key: IdempotencyKey | None = None) -> tuple[str, int]:
        """Create a code, which signs one browser in with a caller's token. Returns and raises as for a ticket."""
        return await self._issue(_CODE_PREFIX, caller, CODE_LIFETIME_MILLISECONDS, key)

    async def redeem_code(self, code: str) -> Principal | None:
        """Use up a code. Returns its caller, or None if the code was used or has expired, or its token is gone."""
        return await self._redeem(_CODE_PREFIX, code)

    async def sign_in(self, caller: Principal, browser: str, replaced: SignedIn | None = None) -> tuple[str, int]:
        """Sign a browser in with the token of a caller: with the same scope, and for no longer.

        Args:
            browser: what signs in, for people.
            replaced: what the same browser was signed in as.

        Returns:
            the secret for its cookie, and when it expires, in milliseconds since 1970 UTC.

        Raises:
            Unauthorized: the token was revoked meanwhile.
        """
        parent = caller.parent if isinstance(caller, SignedIn) else self._hash_of(caller)
        holder = self._holders.get(parent)
        if holder is None:
            raise Unauthorized("the token was revoked meanwhile.")
        return await self._sign_ins.add(parent, holder, browser, replaced)

    def note_use(self, caller: Principal, address: str, client: str) -> None:
        """Note that a token or a browser is used; it is stored later."""
        if caller is not self.anonymous_principal:
            self.uses.note_use(caller.hash, address, client)

    async def record_use(self, caller: SignedIn) -> float | None:
        """Note that a browser is used. Returns the seconds that it stays signed in if its time began again."""
        return await self._sign_ins.record_use(caller)

    async def list_tokens(self) -> Sequence[Token]:
        """Return the named tokens, and the browsers that are signed in."""
        found = []
        for token in await self._store.tokens.list():
            if token.parent is None:
                found.append(token)
            elif (known := self._sign_ins.find(token.hash)) is not None:
                found.append(msgspec.structs.replace(token, expires=known.expires, last_used=known.last_used))
        return found

    def find_holder(self, sign_in: Token) -> str | None:
        """Return the name of the token that a browser signed in with; None for a token."""
        known = self._sign_ins.find(sign_in.hash)
        return None if known is None else known.name

    async def create_token(
        self,
        name: str,
        scope: Scope,
        expires: int | None,
        key: IdempotencyKey | None = None,
        reach: Reach | None = None,
    ) -> str:
        """Create a named token and return its secret, which is never shown again.

        The same idempotency key creates the same token again, with a new secret: the client has lost the first one.

        Args:
            reach: the agents and sessions that it is limited to; None reaches all.

        Raises:
            Conflict: there is a token with that name, or the key was used for another.
        """
        if name == OWNER_NAME:
            raise Conflict(f"{name!r} is the name of the gateway's own token.", remedy="Choose another name.")
        secret = f"mg_{secrets.token_urlsafe(32)}"
        reach = reach or Reach()
        token = Token(
            name=name,
            hash=hash_secret(secret),
            scope=scope,
            expires=expires,
            created=self._clock(),
            agents=reach.agents,
            sessions=reach.sessions,
        )
        await self._store.tokens.add(token, key)
        self._forget_token(name)
        self._named[token.hash] = Principal(name, scope, expires, token.reach, token.hash)
        return secret

    async def revoke_token(self, name: str) -> None:
        """End a named token with all browsers that signed in with it, or one of these; and their live streams.

        Raises:
            NotFound: there is none with that name.
        """
        if not await self._store.tokens.revoke(name):
            raise NotFound(f"there is no token {name[:64]!r}.")
        self._forget_token(name)
        self._sign_ins.forget_named(name)

    async def sign_out(self, caller: SignedIn) -> None:
        """Sign a browser out. It may be signed out already."""
        with suppress(NotFound):
            await self.revoke_token(caller.listed_name)

    def _forget_token(self, name: str) -> None:
        for hashed, principal in list(self._named.items()):
            if principal.name == name:
                del self._named[hashed]
                principal.revoked.set()
                self._sign_ins.forget_children(hashed)

    @property
    def _holders(self) -> dict[str, Principal]:
        """Those who have a token, by its hash."""
        return {**self._named, **({} if self._own is None else {self._own.decode(): self._owner})}

    async def _issue(
        self, prefix: str, caller: Principal, lifetime: int, key: IdempotencyKey | None
    ) -> tuple[str, int]:
        secret = prefix + secrets.token_urlsafe(32)
        ticket = Ticket(hash=hash_secret(secret), token=self._hash_of(caller), expires=self._clock() + lifetime)
        await self._store.tokens.add_ticket(ticket, key)
        return secret, ticket.expires

    async def _redeem(self, prefix: str, secret: str) -> Principal | None:
        if not secret.startswith(prefix):
            return None
        token = await self._store.tokens.redeem_ticket(hash_secret(secret))
        if token is None:
            return None
        if token == self._own_hash:
            return self._owner
        return self._find_valid(token) or self._sign_ins.find(token)

    def _hash_of(self, caller: Principal) -> str:
        """Return the hash of the secret that a caller has sent.

        Raises:
            Unauthorized: the token was revoked since.
        """
        if isinstance(caller, SignedIn):
            return caller.hash
        if caller is self._owner:
            return self._own_hash
        for hashed, principal in self._named.items():
            if principal is caller:
                return hashed
        raise Unauthorized("the token was revoked meanwhile.")

    @property
    def _own_hash(self) -> str:
        return "" if self._own is None else self._own.decode()

    def _find_valid(self, hashed: str) -> Principal | None:
        found = self._named.get(hashed)
        if found is None or (found.expires is not None and found.expires <= self._clock()):
            return None
        return found
