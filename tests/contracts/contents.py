"""What tests look at in a store of contents."""

from __future__ import annotations

from pathlib import Path

from gateway.domain.ports.file_store import ContentStore
from gateway.store.file_directory import DRAFTS
from tests.support.files_below import list_files


def list_drafts(directory: Path) -> list[str]:
    """Return the names of the drafts of contents in a directory."""
    return [path.name for path in list_files(directory / "files" / DRAFTS)]


def list_hashes(contents: ContentStore) -> list[str]:
    """Return the SHA-256 of all contents, sorted."""
    return sorted(sha256 for group in contents.list_contents() for sha256 in group)
