"""The config file over time: what is wrong with it now, and a copy of what last worked."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from gateway import config, paths, private_file
from gateway.errors import GatewayError


class Configs:
    """Looks after one config file. A file that is not there is a good one: all defaults."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._good = paths.last_good(path)
        self._rejected = path.with_name(f"{path.name}.rejected")
        self._begun: bytes | None = None

    def wrong(self) -> str | None:
        """Return what is wrong with the file as it is now, or None."""
        try:
            config.load(os.environ)
        except GatewayError as error:
            return str(error)
        return None

    def begin(self) -> None:
        """Remember what the file says now: a generation begins with it, and it may change meanwhile."""
        with contextlib.suppress(OSError):
            self._begun = self._path.read_bytes() if self._path.exists() else None

    def keep(self) -> None:
        """Keep what the file said as the last good one: the generation that began with it serves."""
        with contextlib.suppress(OSError):  # a full disk is no reason to end
            if self._begun is None:
                self._good.unlink(missing_ok=True)
            else:
                private_file.replace_file(self._good, self._begun)

    def fall_back(self) -> Path | None:
        """Return the copy that last worked, with the bad file kept aside; None if there is none."""
        if not self._good.exists():
            return None
        with contextlib.suppress(OSError):
            private_file.replace_file(self._rejected, self._path.read_bytes())
        return self._good
