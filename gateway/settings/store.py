"""Where everything is kept."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gateway.settings.variables import env_names


class Data(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    directory: Annotated[
        str | None,
        Meta(
            description="Directory of the database; if not set, `data` in the state directory.",
            extra=env_names("MOONGATE_DATA_DIR", "XCCLAW_DATA_DIR"),
        ),
    ] = None


class Store(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    url: Annotated[
        str | None,
        Meta(
            description="URL of a PostgreSQL database that keeps everything, for several gateways and workers; if not"
            " set, a SQLite file in the data directory does.",
            extra=env_names("MOONGATE_STORE_URL"),
        ),
    ] = None
    password_file: Annotated[
        str | None,
        Meta(
            description="File with the password of that database, for a URL without one.",
            extra=env_names("MOONGATE_STORE_PASSWORD_FILE"),
        ),
    ] = None
