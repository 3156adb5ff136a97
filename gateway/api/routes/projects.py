"""Projects: names and notes for tasks that have the same label `project`."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gateway.api import fields, paging
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.ids import SLUG_PATTERN
from gateway.domain.project import MAX_PROJECT_NAME_CHARACTERS, MAX_PROJECT_NOTE_CHARACTERS, ProjectView
from gateway.domain.run import Status
from gateway.domain.token import Scope

ROUTES = Routes("projects")

ProjectName = Annotated[str, Meta(max_length=MAX_PROJECT_NAME_CHARACTERS, pattern=fields.SHOWN_NAME_PATTERN)]
Note = Annotated[str, Meta(max_length=MAX_PROJECT_NOTE_CHARACTERS)]


class NewProject(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A project. Tasks with the label `project` and its slug belong to it, also those that were there before."""

    #: the value of its tasks' label
    slug: Annotated[str, Meta(pattern=SLUG_PATTERN)]
    #: the name that people see; the slug when left out or empty
    name: ProjectName = ""
    #: what people should know about it
    note: Note = ""


class ChangedProject(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The changes; what is left out or null stays as it is."""

    #: the name that people see; the slug when empty
    name: ProjectName | None = None
    #: what people should know about it
    note: Note | None = None


class ProjectTaskCounts(Struct, frozen=True, kw_only=True):
    """How many tasks of a project there are in each status."""

    #: those that are on disk and must not start yet
    held: int
    #: those that wait
    queued: int
    #: those that are running
    running: int
    #: those that succeeded
    succeeded: int
    #: those that failed
    failed: int
    #: those that were cancelled
    cancelled: int


class ProjectShown(Struct, frozen=True, kw_only=True):
    #: the value of its tasks' label `project`
    slug: str
    #: the name that people see
    name: str
    #: what people should know about it
    note: str
    counts: ProjectTaskCounts
    created_at: str
    updated_at: str


class ProjectAnswer(Struct, frozen=True, kw_only=True):
    status: str = "ok"
    project: ProjectShown


class ProjectList(Struct, frozen=True, kw_only=True):
    #: newest first
    projects: list[ProjectShown]
    #: send it as `cursor` to get the next page; null on the last page
    next_cursor: str | None


class ProjectDeleted(Struct, frozen=True):
    status: str = "ok"


@ROUTES.add("GET", "/api/projects", scope=Scope.READ, query=paging.Paging, answer=ProjectList)
async def list_projects(call: Call[Nothing, paging.Paging]) -> ProjectList:
    """List the projects, newest first, with the number of their tasks by status."""
    found = await call.engine.projects.list_projects(paging.page_to_fetch(call.query))
    projects, cursor = paging.render_page(call.query, found, lambda view: view.project.seq, _render_project)
    return ProjectList(projects=projects, next_cursor=cursor)


@ROUTES.add("POST", "/api/projects", scope=Scope.WRITE, body=NewProject, answer=ProjectAnswer, status=201)
async def create_project(call: Call[NewProject, Nothing]) -> ProjectAnswer:
    """Create a project; `GET /api/tasks?label=project=SLUG` lists its tasks."""
    wanted = call.body
    await call.engine.projects.create_project(wanted.slug, wanted.name, wanted.note, call.read_idempotency_key())
    return ProjectAnswer(project=_render_project(await call.engine.projects.get_project(wanted.slug)))


@ROUTES.add("GET", "/api/projects/{slug}", scope=Scope.READ, answer=ProjectAnswer)
async def show_project(call: Call[Nothing, Nothing]) -> ProjectAnswer:
    """Show a project with the number of its tasks by status."""
    return ProjectAnswer(project=_render_project(await call.engine.projects.get_project(call.path["slug"])))


@ROUTES.add("PATCH", "/api/projects/{slug}", scope=Scope.WRITE, body=ChangedProject, answer=ProjectAnswer)
async def edit_project(call: Call[ChangedProject, Nothing]) -> ProjectAnswer:
    """Change the name or the note of a project."""
    edited = await call.engine.projects.edit_project(call.path["slug"], name=call.body.name, note=call.body.note)
    return ProjectAnswer(project=_render_project(edited))


@ROUTES.add("DELETE", "/api/projects/{slug}", scope=Scope.WRITE, answer=ProjectDeleted)
async def delete_project(call: Call[Nothing, Nothing]) -> ProjectDeleted:
    """Delete a project; its tasks stay, with their labels."""
    await call.engine.projects.delete_project(call.path["slug"])
    return ProjectDeleted()


def _render_project(view: ProjectView) -> ProjectShown:
    project = view.project
    return ProjectShown(
        slug=project.slug,
        name=project.name,
        note=project.note,
        counts=ProjectTaskCounts(**{status.value: view.counts.get(status, 0) for status in Status}),
        created_at=times.format_rfc3339(project.created),
        updated_at=times.format_rfc3339(project.updated),
    )
