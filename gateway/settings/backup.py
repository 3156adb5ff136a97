"""Backups that the gateway makes by itself."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gateway.settings.variables import env_names


class Backup(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    every: Annotated[
        Annotated[float, Meta(ge=0.01, le=8760)] | None,
        Meta(
            description="Hours between two backups that the gateway makes by itself; if not set, it makes none.",
            extra=env_names("MOONGATE_BACKUP_EVERY"),
        ),
    ] = None
    keep: Annotated[
        int,
        Meta(
            ge=1,
            le=10_000,
            description="How many of those backups are kept, the newest ones.",
            extra=env_names("MOONGATE_BACKUP_KEEP"),
        ),
    ] = 7
    directory: Annotated[
        str | None,
        Meta(
            description="Directory of backups; if not set, `backups` in the state directory. Better on another disk.",
            extra=env_names("MOONGATE_BACKUP_DIRECTORY"),
        ),
    ] = None
    secrets: Annotated[
        bool,
        Meta(
            description="Whether those backups contain the secrets: `.env`, the token, the webhook secret and those in"
            " the config.",
        ),
    ] = False
