"""`gateway projects`: manages projects, each with a name and a note for the tasks that have its label."""

from __future__ import annotations

import click

from cli import output
from cli.command import Group, current_invocation
from cli.remote.client import connect_to_gateway, quote_part


@click.group(cls=Group)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Create, list and delete projects. Tasks belong to one by the label project=SLUG.

    \b
    Examples:
      gateway projects create garden --name "The garden"
      gateway tasks add "Water the beans" --label project=garden
    """


@COMMAND.command("list")
@click.option("--limit", type=click.IntRange(1), default=50, show_default=True, help="Most entries to list.")
def list_projects(limit: int) -> None:
    """List the projects with the number of their tasks, newest first.

    \b
    Example:
      gateway projects list

    \b
    --json prints
      {"projects": [{"slug", "name", "note", "counts": {status: int}, "created_at", "updated_at"}],
        "next_cursor": str or null}
    """
    page = connect_to_gateway().get_pages("/api/projects", "projects", limit)
    if current_invocation().json:
        output.print_json(page)
        return
    rows = [
        (
            project["slug"],
            output.shorten_text(project["name"], 40),
            ", ".join(f"{number} {status}" for status, number in project["counts"].items() if number),
            output.format_time(project["created_at"]),
        )
        for project in page["projects"]
    ]
    output.print_list(("project", "name", "tasks", "created"), rows, page["next_cursor"])


@COMMAND.command("create")
@click.argument("slug")
@click.option("--name", default="", help="Name that people see.  [default: the slug]")
@click.option("--note", default="", help="What people should know about it.")
def create_project(slug: str, name: str, note: str) -> None:
    """Create a project. Tasks that have its label already belong to it.

    \b
    Example:
      gateway projects create garden --name "The garden" --note "Beans and roses"

    \b
    --json prints {"status": "ok", "project": {"slug", "name", "note", "counts": {status: int},
      "created_at", "updated_at"}}
    """
    made = connect_to_gateway().post("/api/projects", {"slug": slug, "name": name, "note": note})
    output.print_result(made, f"Created {slug}. Its tasks have the label project={slug}.")


@COMMAND.command("delete")
@click.argument("slug")
def delete_project(slug: str) -> None:
    """Delete a project. Its tasks stay.

    \b
    Example:
      gateway projects delete garden

    \b
    --json prints {"status": "ok"}
    """
    output.print_result(connect_to_gateway().delete(f"/api/projects/{quote_part(slug)}"), f"Deleted {slug}.")
