"""How much of everything there may be."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gateway.settings.variables import env_names


class Limits(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    runs: Annotated[
        int,
        Meta(
            ge=1,
            le=4096,
            description="Maximum number of runs at the same time, over all agents.",
            extra=env_names("MOONGATE_MAX_RUNS"),
        ),
    ] = 64
    background: Annotated[
        int,
        Meta(
            ge=1,
            le=4096,
            description="How many of those runs may be background tasks (`/v1/tasks`).",
            extra=env_names("MOONGATE_MAX_BACKGROUND", "XITTO_SERVER_CONCURRENCY"),
        ),
    ] = 2
    depth: Annotated[
        int,
        Meta(
            ge=0,
            le=100,
            description="How deeply agents may call each other through the gateway: a request from an agent's own"
            " commands is one level deeper than the agent's run.",
        ),
    ] = 5
    queue: Annotated[
        int,
        Meta(
            ge=1,
            description="Maximum number of waiting runs; a further run is refused with 503.",
            extra=env_names("MOONGATE_QUEUE"),
        ),
    ] = 100_000
    connections: Annotated[int, Meta(ge=1, description="Maximum number of open connections, over all clients.")] = 1024
    per_client: Annotated[
        int,
        Meta(ge=1, description="Maximum number of open connections per address; not for loopback and trusted proxies."),
    ] = 64
    body: Annotated[int, Meta(ge=1024, le=64 << 20, description="Maximum size of a request's body in bytes.")] = (
        1_000_000
    )
    history: Annotated[
        int,
        Meta(
            ge=1024,
            le=64 << 20,
            description="Maximum size in bytes of a request to OpenAI's API without the files in it; its clients repeat"
            " the conversation each time. The text that the agent gets of it is limited by `limits.body`.",
        ),
    ] = 16_000_000
    header_seconds: Annotated[
        float, Meta(gt=0, description="Seconds that a client has to send a request's header.")
    ] = 10.0
    body_seconds: Annotated[float, Meta(gt=0, description="Seconds that a client has to send a request's body.")] = 30.0
    wait_seconds: Annotated[
        float,
        Meta(gt=0, description="Seconds that a synchronous call waits before it answers 504; the run continues."),
    ] = 600.0
    stall_seconds: Annotated[
        float, Meta(gt=0, description="Seconds after which a client is disconnected if it reads nothing of its answer.")
    ] = 20.0
    output: Annotated[
        int, Meta(ge=1024, description="Maximum size of an agent's answer in bytes; with a longer one, the run fails.")
    ] = 8 << 20
