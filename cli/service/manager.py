"""What a service manager does for the gateway: the protocol that each manager's class implements.

Each manager is one module in `cli/service/managers/`; the text of its unit comes from `service_templates`.
`cli/service/lookup.py` chooses among them.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple, Protocol

from cli.service.steps import Step
from service_templates import ServiceSpec

#: what to do without a service
OTHERWISE = "Without a service: gateway start"


class Site(NamedTuple):
    """Which service is meant: the one of a config, of a user or of the whole system."""

    #: as `ServiceSpec` has it
    suffix: str
    #: as `ServiceSpec` has it
    system: bool
    #: name of the user that the gateway runs as
    user: str
    #: as `ServiceSpec` has it
    output: str
    #: the user's environment
    env: Mapping[str, str]


class Status(NamedTuple):
    """How the manager sees the service."""

    #: the manager's own word
    state: str
    running: bool
    pid: int | None
    #: whether it starts by itself, at login or at boot
    enabled: bool


class Manager(Protocol):
    """Looks after one service, installed or not. Made from a `Site` and a `Run`."""

    #: what people call it
    name: str

    @property
    def service(self) -> str:
        """What it calls the service."""

    @property
    def file(self) -> Path:
        """Where the unit is, once it is installed."""

    @property
    def present(self) -> bool:
        """Whether anything of it is on disk, as when its unit alone was deleted by hand."""

    @property
    def journal(self) -> str:
        """The command that shows what the service printed: why it could not begin, say."""

    def printed(self, since: float) -> str:
        """Return the last line that the service printed since then; empty if there is none, or nobody kept it.

        Args:
            since: seconds since 1970 UTC.
        """

    def require(self) -> None:
        """See that the manager is there, and can be talked to.

        Raises:
            Unavailable: it is not; the remedy says what to do instead.
        """

    def render(self, spec: ServiceSpec) -> bytes:
        """Return the unit as it is to be on disk.

        Raises:
            ConfigError: the manager cannot carry it.
        """

    def installed(self) -> ServiceSpec | None:
        """Return what is installed; None if nothing is.

        Raises:
            ConfigError: what is there was not written by us.
        """

    def installation(self, spec: ServiceSpec, *, start: bool = True) -> list[Step]:
        """Return the steps that install it, or put another unit in its place, and start it anew.

        Args:
            start: whether to start it; without, what runs goes on as it is.
        """

    def removal(self) -> list[Step]:
        """Return the steps that stop it and leave nothing of it."""

    def status(self) -> Status:
        """Tell how it is; of one that is not installed, too."""

    def start(self) -> None:
        """Have it started."""

    def stop(self, *, force: bool = False) -> None:
        """Have it stopped, and not started again until the next login; returns when it has ended.

        Args:
            force: kill it at once.
        """

    def rivals(self, spec: ServiceSpec) -> list[Path]:
        """Return other units that would run a gateway with the same config."""

    def hints(self) -> list[str]:
        """Return what the user should know after an installation, a line each."""
