"""Goes on with an update that was interrupted, such as by `kill -9` or a power failure."""

from __future__ import annotations

from cli.instance import Instance
from cli.output import WaitIndicator
from cli.update import driver, ending, environment, journal, way_back
from cli.update.driver import Job, Result
from cli.update.installation import Installation
from cli.update.journal import Journal, Step
from gateway.errors import Conflict


def recover(instance: Instance, site: Installation, told: WaitIndicator, watch_seconds: float) -> Result | None:
    """Finish or undo an interrupted update. Returns its result if it ended well; None if it was undone, or none was.

    Raises:
        Conflict: it was one of another environment.
        GatewayError: the version from before had to be put back.
    """
    found = journal.read_journal(instance.home)
    if found is None:
        return None
    if found.environment != str(site.environment):
        raise Conflict(
            f"an update of {found.environment} was interrupted; this is {site.environment}.",
            remedy=f"Run: {found.environment}/bin/python -m cli.main update",
        )
    job = Job(instance, site, found.to_version, told, watch_seconds, discard=found.discard)
    with driver.hold_signals(), ending.explain_unended(found.to_version):
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
            raise way_back.put_back(job.instance, job.site, found, job.told)
        case Step.EXCHANGE if environment.is_exchanged(job.site, found):
            return driver.complete(job, found)
        case Step.EXCHANGE:
            environment.exchange_back(job.site, found)  # a clone may be checked out already
    ending.undo_build(job.instance.home, job.site)
    return None
