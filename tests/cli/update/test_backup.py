"""The backup before an update."""

from __future__ import annotations

import os
from pathlib import Path

from cli.instance import Instance
from cli.update import backup
from gateway.backup.manifest import Part, Purpose
from tests.backup.installations import SECRET, make_installation, restore, verify


def test_it_brings_the_same_settings_back(tmp_path: Path) -> None:
    place = make_installation(tmp_path / "home")
    (place.home / "found-agent.json").unlink()
    place.home.chmod(0o700)
    env = {"PATH": os.environ["PATH"], "HOME": str(tmp_path), "MOONGATE_HOME": str(place.home)}

    made = Path(backup.make_backup(Instance.from_environment(env)))

    found = verify(made)
    assert (found.header.purpose, found.manifest.variables) == (Purpose.UPDATE, [])
    assert Part.WORKSPACES not in found.manifest.parts
    assert made.stat().st_mode & 0o777 == 0o600
    restore(made, tmp_path / "new")
    assert SECRET in (tmp_path / "new" / "config.json").read_text()
    assert (tmp_path / "new" / "token").read_text() == "the-token"
