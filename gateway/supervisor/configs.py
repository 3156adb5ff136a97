"""The config file over time: what is wrong with it now, and a copy of what last worked."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from gateway import config
from gateway.errors import GatewayError


class Configs:
    """Looks after one config file. A file that is not there is a good one: all defaults."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._good = path.with_name(f"{path.name}.last-good")
        self._rejected = path.with_name(f"{path.name}.rejected")

    def wrong(self) -> str | None:
        """Return what is wrong with the file as it is now, or None."""
        try:
            config.load(os.environ)
        except GatewayError as error:
            return str(error)
        return None

    def keep(self) -> None:
        """Keep a copy of the file: a generation has begun to serve with it."""
        if self._path.exists():
            self._copy(self._path, self._good)
        else:
            self._good.unlink(missing_ok=True)

    def fall_back(self) -> Path | None:
        """Return the copy that last worked, with the bad file kept aside; None if there is none."""
        if not self._good.exists():
            return None
        if self._path.exists():
            self._copy(self._path, self._rejected)
        return self._good

    def _copy(self, source: Path, target: Path) -> None:
        draft = target.with_name(f"{target.name}.{os.getpid()}")
        shutil.copyfile(source, draft)
        draft.chmod(0o600)
        draft.replace(target)
