"""Installs the login service: checks everything first, carries out the steps, and waits for the gateway."""

from __future__ import annotations

import codecs
import contextlib
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from cli.instance import Instance
from cli.lifecycle import start, stop
from cli.lifecycle.start_options import read_start_options
from cli.remote import probe
from cli.remote.probe import State
from cli.service import lookup, unit
from cli.service.manager import ServiceManager
from cli.service.start_failure import StartFailure
from cli.service.steps import UNWRITABLE_REMEDY, Step, carry_out, undo_nothing
from cli.service.unit import Runtime
from gateway import paths
from gateway.assembly.checks import check_settings
from gateway.config import Config
from gateway.errors import ConfigError, Conflict, GatewayError, PortTaken, Unavailable
from gateway.security import secret_file
from gateway.supervisor import port
from gateway.supervisor.address import choose_connect_host
from gateway.supervisor.own_agent import refuse_own_agent
from gateway.supervisor.record import Record
from service_templates import ServiceSpec

#: seconds that a gateway may take to answer when it is started again after a failed installation
RESTORE_TIMEOUT_SECONDS = 60.0
#: seconds of grace period for the gateway that the service replaces
STOP_GRACE_SECONDS = 5.0
#: seconds between two looks
ANSWER_POLL_SECONDS = 0.05


class InstallationPlan(NamedTuple):
    """An installation that has passed all checks."""

    instance: Instance
    manager: ServiceManager
    spec: ServiceSpec
    settings: Config
    #: the gateway's token, if one was given
    token: str | None

    def describe_dry_run(self) -> dict[str, Any]:
        """Return what would be written and run, as `gateway install --dry-run --json` prints it."""
        return {
            "installed": False,
            "manager": self.manager.name,
            "service": self.manager.service_name,
            "file": str(self.manager.unit_path),
            "unit": _decode_unit(self.manager.render_unit(self.spec)),
            "steps": [step.shown for step in self._build_steps(0.0)],
            "hints": [*_unseen_hints(self.instance.env), *unit.list_program_hints(self.spec, self.instance.env)],
        }

    def carry_out(self, say: Callable[[str], None], wait: float) -> dict[str, Any]:
        """Install the service and wait until it answers. Returns what `gateway install --json` prints.

        Args:
            say: called with the name of each step when it starts.
            wait: seconds that the gateway may take to answer.

        Raises:
            GatewayError: a step failed, and all steps were undone.
        """
        replaced = self.manager.unit_path.exists()
        carry_out(self._build_steps(wait), say)
        record = self.instance.lock_record
        assert record is not None
        return {
            "installed": True,
            "replaced": replaced,
            "manager": self.manager.name,
            "service": self.manager.service_name,
            "file": str(self.manager.unit_path),
            "pid": record.pid,
            "url": probe.local_url(self.instance, record),
            "agent": probe.probe_gateway(self.instance).agent,
            "hints": [*self.manager.list_hints(), *_unseen_hints(self.instance.env)],
        }

    def _build_steps(self, wait: float) -> list[Step]:
        before = self.instance.lock_record
        steps = [_directory_step(self.instance, self.spec)]
        if self.token is not None:
            steps.append(_token_step(self.instance, self.spec, self.token))
        if before is not None and before.is_alive:
            if not self._is_service(before):
                steps.append(_stop_step(self.instance, before))
        elif _keeps_listener(self.manager):
            steps.append(_stop_service_step(self.instance, self.manager, self.settings))
        scheme = "http" if self.settings.gateway.tls.cert is None else "https"
        answer = Step(
            "wait until the gateway answers",
            f"GET {scheme}://{choose_connect_host(self.settings.gateway.host)}:{self.settings.gateway.port}/health",
            lambda: self._wait_until_service_answers(before, wait),
            undo_nothing,
            f"See: gateway logs, or {self.manager.journal_command}",
        )
        reason = StartFailure(self.instance, self.manager)
        return [
            *steps,
            *(_explain_failure(step, reason) for step in (*self.manager.plan_installation(self.spec), answer)),
        ]

    def _is_service(self, found: Record) -> bool:
        return self.manager.is_present and self.manager.ask_status().pid == found.pid

    def _wait_until_service_answers(self, before: Record | None, wait: float) -> None:
        """Wait until the gateway of the service answers, and not the one from before."""
        deadline = time.monotonic() + wait
        while True:
            found = probe.probe_gateway(self.instance)
            fresh = found.record is not None and (before is None or found.record.instance != before.instance)
            if found.state is State.RUNNING and fresh and self._is_service(found.record):  # type: ignore[arg-type]
                return
            if time.monotonic() > deadline:
                raise Unavailable(
                    f"it does not answer after {wait:g} s; {self.manager.name} says {self.manager.ask_status().state}."
                )
            time.sleep(ANSWER_POLL_SECONDS)


