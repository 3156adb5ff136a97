"""Questions about newer versions."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gateway.settings.variables import env_names

#: hours between two questions about newer versions if `updates.check` is true
DEFAULT_CHECK_HOURS = 24.0


class Updates(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    check: Annotated[
        Annotated[float, Meta(ge=1, le=8760)] | bool,
        Meta(
            description="How many hours apart the gateway asks the package index for a newer version, so that `gateway"
            " status` tells; true is each day, false is never. Nothing is installed.",
            extra=env_names("MOONGATE_UPDATES_CHECK"),
        ),
    ] = False
    index: Annotated[
        Annotated[str, Meta(pattern=r"^(https?://[^\s@/]+|file:///|/|~/)[^\s@]{0,2000}$(?!\n)")] | None,
        Meta(
            description="URL of the package index that has Moongate, or directory with its wheels, for"
            " `gateway update`; without it, that from which Moongate was installed, if this is known. What else"
            " Moongate needs comes from the index of pip or uv.",
            extra=env_names("MOONGATE_UPDATES_INDEX"),
        ),
    ] = None

    @property
    def check_seconds(self) -> float | None:
        """Seconds between two questions; None for never."""
        if self.check is False:
            return None
        return 3600 * (DEFAULT_CHECK_HOURS if self.check is True else self.check)
