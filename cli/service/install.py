"""Installs the login service: checks everything first, carries out the steps, and waits for the gateway."""

from __future__ import annotations

import codecs
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cli.instance import Place
from cli.lifecycle import start, stop
from cli.remote import probe
from cli.remote.probe import State
from cli.service import lookup, unit
from cli.service.manager import Manager
from cli.service.start_failure import Reason
from cli.service.steps import UNWRITTEN, Step, carry_out, undo_nothing
from cli.service.unit import Runtime
from gateway import app, config, paths
from gateway.config import Config
from gateway.errors import ConfigError, Conflict, PortTaken, Unavailable
from gateway.security import secret_file
from gateway.supervisor import port
from gateway.supervisor.address import connect_host
from gateway.supervisor.record import Record
from service_templates import ServiceSpec

#: seconds that a gateway may take to answer when it is started again after a failed installation
READY = 60.0
#: seconds of grace period for the gateway that the service replaces
STOP_GRACE_SECONDS = 5.0
#: seconds between two looks
LOOK = 0.05


class Plan(NamedTuple):
    """An installation that has passed all checks."""

    place: Place
    manager: Manager
    spec: ServiceSpec
    settings: Config
    #: the gateway's token, if one was given
    token: str | None

    def shown(self) -> dict[str, Any]:
        """Return what would be written and run, as `gateway install --dry-run --json` prints it."""
        return {
            "installed": False,
            "manager": self.manager.name,
            "service": self.manager.service,
            "file": str(self.manager.file),
            "unit": _text(self.manager.render(self.spec)),
            "steps": [step.shown for step in self._steps(0.0)],
            "hints": _unseen(self.place.env),
        }

    def carry_out(self, say: Callable[[str], None], wait: float) -> dict[str, Any]:
        """Install the service and wait until it answers. Returns what `gateway install --json` prints.

        Args:
            say: called with the name of each step when it starts.
            wait: seconds that the gateway may take to answer.

        Raises:
            GatewayError: a step failed, and all steps were undone.
        """
        replaced = self.manager.file.exists()
        carry_out(self._steps(wait), say)
        record = self.place.record
        assert record is not None
        return {
            "installed": True,
            "replaced": replaced,
            "manager": self.manager.name,
            "service": self.manager.service,
            "file": str(self.manager.file),
            "pid": record.pid,
            "url": probe.url(record),
            "hints": [*self.manager.hints(), *_unseen(self.place.env)],
        }

    def _steps(self, wait: float) -> list[Step]:
        before = self.place.record
        steps = [_directory_step(self.place, self.spec)]
        if self.token is not None:
            steps.append(_token_step(self.place, self.spec, self.token))
        if before is not None and before.alive and not self._is_service(before):
            steps.append(_stop_step(self.place, before))
        answer = Step(
            "wait until the gateway answers",
            f"GET http://{connect_host(self.settings.gateway.host)}:{self.settings.gateway.port}/health",
            lambda: self._see_it_answer(before, wait),
            undo_nothing,
            f"See: gateway logs, or {self.manager.journal}",
        )
        reason = Reason(self.place, self.manager)
        return [*steps, *(_explained(step, reason) for step in (*self.manager.installation(self.spec), answer))]

    def _is_service(self, found: Record) -> bool:
        return self.manager.present and self.manager.status().pid == found.pid

    def _see_it_answer(self, before: Record | None, wait: float) -> None:
        """Wait until the gateway of the service answers, and not the one from before."""
        deadline = time.monotonic() + wait
        while True:
            found = probe.look(self.place)
            fresh = found.record is not None and (before is None or found.record.instance != before.instance)
            if found.state is State.RUNNING and fresh and self._is_service(found.record):  # type: ignore[arg-type]
                return
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"it does not answer after {wait:g} s; {self.manager.name} says {self.manager.status().state}."
                )
            time.sleep(LOOK)


def _explained(step: Step, reason: Reason) -> Step:
    """Return the step with a better error: if the gateway itself failed, the error is in its words."""

    def do_explained() -> None:
        with reason.told():
            step.do()

    return step._replace(do=do_explained)


def _text(unit: bytes) -> str:
    """Return the text of a unit: UTF-16 if it begins with that byte order mark, else UTF-8."""
    return unit.decode("utf-16" if unit.startswith(codecs.BOM_UTF16_LE) else "utf-8", "replace")


