"""Finds out which version of opencode's API a server speaks.

The server is asked, because the text of a version says little: version 2 took over the program's name, and dropped the
routes of version 1. A server of either version answers its web page, with status 200, where it has no route.
"""

from __future__ import annotations

from typing import NamedTuple

from msgspec import Struct

from gateway.backends.opencode.calls import RequestRefused, RouteMissing, ServerCalls
from gateway.errors import AgentError

#: a route of each version that tells the version of the program. Version 1 comes first: some of its releases pass
#: routes that they do not know on to a server on the Internet.
_ROUTES = {1: "/global/health", 2: "/api/info"}


class ServerVersion(NamedTuple):
    """What a server is."""

    #: version of its API: 1 or 2
    api: int
    #: version of the program, such as 2.0.7; empty if it does not say
    program: str


class _Info(Struct):
    version: str = ""


async def find_version(calls: ServerCalls, within: float) -> ServerVersion:
    """Ask a server which version it is.

    Args:
        within: seconds for each of two questions.

    Raises:
        AgentError: it does not answer, refuses the password, or is no opencode server of a version that we know.
    """
    for api, path in _ROUTES.items():
        try:
            said = await calls.send_request(_Info, "GET", path, within=within)
        except RouteMissing:
            continue
        except RequestRefused as error:
            if error.http_status != 404:
                raise
            continue
        return ServerVersion(api, said.version)
    raise AgentError(
        f"{calls.base} does not answer like an opencode server: it has neither {' nor '.join(_ROUTES.values())}.",
        remedy="Check `url`, and that the server is opencode 1.x or 2.x.",
    )
