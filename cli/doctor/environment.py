"""Checks where the gateway runs: interpreter, PATH, disk, data directory, port, service. Changes nothing."""

from __future__ import annotations

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from cli import output
from cli.doctor import service_drift
from cli.doctor.finding import Finding, Level
from cli.instance import Instance
from cli.remote.probe import ProbeResult, State
from gateway import config, paths
from gateway.config import Config
from gateway.config_files.json_file import get_nested
from gateway.errors import ConfigError
from gateway.supervisor import port, record

#: free bytes below which there is a warning, and below which the disk counts as full
LOW_DISK_BYTES = 1 << 30
FULL_DISK_BYTES = 100 << 20


def examine_environment(instance: Instance, found: ProbeResult) -> list[Finding]:
    """Return the findings. Checks that need the settings are left out if these cannot be used."""
    findings = [
        examine_disk("disk", instance.home),
        examine_interpreter(_find_interpreter(found)),
        *_examine_agent_programs(instance, found),
    ]
    findings += service_drift.examine_service(instance, found)
    settings = _load_settings(instance)
    if settings is not None:
        if not settings.data_directory.is_relative_to(instance.home):
            findings.append(examine_disk("data disk", settings.data_directory))
        findings.append(_examine_data_directory(settings))
    return findings


def find_port_owner(instance: Instance, found: ProbeResult) -> dict[str, Any] | None:
    """Return pid, name and user of another program that holds the gateway's port; None if none is seen."""
    settings = _load_settings(instance)
    if found.state is State.RUNNING or settings is None:
        return None
    number = settings.gateway.port if found.record is None else found.record.port
    for holder in port.find_holders(number) if number else []:
        if holder.gateway is None or found.record is None or holder.gateway.instance != found.record.instance:
            pid = holder.who.pid if holder.gateway is None else holder.gateway.pid
            return {"pid": pid, "name": holder.command, "user": holder.user}
    return None


def examine_disk(check: str, place: Path) -> Finding:
    there = next(parent for parent in (place, *place.parents) if parent.exists())
    free = shutil.disk_usage(there).free
    said = f"{free / (1 << 30):.1f} GB free at {output.shorten_home(there)}"
    if free >= LOW_DISK_BYTES:
        return Finding(check, Level.OK, said)
    level = Level.ERROR if free < FULL_DISK_BYTES else Level.WARNING
    return Finding(
        check,
        level,
        said,
        "without space no task is accepted",
        "free some space, or set data.directory to another disk",
    )


def examine_interpreter(program: Path) -> Finding:
    """Check whether the gateway could be started again with its interpreter."""
    remedy = "install Moongate permanently, then: gateway stop, gateway start"
    if not os.path.exists(program):  # unlike `Path.exists`, without an error where nothing may be looked at
        cause = "no new generation can be started"
        return Finding("interpreter", Level.ERROR, f"{program} is gone", cause, remedy)
    if any(program.is_relative_to(place) for place in {tempfile.gettempdir(), "/tmp", "/var/tmp"}):  # noqa: S108
        cause = "the system clears such directories"
        return Finding("interpreter", Level.WARNING, f"{program} is in a temporary directory", cause, remedy)
    return Finding("interpreter", Level.OK, output.shorten_home(program))


def _find_interpreter(found: ProbeResult) -> Path:
    """Return the interpreter that the gateway was started with; that of this command if it does not run."""
    if found.record is not None:
        with contextlib.suppress(psutil.Error, IndexError):
            process = psutil.Process(found.record.pid)
            started = Path(process.cmdline()[0])
            return started if started.is_absolute() else Path(process.exe())
    return Path(sys.executable)


def _examine_agent_programs(instance: Instance, found: ProbeResult) -> Iterator[Finding]:
    """Look for the agents' programs on the PATH of the gateway, which may differ from that of this shell."""
    here = instance.env.get("PATH", os.defpath)
    there = here
    if found.record is not None:
        with contextlib.suppress(psutil.Error):
            there = psutil.Process(found.record.pid).environ().get("PATH", os.defpath)
    wanted = _list_agent_programs(instance.config_content)
    missing = [name for name in wanted if shutil.which(name, path=there) is None]
    for name in missing:
        elsewhere = shutil.which(name, path=here)
        if elsewhere is None:
            cause, remedy = "it is not installed, or its directory is not on PATH", "install it, or give its full path"
        else:
            cause = f"it is {elsewhere}, which is on the PATH of this shell, but not of the gateway"
            remedy = "from this shell: gateway stop, gateway start (a service: gateway install)"
        yield Finding("PATH", Level.WARNING, f"the gateway does not find {name}", cause, remedy)
    if not missing:
        yield Finding("PATH", Level.OK, f"has {', '.join(wanted)}" if wanted else "no agent needs a program")


def _list_agent_programs(written: Any) -> list[str]:
    """Return the programs that agents in a config file start by bare name, so that PATH decides."""
    listed = get_nested(written, "agents.list")
    agents = [one for one in listed if isinstance(one, dict)] if isinstance(listed, list) else []
    names = set()
    for agent in agents:
        command = agent.get("command")
        first = command[0] if isinstance(command, list) and command else None
        if agent.get("backend") == "opencode" and not get_nested(written, "opencode.host"):
            first = "opencode"
        if agent.get("enabled", True) and isinstance(first, str) and first and not os.path.dirname(first):
            names.add(first)
    return sorted(names)


def _examine_data_directory(settings: Config) -> Finding:
    shown = output.shorten_home(settings.data_directory)
    if os.path.lexists(settings.data_directory) and not settings.data_directory.is_dir():
        remedy = f"move {shown} away, or set data.directory"
        return Finding("data directory", Level.ERROR, f"cannot use {shown}", "it is not a directory", remedy)
    holder = record.read_record(paths.data_lock_file(settings.data_directory))
    if holder is None or not holder.is_alive or os.path.realpath(holder.configPath) == os.path.realpath(settings.path):
        return Finding("data directory", Level.OK, f"{shown}, used only by this gateway")
    cause = f"the gateway with config {holder.configPath} uses it (pid {holder.pid}, port {holder.port})"
    remedy = f"set data.directory to another path, or gateway stop --config {holder.configPath}"
    return Finding("data directory", Level.ERROR, f"{shown} is in use by another gateway", cause, remedy)


def _load_settings(instance: Instance) -> Config | None:
    try:
        return config.load(instance.env)
    except ConfigError:
        return None
