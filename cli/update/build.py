"""Builds the other version next to the present one, and checks what can be checked without the gateway."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import gateway
from cli.update import clone, database, ending, environment, kept_environment, origin, tools, trial
from cli.update.job import Job
from cli.update.journal import Journal
from gateway.errors import Conflict
from gateway.updates.versions import is_newer


def build_version(job: Job, begun: Journal) -> None:
    """Make the environment of the other version, and check what can be checked without the gateway.

    Raises:
        GatewayError: it cannot be made, or does not start.
    """
    with clone.unpack_source(job.site, begun.to_commit) as source:
        if job.is_rollback:
            job.told.set_text(f"copying version {job.version}")
            kept_environment.copy_kept(job.site)
        else:
            _install(job, source)
        env = job.instance.env if source is None else {**job.instance.env, "PYTHONPATH": str(source)}
        job.told.set_text(f"trying version {job.version}")
        environment.try_programs(job.site, job.version, env)
        if database.find_database(job.instance.env) is None:
            _require_same_schema(job, env)
        elif not job.is_rollback:
            _require_readable_database(job, begun.schema, env)
        if job.has_trial and not job.is_rollback:
            job.told.set_text(f"trying version {job.version} with a copy of the database")
            trial.try_serving(job.site, job.version, job.instance, env)


def _require_readable_database(job: Job, present: int | None, env: Mapping[str, str]) -> None:
    """Refuse a version that knows only older databases: no gateway would start.

    Raises:
        Conflict: it is such a version.
    """
    known = environment.read_known_schema(job.site.candidate, env) if present is not None else None
    if present is None or (known is not None and known >= present):
        return
    if known is None and is_newer(job.version, gateway.__version__):
        return  # the trial tells
    what = f"schema {present}; it knows {known}" if known is not None else "it does not say which it knows"
    raise Conflict(
        f"version {job.version} cannot read the present database ({what}).",
        remedy="Nothing has changed. If it is the version from before the last update: gateway update --rollback."
        " Otherwise install it elsewhere, and restore a backup of that version there: gateway restore",
    )


def _require_same_schema(job: Job, env: Mapping[str, str]) -> None:
    """Refuse a version that changes the schema of a database of which there is no copy: there would be no way back.

    Raises:
        Conflict: it changes it, or knows only an older one.
    """
    present = environment.read_known_schema(job.site.environment, job.instance.env, of_server=True)
    known = environment.read_known_schema(job.site.candidate, env, of_server=True)
    if job.has_trial and known != present:
        raise Conflict(
            f"version {job.version} has another schema of the PostgreSQL database ({known}, this version {present}),"
            " of which no copy is made. So nothing could be put back if that version did not serve.",
            remedy="Nothing has changed. Make a dump of it, and update as docs/operations/scale.md says under Upgrade."
            " Or go on without a way back: --no-trial",
        )


def _install(job: Job, source: Path | None) -> None:
    place = origin.find_origin(job.site, job.instance.env) if source is None else None
    job.told.set_text("copying the present version")
    environment.copy_environment(job.site)
    job.told.set_text(f"installing version {job.version}")
    installer = tools.find_installer(job.site.candidate, job.instance.env, ending.tools_place(job.site))
    if place is not None:
        environment.install_version(job.site, job.version, installer, place)
    elif source is not None:
        clone.install_packages(job.site, source, installer)
        environment.settle_paths(job.site)
