"""Goes on with an update that was interrupted, such as by `kill -9` or a power failure."""

from __future__ import annotations

import gateway
from cli.instance import Instance
from cli.output import WaitIndicator
from cli.update import database, driver, ending, environment, journal, locking, places, way_back
from cli.update.installation import Installation
from cli.update.job import Job, Result
from cli.update.journal import Journal, Step
from gateway.errors import Conflict, GatewayError


def recover(instance: Instance, site: Installation, told: WaitIndicator, watch_seconds: float) -> Result | None:
    """Finish or undo an interrupted update. Returns its result if it ended well; None if it was undone, or none was.

    Raises:
        Conflict: it was one of another environment, or with another database.
        GatewayError: the version from before had to be put back, also in the files that this process has begun with.
    """
    found = journal.read_journal(instance.home)
    if found is None:
        return None
    if found.environment != str(site.environment):
        raise Conflict(
            f"an update of {found.environment} was interrupted; this is {site.environment}.",
            remedy=f"Run: {found.environment}/bin/python -m cli.main update",
        )
    present = database.find_database(instance.env)
    if found.database is not None and (present is None or found.database != str(present.path)):
        raise Conflict(
            f"an update was interrupted that was begun with the database {found.database}, which the settings of this"
            " command do not name.",
            remedy="Run it with the same settings and variables, such as MOONGATE_DATA_DIR",
        )
    job = Job(instance, site, found.to_version, told, watch_seconds, discard=found.discard)
    with locking.hold_signals(), ending.explain_unended(found.to_version):
        return _go_on(job, found)


def was_rollback(instance: Instance) -> bool:
    """Return whether it was a rollback that was interrupted."""
    found = journal.read_journal(instance.home)
    return found is not None and found.rollback


def _go_on(job: Job, found: Journal) -> Result | None:
    match found.step:
        case Step.FINISH:
            return driver.finish(job, found)
        case Step.RETURN:
            is_alone = found.run is not None and not found.run.by_service
            instance = places.adopt_environment(job.instance) if is_alone else job.instance
            raise way_back.put_back(instance, job.site, found, job.told).to_error()
        case Step.EXCHANGE if environment.is_exchanged(job.site, found):
            return driver.complete(job, found)
        case Step.EXCHANGE:
            environment.exchange_back(job.site, found)  # a clone may be checked out already
    ending.undo_build(job.instance.home, job.site)
    if found.step is Step.EXCHANGE and found.to_commit is not None and gateway.__version__ != found.from_version:
        raise GatewayError(  # this process has begun with the files of the other version
            f"the update of {job.site.source} to version {found.to_version} was interrupted, and is undone: version"
            f" {found.from_version} is in place again.",
            remedy="To update: gateway update",
        )
    return None