def _explain_failure(step: Step, reason: StartFailure) -> Step:
    """Return the step with a better error: if the gateway itself failed, the error is in its words."""

    def do_explained() -> None:
        with reason.explain_errors():
            step.do()

    return step._replace(do=do_explained)


def _decode_unit(unit: bytes) -> str:
    """Return the text of a unit: UTF-16 if it begins with that byte order mark, else UTF-8."""
    return unit.decode("utf-16" if unit.startswith(codecs.BOM_UTF16_LE) else "utf-8", "replace")


def plan_installation(
    environ: Mapping[str, str],
    *,
    arguments: tuple[str, ...],
    token: str | None,
    runtime: Runtime | None,
    system: bool,
    earnest: bool,
) -> InstallationPlan:
    """Check everything that can be checked before anything is changed.

    Args:
        arguments, runtime: what the user gave; the rest stays as it is in the installed unit.
        earnest: whether the plan will be carried out. If not, it need not be possible here and now.

    Raises:
        ConfigError: the settings, the program or the token cannot be used.
        Unavailable: there is no manager, or it cannot be reached.
        Conflict: another unit runs a gateway with this config, or an agent of this gateway asks.
        PortTaken: another program uses the port.
    """
    if system:
        if earnest:
            lookup.require_root("install")
        environ = lookup.system_environment(environ)
    instance = Instance.from_environment(environ)
    manager = lookup.find_manager(instance, system=system)
    _refuse_packaged(instance, manager, system=system)
    if earnest:
        refuse_own_agent(instance.lock_record, "gateway install")
        manager.require_available()
    spec = _build_spec(instance, manager, arguments, runtime, system=system, lasting=earnest)
    rivals = manager.find_rivals(spec)
    if rivals:
        raise Conflict(f"{rivals[0]} already runs a gateway with this config.", remedy="First: gateway uninstall")
    settings = unit.load_service_settings(spec, instance)
    check_settings(settings, unit.service_environment(spec, instance))
    _check_token(instance, settings, token)
    if earnest and not _keeps_listener(manager):
        _check_port(instance, settings)
    return InstallationPlan(instance, manager, spec, settings, token)


def _refuse_packaged(instance: Instance, manager: ServiceManager, *, system: bool) -> None:
    """Refuse to install a service of the system in place of the one that a package has brought.

    Raises:
        Conflict: it has brought one.
    """
    packaged = manager if system else lookup.find_packaged(instance)
    if packaged is not None and packaged.packaged_unit is not None:
        raise Conflict(
            f"a package has brought the service of this machine: {packaged.packaged_unit}.",
            remedy=f"Start it, now and always: {lookup.PACKAGED_START}",
        )


def render_unit(
    environ: Mapping[str, str], platform: str, *, arguments: tuple[str, ...], runtime: Runtime | None, system: bool
) -> str:
    """Return the unit that would be written on a platform, for this program and these settings.

    Raises:
        ConfigError: the settings cannot be used.
    """
    instance = Instance.from_environment(lookup.system_environment(environ) if system else environ)
    manager = lookup.find_manager(instance, system=system, platform=platform)
    spec = _build_spec(instance, manager, arguments, runtime, system=system, lasting=False)
    unit.load_service_settings(spec, instance)
    return _decode_unit(manager.render_unit(spec))


def _build_spec(
    instance: Instance,
    manager: ServiceManager,
    arguments: tuple[str, ...],
    runtime: Runtime | None,
    *,
    system: bool,
    lasting: bool,
) -> ServiceSpec:
    """Return the spec of the unit: what the user gave, else what the installed unit has."""
    present = _read_present_spec(manager)
    before: Runtime = "python"
    options: tuple[str, ...] = ()
    if present is not None:
        before, options = unit.read_options(present)
    user = instance.env.get("SUDO_USER") if system else None
    return unit.build_spec(
        instance,
        arguments=_replace_options(options, arguments),
        runtime=runtime or before,
        path=unit.build_search_path(instance.env, user),
        system=system,
        lasting=lasting,
    )


