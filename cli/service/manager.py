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
START_WITHOUT_SERVICE = "Without a service: gateway start"


class ServiceIdentity(NamedTuple):
    """Identifies a service: which config it runs, and whether it belongs to a user or to the whole system."""

    #: as `ServiceSpec` has it
    suffix: str
    #: as `ServiceSpec` has it
    system: bool
    #: name of the user that the gateway runs as
    user: str
    #: as `ServiceSpec` has it
    output: str
    #: the environment of the user
    env: Mapping[str, str]


class ServiceStatus(NamedTuple):
    """The state of a service, as its manager reports it."""

    #: in the manager's own words
    state: str
    running: bool
    pid: int | None
    #: whether it starts automatically, at login or at boot
    enabled: bool
    #: whether the manager keeps the gateway's socket open, also while the gateway does not run
    keeps_listener: bool = False


class ServiceManager(Protocol):
    """Manages one service, which may not be installed yet.

    The class is called with a `ServiceIdentity` and a `CommandRunner`.
    """

    #: name of the manager for messages
    name: str

    @property
    def service_name(self) -> str:
        """The name of the service."""

    @property
    def unit_path(self) -> Path:
        """The path of the unit when the service is installed."""

    @property
    def packaged_unit(self) -> Path | None:
        """The unit that a package of the system has put elsewhere, and that is used while `unit_path` has none."""

    @property
    def is_present(self) -> bool:
        """Whether any part of the service is on disk, even if its unit was deleted by hand."""

    @property
    def journal_command(self) -> str:
        """The command that shows what the service printed, such as why it could not start."""

    def read_printed_line(self, since: float) -> str:
        """Return the last line that the service printed since a time; empty if there is none, or if it was not kept.

        Args:
            since: seconds since 1970 UTC.
        """

    def require_available(self) -> None:
        """Check that the manager exists and can be reached.

        Raises:
            NoServiceManager: it does not, or cannot; the remedy says what to do instead.
        """

    def render_unit(self, spec: ServiceSpec) -> bytes:
        """Return the content of the unit for a spec.

        Raises:
            ConfigError: the format of the unit cannot express the spec.
        """

    def read_installed_spec(self) -> ServiceSpec | None:
        """Return the spec of the installed unit, or else of the package's; None if there is none.

        Raises:
            ConfigError: the unit was not written by Moongate.
        """

    def plan_installation(self, spec: ServiceSpec, *, start: bool = True) -> list[Step]:
        """Return the steps that install the service, or replace its unit, and restart it.

        Args:
            start: whether to start the service. If not, a running one goes on unchanged.
        """

    def plan_removal(self) -> list[Step]:
        """Return the steps that stop the service and remove all of its files."""

    def ask_status(self) -> ServiceStatus:
        """Return the state of the service, also if it is not installed."""

    def start_service(self) -> None:
        """Start the service."""

    def stop_service(self, *, force: bool = False) -> None:
        """Stop the service until the next login, and wait until it has ended.

        Args:
            force: kill it at once.
        """

    def find_rivals(self, spec: ServiceSpec) -> list[Path]:
        """Return the paths of other units that would run a gateway with the same config."""

    def list_hints(self) -> list[str]:
        """Return lines that tell the user what to know after an installation."""
