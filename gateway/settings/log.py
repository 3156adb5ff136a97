"""What is logged."""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import Meta, Struct

from gateway.settings.variables import env_names


class Log(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="Lowest level that is logged.", extra=env_names("MOONGATE_LOG_LEVEL")),
    ] = "info"