def _replace_options(present: tuple[str, ...], given: tuple[str, ...]) -> tuple[str, ...]:
    """Return the options of a unit, with the given ones instead of its own."""
    chosen = {name: value for words in (present, given) for name, value in zip(words[::2], words[1::2], strict=True)}
    return tuple(word for pair in chosen.items() for word in pair)


def _read_present_spec(manager: ServiceManager) -> ServiceSpec | None:
    with contextlib.suppress(GatewayError):  # a unit that somebody else wrote, or another platform's
        return manager.read_installed_spec()
    return None


def _check_token(instance: Instance, settings: Config, token: str | None) -> None:
    given = settings.gateway.auth.token
    if token is not None and given is not None and given != token:
        raise ConfigError(
            "the config file or .env contains another token, which would be used.",
            remedy=f"Change it in {instance.config}.",
        )


def _check_port(instance: Instance, settings: Config) -> None:
    """Check that the service could listen.

    Raises:
        PortTaken: another program has the port.
    """
    found = instance.lock_record
    host, number = settings.gateway.host, settings.gateway.port
    if number == 0 or (found is not None and found.is_alive and found.port == number):
        return
    try:
        port.bind_port(host, number).close()
    except PortTaken as error:
        raise PortTaken(
            f"port {number} is already in use.",
            remedy=f"{port.describe_holder(number)}.\nEnd that program, or: gateway install --port OTHER",
        ) from error


def _directory_step(instance: Instance, spec: ServiceSpec) -> Step:
    there = instance.home.exists()

    def make_directory() -> None:
        paths.make_private_directory(instance.home)
        if not there:
            _give_to_user(instance.home, spec)

    def remove_directory() -> None:
        if not there and not any(instance.home.iterdir()):
            instance.home.rmdir()

    return Step(
        "make the state directory", f"mkdir -p {instance.home}", make_directory, remove_directory, UNWRITABLE_REMEDY
    )


def _give_to_user(path: Path, spec: ServiceSpec) -> None:
    """Give a path that root created to the user that a system service runs as."""
    if spec.system and os.name == "posix":
        shutil.chown(path, spec.user)


def _token_step(instance: Instance, spec: ServiceSpec, token: str) -> Step:
    file = paths.token_file(instance.home)

    def store_token() -> None:
        secret_file.store_secret(file, token)
        _give_to_user(file, spec)

    before = secret_file.read_secret(file)

    def restore_token() -> None:
        if before is None:
            file.unlink(missing_ok=True)
        else:
            secret_file.store_secret(file, before)
            _give_to_user(file, spec)

    return Step("store the token", f"write {file}", store_token, restore_token, UNWRITABLE_REMEDY)


def _stop_step(instance: Instance, found: Record) -> Step:
    options = read_start_options(found)._replace(port=found.port, host=found.host)

    def start_again() -> None:
        if not found.is_alive:
            start.start_in_background(instance, options, RESTORE_TIMEOUT_SECONDS)

    return Step(
        "stop the running gateway",
        "gateway stop",
        lambda: stop.end_gateway(instance, found, STOP_GRACE_SECONDS + stop.KILL_DELAY_SECONDS),
        start_again,
        "Kill it: gateway stop --force",
    )


def _keeps_listener(manager: ServiceManager) -> bool:
    """Return whether the manager itself keeps the gateway's socket open, as after a crash."""
    return manager.is_present and manager.ask_status().keeps_listener


def _stop_service_step(instance: Instance, manager: ServiceManager, settings: Config) -> Step:
    """Return the step that makes the manager close the socket that it keeps for the service."""
    was = manager.ask_status()

    def stop_service() -> None:
        manager.stop_service()
        _check_port(instance, settings)

    return Step(
        "stop the service, so that its socket is closed",
        "gateway service-stop",
        stop_service,
        lambda: manager.start_service() if was.running else None,
        f"See: {manager.journal_command}",
    )


def _unseen_hints(env: Mapping[str, str]) -> list[str]:
    names = unit.list_unseen_variables(env)
    if not names:
        return []
    return [f"The service does not see {', '.join(names)} of this shell: put settings in the config file or .env."]
