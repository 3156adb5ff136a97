"""Projects: names and notes for runs that belong together. A run belongs to one by its label `project`."""

from __future__ import annotations

from collections.abc import Mapping

from msgspec import Struct

from gateway.domain.run import Status

#: the label of a run whose value is the slug of its project
PROJECT_LABEL = "project"
#: projects that there may be
MAX_PROJECTS = 1000
#: characters of a project's name and of its note
MAX_PROJECT_NAME_CHARACTERS, MAX_PROJECT_NOTE_CHARACTERS = 100, 4000


class Project(Struct, frozen=True, kw_only=True):
    """A project. Times are milliseconds since 1970 UTC."""

    #: order of creation
    seq: int
    #: the value that the label of its runs has
    slug: str
    #: the name that people see
    name: str
    #: what people have written about it
    note: str
    created: int
    updated: int


class ProjectView(Struct, frozen=True, kw_only=True):
    """A project with the number of its runs."""

    project: Project
    #: its runs by status; a status without runs is left out
    counts: Mapping[Status, int]
