"""The config over time: the reading that is in force, and a copy of the file that last worked."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from gateway import config, paths, private_file
from gateway.config import Config, ConfigSources
from gateway.errors import ConfigError

#: errors of a reading that say nothing about the file
_PASSING_ERRORS = {errno.EMFILE, errno.ENFILE, errno.ENOMEM}


class ReadingPostponed(ConfigError):
    """Nothing could be read now, which says nothing about the file: the next try may read it."""


class ConfigReading(NamedTuple):
    """One reading of the config file and `.env`, and the settings that exactly this reading gives."""

    sources: ConfigSources
    settings: Config


def read_config(env: Mapping[str, str]) -> ConfigReading:
    """Read the settings once, and keep what they were read from.

    Raises:
        ConfigError: they cannot be used.
    """
    sources = config.read_sources(env)
    return ConfigReading(sources, config.parse_config(sources, env))


class ConfigHistory:
    """Gives generations the readings that they start with, and keeps the last good copy of one config file."""

    def __init__(self, path: Path, reading: ConfigReading) -> None:
        """Args:
        reading: what the first generation starts with.
        """
        self._path = path
        self._good = paths.last_good_config(path)
        self._rejected = path.with_name(f"{path.name}.rejected")
        #: what the next generation starts with; None: the file is read then
        self._prepared: ConfigReading | None = reading
        #: what the newest generation that led was started with
        self._confirmed = reading
        #: the content that was read last, also if it cannot be used
        self._content = reading.sources.content
        #: the reading in force: of the generation that is being started, else of the one that leads
        self.current = reading
        self._stands_in = False

    def take_reading(self, env: Mapping[str, str]) -> ConfigReading:
        """Return the prepared reading, or the one that stands in, or read the files; it is in force from now on.

        Raises:
            ReadingPostponed: no descriptor or memory is left.
            ConfigError: the settings cannot be used.
        """
        reading, self._prepared = self._prepared, None
        if reading is None and self._stands_in:
            sources = self._confirmed.sources
            reading = ConfigReading(sources, config.parse_config(sources, env))
        elif reading is None:
            reading = self._read_again(env)
        self._content = reading.sources.content
        self.current = reading
        return reading

    def prepare_restart(self, reading: ConfigReading) -> None:
        """Have the next generation start with a new reading, no longer with the last good one."""
        self._prepared = reading
        self._stands_in = False

    def confirm_current(self) -> bool:
        """Keep the reading in force as the last good one: a generation serves with it.

        Returns:
            False if it is the last good one, which stands in for the files.
        """
        self._confirmed = self.current
        if self._stands_in:
            return False
        content = self.current.sources.content
        with contextlib.suppress(OSError):  # a full disk is no reason to end
            if content is None:
                self._good.unlink(missing_ok=True)
            else:
                private_file.replace_private_file(self._good, content)
        return True

    def revert_to_confirmed(self) -> None:
        """Put the reading of the generation that goes on in force again: the new one was refused."""
        self._prepared = None
        self.current = self._confirmed

    def fall_back(self) -> None:
        """Go on with the reading that last worked, of the config file and of `.env`, and put the bad content aside."""
        if self._content is not None and not self._stands_in:
            with contextlib.suppress(OSError):
                private_file.replace_private_file(self._rejected, self._content)
        self._stands_in = True

    @property
    def stand_in_variables(self) -> dict[str, str]:
        """What generations get in addition to their environment: it names the copy that stands in for the config."""
        return {"MOONGATE_CONFIG": str(self._good)} if self._stands_in and self._good.exists() else {}

    def _read_again(self, env: Mapping[str, str]) -> ConfigReading:
        self._content = None
        try:
            sources = config.read_sources(env)
        except ConfigError as error:
            if isinstance(error.__cause__, OSError) and error.__cause__.errno in _PASSING_ERRORS:
                raise ReadingPostponed(str(error)) from error
            raise
        self._content = sources.content
        return ConfigReading(sources, config.parse_config(sources, env))
