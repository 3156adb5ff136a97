"""What the engine asks of a store to keep projects."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.project import Project, ProjectView


class ProjectStore(Protocol):
    """Projects, and the number of their runs."""

    async def create(self, slug: str, name: str, note: str, key: IdempotencyKey | None = None) -> Project:
        """Store a new project.

        Raises:
            Conflict: its slug is taken, there are too many, or the key was used with another body.
        """
        ...

    async def edit(self, slug: str, *, name: str | None, note: str | None) -> Project:
        """Change a project; what is None stays.

        Raises:
            ProjectNotFound: there is none with that slug.
        """
        ...

    async def delete(self, slug: str) -> None:
        """Delete a project. Its runs stay, with their labels.

        Raises:
            ProjectNotFound: there is none with that slug.
        """
        ...

    async def get(self, slug: str) -> ProjectView:
        """Return a project with the number of its runs.

        Raises:
            ProjectNotFound: there is none with that slug.
        """
        ...

    async def list(self, page: Page) -> Sequence[ProjectView]:
        """Return a page of projects, each with the number of its runs. The page counts by `seq`."""
        ...
