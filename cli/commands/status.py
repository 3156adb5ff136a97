"""`gateway status`: shows whether the gateway runs, where, and since when. Imports nothing that loads slowly."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

import gateway
from cli import output
from cli.backup import backup_report
from cli.command import Command, complete_commands, current_invocation
from cli.instance import Instance
from cli.remote import config_drift, fleet_report, network_host, probe
from cli.remote.link import find_elsewhere
from cli.remote.probe import ProbeResult, State, WorkReport
from cli.remote.token_drift import explain_token_drift, read_process_variables
from cli.update import notes
from gateway.errors import ConfigError
from gateway.security.secret_file import mask_secret
from gateway.supervisor import interrupted_restore
from gateway.supervisor.marker import read_marker
from gateway.supervisor.record import Record

if TYPE_CHECKING:
    from cli.remote.target import Target


#: the keys of the JSON
KEYS = (
    "running state config token pid host port url external_url service version instance started_at generation uptime"
    " generation_uptime health checks agent work backup installed_version version_drift token_drift config_drift"
    " newest_version interrupted_update interrupted_restore last_stop port_owner findings fleet remote"
).split()


@click.command(cls=Command)
@click.option("--deep", is_flag=True, help="Also check interpreter, PATH, disk, data directory and port.")
@click.option("--fleet", is_flag=True, help="Also show the fleet: its nodes, and what waits for each agent.")
@click.pass_context
def COMMAND(context: click.Context, deep: bool, fleet: bool) -> None:  # noqa: N802 the seam's name
    """Show whether the gateway runs, and where. Exit code 3 if it does not.

    The command changes nothing.

    \b
    Examples:
      gateway status
      gateway status --deep
      gateway status --fleet
      gateway status --json | jq .running

    \b
    --json prints
      {"running": bool, "state": "running" | "unresponsive" | "stopped", "config": path,
       "token": masked or null, "pid", "host", "port", "url", "version", "instance",
       "external_url": address for other machines; null if only this one reaches it,
       "service": the service manager that started it, such as "systemd",
       "generation": number, "started_at": RFC 3339, "uptime": seconds since then,
       "generation_uptime": seconds since this generation began, "health": "healthy" | "degraded",
       "checks": {name: "ok" or what is wrong},
       "agent": the default agent: {"id", "backend", "origin": "config" | "found" | "fallback",
         "ok": whether it can answer, "introduction"},
       "work": {"running", "queued", "stranded": {agent that is disabled or gone: number of its waiting tasks},
         "ended": in the last 24 hours, "pending_deliveries", "dead_deliveries", "next_schedule": RFC 3339},
       "backup": {"last_success_at": RFC 3339, "file", "bytes", "last_failure_at", "error": why the last one failed,
         if none was made since}, if one was ever made or is planned,
       "installed_version": of this command, "version_drift": whether another version runs,
       "token_drift": whether the gateway refuses the stored token,
       "config_drift": file with settings that changed since the gateway read it,
       "newest_version": a newer one that is known,
       "interrupted_update": what to do about one, "interrupted_restore": the same,
       "last_stop": {"at": RFC 3339, "code": exit code, "reason"},
       "port_owner": {"pid", "name", "user"} of another program that holds the port,
       "findings": as in gateway doctor; both only with --deep,
       "fleet": {"at", "answered_by", "clock_ahead_ms", "commit_lag_ms", "nodes": [...], "queues": [...],
         "differing_limits": [...]}, as in GET /api/fleet; only with --fleet,
       "remote": {"name", "token": its name, "scope", "expires_at", "in_fleet"} of a gateway elsewhere}
    Unknown values are null, and many are of a gateway elsewhere. After a kill, the last stop has no time and no code.
    """
    if (target := find_elsewhere()) is not None:
        _show_elsewhere(target, deep=deep, fleet=fleet)
        return
    instance = Instance.from_environment(current_invocation().merged_environment)
    found = probe.probe_gateway(instance)
    if current_invocation().json:
        told = _build_json(instance, found) | (_build_deep_checks_json(instance, found) if deep else {})
        output.print_json(told | (_build_fleet_json(instance, found) if fleet else {}))
    else:
        {State.RUNNING: _print_running, State.UNRESPONSIVE: _print_unresponsive, State.STOPPED: _print_stopped}[
            found.state
        ](instance, found)
        unfinished = interrupted_restore.describe_interruption(instance.home)
        for note in [*([unfinished] if unfinished else []), *notes.list_notes(instance.home)]:
            output.print_text(output.add_mark("⚠️", complete_commands(note)))
        if deep:
            _print_deep_checks(instance, found)
        if fleet and found.state is State.RUNNING:
            output.print_text("")
            fleet_report.print_fleet(fleet_report.ask_fleet(found, _read_token(instance)))
    context.exit(0 if found.state is State.RUNNING else 3)


def _show_elsewhere(target: Target, *, deep: bool, fleet: bool) -> None:
    from cli.remote import remote_reports  # late: it imports the client

    if deep:
        raise click.UsageError("--deep looks at this machine; for another one: gateway doctor")
    told = remote_reports.build_status(target, with_fleet=fleet)
    if current_invocation().json:
        output.print_json(dict.fromkeys(KEYS) | told)
    else:
        remote_reports.print_status(told)


def _build_json(instance: Instance, found: ProbeResult) -> dict[str, Any]:
    record, health, inside = found.record, found.health or {}, probe.ask_work(found, _read_token(instance))
    return {
        "running": found.state is State.RUNNING,
        "state": found.state,
        "config": str(instance.config),
        "token": _mask_token(instance),
        "pid": record and record.pid,
        "host": record and record.host,
        "port": record and record.port,
        "url": record and probe.local_url(instance, record),
        "external_url": record and network_host.find_external_url(instance, record),
        "service": _find_service_manager(found),
        "version": record and record.version,
        "instance": record and record.instance,
        "started_at": record and output.format_rfc3339(record.createdAt),
        "generation": health.get("generation"),
        "uptime": record and _uptime_seconds(record),
        "generation_uptime": health.get("uptime"),
        "health": health.get("status"),
        "checks": inside.checks,
        "agent": found.agent,
        "work": inside.work,
        "backup": inside.backup or backup_report.read_report(instance),
        "installed_version": gateway.__version__,
        "version_drift": _has_version_drift(found),
        "token_drift": inside.token_drift,
        "config_drift": None if found.health is None else _shown_path(_find_changed_file(instance, found)),
        "newest_version": notes.find_newer_version(instance.home),
        "interrupted_update": notes.describe_interruption(instance.home),
        "interrupted_restore": interrupted_restore.describe_interruption(instance.home),
        "last_stop": _describe_last_stop(instance, found),
        "port_owner": None,
        "findings": None,
        "fleet": None,
        "remote": None,
    }


def _build_deep_checks_json(instance: Instance, found: ProbeResult) -> dict[str, Any]:
    from cli.doctor import environment  # late: imports psutil and the settings

    findings = [one.complete()._asdict() for one in environment.examine_environment(instance, found)]
    return {"port_owner": environment.find_port_owner(instance, found), "findings": findings}


def _build_fleet_json(instance: Instance, found: ProbeResult) -> dict[str, Any]:
    answer = fleet_report.ask_fleet(found, _read_token(instance))
    return {"fleet": None if answer is None else answer["fleet"]}


def _print_deep_checks(instance: Instance, found: ProbeResult) -> None:
    from cli.doctor import environment, finding

    output.print_text("")
    if (owner := environment.find_port_owner(instance, found)) is not None:
        output.print_text(f"   Port: held by pid {owner['pid']} ({owner['name']}, user {owner['user']})")
    for one in environment.examine_environment(instance, found):
        finding.print_finding(one.complete())


def _reach_rows(instance: Instance, record: Record) -> list[str]:
    """Return the lines about how other machines reach the gateway; none if they cannot."""
    external = network_host.find_external_url(instance, record)
    rows = [] if external is None else [f"   For others: {external}"]
    if network_host.is_exposed_without_tls(instance, record):
        rows.append(f"   {output.add_mark('⚠️ ', network_host.PLAIN_HTTP_WARNING)}")
    return rows


def _find_service_manager(found: ProbeResult) -> str | None:
    """Return the service manager that started the gateway, by the variable that it sets; None if none did."""
    return None if found.record is None else read_marker(read_process_variables(found.record.pid))


def _shown_path(path: Path | None) -> str | None:
    return None if path is None else str(path)


def _read_token(instance: Instance) -> str | None:
    try:
        found = instance.access_token
    except ConfigError:  # `gateway doctor` says what is wrong with it
        return None
    return None if found is None else found.value


def _has_version_drift(found: ProbeResult) -> bool | None:
    """Return whether the supervisor or its generation has another version than this command."""
    if found.record is None:
        return None
    return {found.record.version, _serving_version(found)} != {gateway.__version__}


def _describe_last_stop(instance: Instance, found: ProbeResult) -> dict[str, Any] | None:
    told, record = instance.last_stop, instance.lock_record
    if found.state is State.STOPPED and record is not None and (told is None or told.instance != record.instance):
        return {"at": None, "code": None, "reason": "it was killed, or the machine went down"}
    return told and {"at": output.format_rfc3339(told.at), "code": told.code, "reason": told.reason}


def _mask_token(instance: Instance) -> str | None:
    found = _read_token(instance)
    return None if found is None else mask_secret(found)


def _print_running(instance: Instance, found: ProbeResult) -> None:
    record, health, inside = found.record, found.health or {}, probe.ask_work(found, _read_token(instance))
    assert record is not None
    wrong = {name: said for name, said in (inside.checks or {}).items() if said != "ok"}
    ill = bool(wrong) or health.get("status") == "degraded"
    generation = health.get("generation", 1)
    rows = [
        output.add_mark("⚠️ " if ill else "✅", "Gateway is running" + (", and is not well" if ill else "")),
        *(f"   {name}: {said}" for name, said in wrong.items()),
        *_drift_rows(instance, found, inside),
        "",
        f"   Port: {record.port}",
        f"   Uptime: {output.format_duration(_uptime_seconds(record))}      Generation: {generation}"
        f" (pid {record.pid}, version {_serving_version(found)},"
        f" began {output.format_duration(health.get('uptime', 0))} ago)",
        *(probe.describe_work(inside.work) if inside.work else []),
        *fleet_report.describe_fleet(health),
        *backup_report.describe_backups(inside.backup),
        *([] if "agent" in wrong else probe.describe_agent(found.agent)),
        f"   Config: {output.shorten_home(instance.config)}",
        *(
            [f"   Service: {manager}      (gateway service-status)"]
            if (manager := _find_service_manager(found))
            else []
        ),
        "",
        output.add_mark("🌐", "Access:"),
        f"   URL: {probe.local_url(instance, record)}",
        *_reach_rows(instance, record),
        f"   Token: {_describe_token(instance, inside)}",
        "   Dashboard: gateway dashboard",
        "",
        output.add_mark("📝", "Management:"),
        "   gateway stop      # stop",
        "   gateway restart   # restart, no request is lost",
        "   gateway logs --follow   # what it does",
        "   gateway doctor          # what is wrong, and how to fix it",
    ]
    output.print_text(complete_commands("\n".join(rows)))


def _print_unresponsive(instance: Instance, found: ProbeResult) -> None:
    record = found.record
    assert record is not None
    output.print_text(
        output.add_mark("❌", f"Gateway does not answer: pid {record.pid} is there, port {record.port} is silent")
        + complete_commands("\n   It may be starting or stopping. See: gateway logs")
    )


def _print_stopped(instance: Instance, found: ProbeResult) -> None:
    rows = [output.add_mark("❌", "Gateway is not running")]
    if (last := _describe_last_stop(instance, found)) is not None:
        rows.append(f"   Last stop: {last['at'] or 'not seen'} ({last['reason']})")
    output.print_text("\n".join([*rows, complete_commands("   Start it: gateway start")]))


def _uptime_seconds(record: Record) -> int:
    return max(0, int(time.time() - record.createdAt / 1000))


def _drift_rows(instance: Instance, found: ProbeResult, inside: WorkReport) -> list[str]:
    """Return a line for each way in which the running gateway differs from what is installed and stored."""
    said: list[str] = []
    if found.record is None:
        return said
    if _has_version_drift(found):
        runs = " and ".join(dict.fromkeys([_serving_version(found), found.record.version]))
        said.append(f"   Version: {runs} runs, {gateway.__version__} is installed")
    if (changed := _find_changed_file(instance, found)) is not None:
        said.append(f"   Config: {output.shorten_home(changed)} changed on disk since the start")
    if said:
        advice = config_drift.advise_restart(instance)
        said = [f"{line}: {advice}" for line in said]
    if inside.token_drift:
        drift = explain_token_drift(instance, found.record)
        said.append(f"   Token: {drift.finding}: {drift.remedy}")
    return said


def _serving_version(found: ProbeResult) -> str:
    """Return the version of the process that serves, which a restart may have failed to replace."""
    return str((found.health or {}).get("version", found.record and found.record.version))


def _find_changed_file(instance: Instance, found: ProbeResult) -> Path | None:
    """Return the file with settings that changed since the running gateway read it; None if none did."""
    began = time.time() - (found.health or {}).get("uptime", 0) - 1  # its uptime is in whole seconds
    return config_drift.find_changed_file(instance, began)


def _describe_token(instance: Instance, inside: WorkReport) -> str:
    missing = "not known to this shell" if inside.token_drift else "none is asked for"
    return _mask_token(instance) or missing
