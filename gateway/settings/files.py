"""How large files may be, and which are fetched."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gateway.domain.file import DEFAULT_FILE_QUOTA_BYTES
from gateway.settings.variables import env_names


class Files(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    size: Annotated[
        int,
        Meta(
            ge=1024,
            le=2 << 30,
            description="Maximum size of a file in bytes.",
            extra=env_names("MOONGATE_MAX_FILE_SIZE"),
        ),
    ] = 25_000_000
    per_message: Annotated[int, Meta(ge=1, le=100, description="Maximum number of files of one message.")] = 10
    message_size: Annotated[
        int, Meta(ge=1024, le=2 << 30, description="Maximum size in bytes of the files of one message together.")
    ] = 50_000_000
    quota: Annotated[
        int,
        Meta(
            ge=1024,
            description="Maximum size in bytes of all stored files together; equal files count once. A further file is"
            " refused with 507.",
            extra=env_names("MOONGATE_FILES_QUOTA"),
        ),
    ] = DEFAULT_FILE_QUOTA_BYTES
    fetch: Annotated[
        bool,
        Meta(
            description="Whether a picture that an OpenAI client names by its URL is fetched; `webhooks.allow_private`"
            " says which private addresses may be used."
        ),
    ] = False