def plan(
    environ: Mapping[str, str],
    *,
    arguments: tuple[str, ...],
    token: str | None,
    runtime: Runtime,
    system: bool,
    earnest: bool,
) -> Plan:
    """Check everything that can be checked before anything is changed.

    Args:
        earnest: whether the plan will be carried out. If not, it need not be possible here and now.

    Raises:
        ConfigError: the settings, the program or the token cannot be used.
        Unavailable: there is no manager, or it cannot be reached.
        Conflict: another unit runs a gateway with this config.
        PortTaken: another program uses the port.
    """
    if system:
        if earnest:
            lookup.need_root("install")
        environ = lookup.system_environment(environ)
    instance = Place.of(environ)
    manager = lookup.find_manager(instance, system=system)
    if earnest:
        manager.require()
    user = environ.get("SUDO_USER") if system else None
    spec = unit.spec(
        instance, arguments=arguments, runtime=runtime, path=unit.search_path(environ, user), system=system
    )
    rivals = manager.rivals(spec)
    if rivals:
        raise Conflict(f"{rivals[0]} already runs a gateway with this config.", remedy="First: gateway uninstall")
    settings = _settings(spec, instance)
    _check_token(instance, settings, token)
    if earnest:
        _check_port(instance, settings)
    return Plan(instance, manager, spec, settings, token)


def _settings(spec: ServiceSpec, instance: Place) -> Config:
    """Return the settings as the service will see them.

    Raises:
        ConfigError: the gateway could not start with them.
    """
    seen = {"HOME": instance.env.get("HOME", ""), "PATH": spec.path, **dict(spec.environment)}
    listens = dict(zip(spec.arguments, spec.arguments[1:], strict=False))
    for option, name in (("--host", "MOONGATE_HOST"), ("--port", "MOONGATE_PORT")):
        if option in listens:
            seen[name] = listens[option]
    settings = config.load(seen)
    app.check(settings, seen)
    return settings


def _check_token(instance: Place, settings: Config, token: str | None) -> None:
    given = settings.gateway.auth.token
    if token is not None and given is not None and given != token:
        raise ConfigError(
            "the config file or .env contains another token, which would be used.",
            remedy=f"Change it in {instance.config}.",
        )


def _check_port(instance: Place, settings: Config) -> None:
    found = instance.record
    host, number = settings.gateway.host, settings.gateway.port
    if number == 0 or (found is not None and found.alive and found.port == number):
        return
    try:
        port.bind(host, number).close()
    except PortTaken as error:
        raise PortTaken(
            f"port {number} is already in use.",
            remedy=f"{port.describe(number)}.\nEnd that program, or: gateway install --port OTHER",
        ) from error


def _directory_step(instance: Place, spec: ServiceSpec) -> Step:
    there = instance.home.exists()

    def make_directory() -> None:
        paths.private_directory(instance.home)
        if not there:
            _give(instance.home, spec)

    def remove_directory() -> None:
        if not there and not any(instance.home.iterdir()):
            instance.home.rmdir()

    return Step("make the state directory", f"mkdir -p {instance.home}", make_directory, remove_directory, UNWRITTEN)


def _give(path: Path, spec: ServiceSpec) -> None:
    """Give a path that root created to the user that a system service runs as."""
    if spec.system and os.name == "posix":
        shutil.chown(path, spec.user)


def _token_step(instance: Place, spec: ServiceSpec, token: str) -> Step:
    file = paths.token(instance.home)

    def store_token() -> None:
        secret_file.store(file, token)
        _give(file, spec)

    before = secret_file.read(file)

    def restore_token() -> None:
        if before is None:
            file.unlink(missing_ok=True)
        else:
            secret_file.store(file, before)
            _give(file, spec)

    return Step("store the token", f"write {file}", store_token, restore_token, UNWRITTEN)


def _stop_step(instance: Place, found: Record) -> Step:
    def start_again() -> None:
        if not found.alive:
            start.start(instance, found.port, found.host, READY)

    return Step(
        "stop the running gateway",
        "gateway stop",
        lambda: stop.end(instance, found, STOP_GRACE_SECONDS + stop.KILL_DELAY_SECONDS),
        start_again,
        "Kill it: gateway stop --force",
    )


def _unseen(env: Mapping[str, str]) -> list[str]:
    names = unit.unseen(env)
    if not names:
        return []
    return [f"The service does not see {', '.join(names)} of this shell: put settings in the config file or .env."]
