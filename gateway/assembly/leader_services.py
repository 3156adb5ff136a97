"""Makes the services that a process runs only while it leads, and only if the settings ask for them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from gateway.config import Config
from gateway.domain.ports.channel import DeliverySender
from gateway.domain.ports.store import Store
from gateway.domain.times import Clock
from gateway.engine.engine import Engine
from gateway.engine.execution.rescuer import StoreLedger
from gateway.engine.service_loop import LeaderService
from gateway.process.child import Children


class LeaderResources(NamedTuple):
    """What these services use."""

    engine: Engine
    store: Store
    children: Children
    #: records the processes that they start
    ledger: StoreLedger
    environ: Mapping[str, str]
    webhook_sender: DeliverySender
    clock: Clock


def make_leader_services(config: Config, given: LeaderResources) -> Iterator[LeaderService]:
    """Yield the services. What makes one is imported only if it is wanted: most gateways have none."""
    if any(receiver.enabled for receiver in config.alerts.receivers.values()):
        yield _make_alerts(config, given)
    if config.backup.every is not None:
        yield _make_backups(config, config.backup.every, given)
    if (seconds := config.updates.check_seconds) is not None:
        from gateway.engine.background.update_checks import UpdateChecks

        yield UpdateChecks(config.home, given.children, given.environ, seconds)


def _make_alerts(config: Config, given: LeaderResources) -> LeaderService:
    from gateway.engine.alerts.opening import open_alerts

    return open_alerts(
        config,
        given.engine,
        given.store,
        ledger=given.ledger,
        environ=given.environ,
        webhook_sender=given.webhook_sender,
        clock=given.clock,
    )


def _make_backups(config: Config, every: float, given: LeaderResources) -> LeaderService:
    from gateway.engine.background.backups import BackupPlan, Backups

    plan = BackupPlan(
        directory=config.backup_directory,
        home=config.home,
        every=round(every * 3_600_000),
        keep=config.backup.keep,
        secrets=config.backup.secrets,
    )
    return Backups(plan, given.children, given.environ, given.clock)
