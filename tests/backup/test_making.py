"""Which backups count as the last success."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway import config
from gateway.backup import making, status
from gateway.backup.contents import BackupChoice
from gateway.backup.manifest import Purpose
from gateway.backup.writing import WrittenBackup
from gateway.config import Config
from gateway.errors import GatewayError
from tests.backup.installations import make_installation

ALL = BackupChoice()


@pytest.fixture
def settings(tmp_path: Path) -> Config:
    make_installation(tmp_path / "home", runs=0)
    return config.load({"HOME": str(tmp_path), "MOONGATE_HOME": str(tmp_path / "home")})


def make(settings: Config, wanted: BackupChoice, purpose: Purpose, to: Path | None = None) -> WrittenBackup:
    place = to or settings.backup_directory
    return making.make_backup(settings, wanted, place, secrets=[], is_running=lambda: False, purpose=purpose)


@pytest.mark.parametrize(
    ("wanted", "purpose", "counts"),
    [
        (ALL, Purpose.HAND, True),
        (ALL, Purpose.PLAN, True),
        (ALL, Purpose.UPDATE, False),
        (BackupChoice(workspaces=False), Purpose.HAND, False),
        (BackupChoice(database=False), Purpose.HAND, False),
    ],
)
def test_only_one_with_everything_is_a_success(
    settings: Config, wanted: BackupChoice, purpose: Purpose, counts: bool
) -> None:
    made = make(settings, wanted, purpose)

    success = status.read_backup_status(settings.home).last_success
    assert (success is not None) is counts
    assert (made.header.purpose, len(made.header.installation)) == (purpose, 16)


@pytest.mark.parametrize(("purpose", "counts"), [(Purpose.PLAN, True), (Purpose.UPDATE, False)])
def test_one_before_an_update_that_fails_is_no_failure_of_the_plan(
    settings: Config, purpose: Purpose, counts: bool
) -> None:
    (settings.data_directory / "moongate.db").unlink()

    with pytest.raises(GatewayError):
        make(settings, ALL, purpose)

    assert (status.read_backup_status(settings.home).failure_since is not None) is counts
