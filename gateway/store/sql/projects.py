"""Projects, and how many runs they have: those with the label `project` are counted with every move."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gateway.domain.idempotency import IdempotencyKey
from gateway.domain.page import Page
from gateway.domain.project import (
    MAX_PROJECTS,
    Project,
    ProjectView,
)
from gateway.domain.run import Status
from gateway.domain.unreadable import RowKind
from gateway.errors import Conflict, ProjectNotFound
from gateway.store.sql import event_log, idempotency
from gateway.store.sql.transaction import Reader, Transaction
from gateway.store.sql.unreadable import decode_rows, fetch_row

_PROJECT_COLUMNS = "seq, slug, name, note, created, updated"


def _decode_project(row: Sequence[Any]) -> Project:
    seq, slug, name, note, created, updated = row
    return Project(seq=seq, slug=slug, name=name, note=note, created=created, updated=updated)


def create_project(tx: Transaction, slug: str, name: str, note: str, key: IdempotencyKey | None = None) -> Project:
    earlier = idempotency.find_used(tx, key)
    found = None if earlier is None else _find_project(tx, earlier)
    if found is not None:
        return found
    number: Any = tx.execute("SELECT count(*) FROM projects").get
    if number >= MAX_PROJECTS:
        raise Conflict(f"there are {MAX_PROJECTS} projects already.", remedy="Delete one that you do not need.")
    if tx.execute("SELECT 1 FROM projects WHERE slug = ?", (slug,)).get:
        raise Conflict(f"there is a project {slug!r} already.", remedy="Choose another slug.")
    seq = tx.insert(
        "INSERT INTO projects (slug, name, note, created, updated) VALUES (?, ?, ?, ?, ?)",
        (slug, name, note, tx.now, tx.now),
    )
    made = Project(seq=seq, slug=slug, name=name, note=note, created=tx.now, updated=tx.now)
    idempotency.save_key(tx, key, slug)
    event_log.note_project(tx, slug, "created")
    return made


def edit_project(tx: Transaction, slug: str, *, name: str | None, note: str | None) -> Project:
    tx.execute(
        "UPDATE projects SET name = coalesce(?, name), note = coalesce(?, note), updated = ? WHERE slug = ?",
        (name, note, tx.now, slug),
    )
    if tx.changes_made() == 0:
        raise _make_missing_error(slug)
    event_log.note_project(tx, slug, "edited")
    return _require_project(tx, slug)


def delete_project(tx: Transaction, slug: str) -> None:
    tx.execute("DELETE FROM projects WHERE slug = ?", (slug,))
    if tx.changes_made() == 0:
        raise _make_missing_error(slug)
    event_log.note_project(tx, slug, "deleted")


def get_project(reader: Reader, slug: str) -> ProjectView:
    return _add_counts(reader, _require_project(reader, slug))


def list_projects(reader: Reader, page: Page) -> list[ProjectView]:
    rows = reader.execute(
        f"SELECT {_PROJECT_COLUMNS} FROM projects WHERE seq < ? ORDER BY seq DESC LIMIT ?",
        (1 << 62 if page.before is None else page.before, page.limit),
    )
    found = decode_rows(reader, RowKind.PROJECT, rows, _decode_project, lambda row: (row[1],))
    return [_add_counts(reader, project) for project in found]


def _add_counts(reader: Reader, project: Project) -> ProjectView:
    rows = reader.execute("SELECT status, n FROM project_tally WHERE project = ?", (project.slug,))
    return ProjectView(project=project, counts={Status(status): number for status, number in rows})


def _require_project(reader: Reader, slug: str) -> Project:
    found = _find_project(reader, slug)
    if found is None:
        raise _make_missing_error(slug)
    return found


def _find_project(reader: Reader, slug: str) -> Project | None:
    rows = reader.execute(f"SELECT {_PROJECT_COLUMNS} FROM projects WHERE slug = ?", (slug,))
    return fetch_row(reader, RowKind.PROJECT, rows, _decode_project, lambda: (slug,))


def _make_missing_error(slug: str) -> ProjectNotFound:
    return ProjectNotFound(f"there is no project {slug[:64]!r}.")
