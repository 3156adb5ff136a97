"""Projects: names and notes for runs that belong together."""

from __future__ import annotations

from collections.abc import Sequence

from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.ports.store import Store
from gateway.domain.project import Project, ProjectView


class Projects:
    """The projects. Their runs have the label `project` with the slug as its value."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def create_project(self, slug: str, name: str, note: str, key: IdempotencyKey | None = None) -> Project:
        """Create a project. Runs that have its label already belong to it.

        Raises:
            Conflict: its slug is taken, there are too many, or the key was used with another body.
        """
        return await self._store.projects.create(slug, name or slug, note, key)

    async def edit_project(self, slug: str, *, name: str | None, note: str | None) -> ProjectView:
        """Change a project; what is None stays. An empty name is replaced by the slug.

        Raises:
            ProjectNotFound: there is none with that slug.
        """
        await self._store.projects.edit(slug, name=slug if name == "" else name, note=note)
        return await self._store.projects.get(slug)

    async def delete_project(self, slug: str) -> None:
        """Delete a project. Its runs stay, with their labels.

        Raises:
            ProjectNotFound: there is none with that slug.
        """
        await self._store.projects.delete(slug)

    async def get_project(self, slug: str) -> ProjectView:
        """Return a project with the number of its runs.

        Raises:
            ProjectNotFound: there is none with that slug.
        """
        return await self._store.projects.get(slug)

    async def list_projects(self, page: Page) -> Sequence[ProjectView]:
        """Return a page of projects, newest first, each with the number of its runs."""
        return await self._store.projects.list(page)
