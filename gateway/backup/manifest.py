"""The format of a backup: a compressed tar archive whose first and last members describe the others.

`backup.json` comes first: it says who made the backup, so that a version that does not know the format stops there.
Then come the members, each below the name of its part. `members.jsonl` lists them in the same order, with their sizes
and SHA-256, and `manifest.json` has the SHA-256 of that list, and what was left out.
"""

from __future__ import annotations

import json
from enum import StrEnum
from typing import Any

from msgspec import Struct

#: number of the format; a change that earlier versions cannot read makes it larger
BACKUP_FORMAT = 1
#: names of the members that describe the others
HEADER_NAME, LISTING_NAME, MANIFEST_NAME = "backup.json", "members.jsonl", "manifest.json"
#: bytes of the name of a member, and components of it
MAX_MEMBER_NAME_BYTES, MAX_MEMBER_DEPTH = 4096, 256
#: bytes that the header and the manifest may have
MAX_HEADER_BYTES, MAX_MANIFEST_BYTES = 64 * 1024, 4 << 20
#: how many things that were left out are named one by one
MAX_NAMED_OMISSIONS = 1000


class Part(StrEnum):
    """What belongs together: the first component of a member's name."""

    #: the config file
    CONFIG = "config"
    #: the agent that was found
    STATE = "state"
    #: `.env`, the token and the webhook secret
    SECRETS = "secrets"
    DATABASE = "database"
    #: the contents of files of messages and answers
    FILES = "files"
    #: large outputs of tools
    OUTPUTS = "outputs"
    #: the directories of sessions
    WORKSPACES = "workspaces"
    #: what agents' programs keep of their conversations
    AGENTS = "agents"


class Purpose(StrEnum):
    """What a backup was made for. Only those of a plan are removed when they are old."""

    #: by hand, or by a script of the user
    HAND = "hand"
    #: by the gateway itself, every so many hours
    PLAN = "plan"
    #: before an update, to return from it
    UPDATE = "update"


class BackupHeader(Struct, frozen=True, kw_only=True):
    """What is known of a backup before the first byte of it is read."""

    format: int = BACKUP_FORMAT
    #: version of Moongate that made it
    version: str
    #: number of the last migration of its database; 0 if there is no SQLite database in it
    schema: int
    #: when it was made, in milliseconds since 1970 UTC
    created_at: int
    #: name of the machine
    host: str
    #: the state directory
    home: str
    #: whether a gateway worked with the state directory in the meantime
    running: bool
    purpose: Purpose = Purpose.HAND
    #: which installation made it: several may write into one directory, also from machines of one name
    installation: str = ""


class PartSize(Struct, frozen=True, kw_only=True):
    """How much of a part is in a backup."""

    files: int
    bytes: int


class Omission(Struct, frozen=True, kw_only=True):
    """Something that is not in the backup."""

    name: str
    reason: str


class AgentMemory(Struct, frozen=True, kw_only=True):
    """Where the program of an agent keeps its conversations."""

    #: name of the program
    agent: str
    path: str
    bytes: int
    #: whether the backup contains it
    included: bool


class BackupManifest(Struct, frozen=True, kw_only=True):
    """The last member of a backup."""

    #: number of members in the listing, and of bytes in them
    members: int
    bytes: int
    #: SHA-256 of the listing
    listing: str
    #: how much there is, by part
    parts: dict[str, PartSize]
    #: what was left out, the first ones
    omissions: list[Omission] = []
    #: number of things that were left out
    omitted: int = 0
    #: how many of those are damaged or could not be read; the others have no content, or were removed meanwhile
    lost: int = 0
    #: whether a gateway worked at the end: it may have started after the header was written
    running: bool = False
    #: variables that stand for the secrets that were taken out of the config
    variables: list[str] = []
    agents: list[AgentMemory] = []


def may_be_link(name: str) -> bool:
    """Return whether a member may be a symbolic link: only what agents made, in the directories of sessions."""
    parts = name.split("/")
    return parts[0] in (Part.WORKSPACES, Part.AGENTS) and len(parts) > 2


def add_member(parts: dict[str, PartSize], name: str, size: int, *, is_file: bool) -> None:
    """Add a member to the sizes of its part."""
    part = name.partition("/")[0]
    before = parts.get(part, PartSize(files=0, bytes=0))
    parts[part] = PartSize(files=before.files + is_file, bytes=before.bytes + size)


def encode_member_line(name: str, size: int, sha256: str, link: str | None = None) -> bytes:
    """Return the line of the listing for a member.

    Args:
        link: where it leads, if it is a symbolic link.
    """
    told: dict[str, Any] = {"name": name, "size": size, "sha256": sha256}
    if link is not None:
        told["link"] = link
    return json.dumps(told).encode() + b"\n"  # not msgspec: names may have bytes that are not UTF-8
