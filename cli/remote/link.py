"""How a client reaches its gateway: what differs between the one on this machine and one elsewhere."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Protocol

from cli.command import current_invocation
from cli.instance import FoundToken, Instance
from cli.remote.elsewhere import REMOTES_FILE
from gateway import paths
from gateway.errors import NotRunning, Unauthorized, Unavailable

if TYPE_CHECKING:
    from http.client import HTTPConnection

    from cli.remote.target import Target


class Link(Protocol):
    """The way to one gateway."""

    #: the environment of the command
    env: Mapping[str, str]
    #: path before that of each request; empty if there is none
    path_prefix: str

    @property
    def access_token(self) -> FoundToken | None:
        """The token that is sent; None if none is."""

    def find_gateway(self, *, lost: bool = False) -> None:
        """Look for the gateway.

        Args:
            lost: whether it was there a moment ago, and may come back.

        Raises:
            NotRunning: it does not run, or does not answer.
        """

    def is_answering(self) -> bool:
        """Return whether the gateway runs and answers now."""

    def connect(self, timeout: float) -> HTTPConnection:
        """Return a connection that is open.

        Raises:
            GatewayError: there is no way to the gateway; the message says why.
            OSError: the connection broke.
        """

    def make_url(self, path: str) -> str:
        """Return the URL of a path for programs on this machine."""

    @property
    def listen_address(self) -> tuple[str, int] | None:
        """The host and the port that the gateway listens on; None if only its URL is known."""

    @property
    def public_url(self) -> str | None:
        """The address for people on any machine; None if it is not known."""

    def explain_loss(self, run: str, waited: str) -> NotRunning:
        """Return the error for a gateway that is gone while a run is followed.

        Args:
            waited: how long it was waited for.
        """

    def explain_break(self, error: Exception) -> Unavailable:
        """Return the error for a connection that broke twice before an answer."""

    def explain_unauthorized(self) -> Unauthorized:
        """Return the error for a gateway that refuses the token."""


def open_link() -> Link:
    """Return the way to the gateway that the command line names.

    Raises:
        GatewayError: it names none that can be reached.
    """
    env = current_invocation().merged_environment
    target = find_elsewhere()
    if target is not None:
        from cli.remote.remote_link import RemoteLink  # late: most commands are for this machine

        return RemoteLink(target, env)
    from cli.remote.local_link import LocalLink

    return LocalLink(Instance.from_environment(env))


def find_elsewhere() -> Target | None:
    """Return the gateway elsewhere that the command line means; None if it means the one on this machine.

    Raises:
        GatewayError: what it names cannot be used.
    """
    invocation = current_invocation()
    env = invocation.merged_environment
    if invocation.named_elsewhere is None and not os.path.lexists(paths.state_directory(env) / REMOTES_FILE):
        return None
    from cli.remote.target import find_target  # late: most commands are for this machine

    return find_target(invocation.elsewhere, env, invocation.config)
