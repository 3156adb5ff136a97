"""Counts and logs the wrong tokens, tickets and signatures of each address."""

from __future__ import annotations

import ipaddress
import math
import time
from collections import OrderedDict, deque
from collections.abc import Callable

from gateway import log
from gateway.api.addresses import parse_address

#: failed attempts of one address within the window; after them each further wrong token gets a 429
MAX_FAILED_ATTEMPTS = 10
#: seconds that a failed attempt counts
FAILED_ATTEMPT_WINDOW_SECONDS = 60.0
#: addresses whose failed attempts are remembered
MAX_REMEMBERED_ADDRESSES = 10_000
#: failed attempts of all addresses that are logged within the window: an attacker must not fill the disk
MAX_LOGGED_ATTEMPTS = 100
#: characters of a path that are logged
MAX_LOGGED_PATH_CHARACTERS = 256

_log = log.get()


class FailedAttempts:
    """The failed attempts of the last minute."""

    def __init__(
        self, clock: Callable[[], float] = time.monotonic, *, at_most: int | None = None, is_logged: bool = True
    ) -> None:
        """Args:
        at_most: how many attempts of one address are let through within the window; None: as many as of tokens.
        is_logged: whether each is logged as the event `auth.refused`.
        """
        self._clock = clock
        self._at_most = at_most
        self._is_logged = is_logged
        self._attempts: OrderedDict[str, deque[float]] = OrderedDict()
        self._logged: deque[float] = deque(maxlen=MAX_LOGGED_ATTEMPTS)
        self._unlogged = 0

    def count_attempt(self, address: str, method: str, path: str) -> int:
        """Count and log a failed attempt.

        Attempts of an address that has made too many are neither counted nor logged.

        Returns:
            0, or the seconds until the address may try again if it has made too many attempts.
        """
        now, key = self._clock(), _rate_limit_key(address)
        self._forget_expired(now)
        attempts = self._attempts.setdefault(key, deque(maxlen=self._at_most or MAX_FAILED_ATTEMPTS))
        self._attempts.move_to_end(key)
        if len(self._attempts) > MAX_REMEMBERED_ADDRESSES:
            self._attempts.popitem(last=False)
        if _is_full(attempts, now):
            return math.ceil(FAILED_ATTEMPT_WINDOW_SECONDS - (now - attempts[0]))
        attempts.append(now)
        if not self._is_logged:
            return 0
        recent = sum(now - at < FAILED_ATTEMPT_WINDOW_SECONDS for at in attempts)
        self._log_attempt(now, address=address, method=method, path=path[:MAX_LOGGED_PATH_CHARACTERS], attempts=recent)
        return 0

    def _forget_expired(self, now: float) -> None:
        """Forget the addresses without an attempt that still counts; who was silent for longest comes first."""
        while self._attempts:
            attempts = next(iter(self._attempts.values()))
            if attempts and now - attempts[-1] < FAILED_ATTEMPT_WINDOW_SECONDS:
                return
            self._attempts.popitem(last=False)

    def _log_attempt(self, now: float, **about: object) -> None:
        if _is_full(self._logged, now):
            self._unlogged += 1
            return
        self._logged.append(now)
        unlogged, self._unlogged = self._unlogged, 0
        _log.warning("auth.refused", **about, **({"unlogged": unlogged} if unlogged else {}))


def _is_full(times: deque[float], now: float) -> bool:
    """Return whether there are as many times as fit, all within the window."""
    return len(times) == times.maxlen and now - times[0] < FAILED_ATTEMPT_WINDOW_SECONDS


def _rate_limit_key(address: str) -> str:
    """Return the part of an address that counts as one caller: an IPv4 address, or the /64 network of an IPv6 one."""
    found = parse_address(address)
    if found is None:
        return address
    return str(ipaddress.ip_network((found, 64), strict=False) if found.version == 6 else found)
