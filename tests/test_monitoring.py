"""The files of the monitoring page work in the programs that they are for, and name metrics that exist."""

from __future__ import annotations

import json
import re
import shutil
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path
from typing import Any

import pytest

from gateway.backup.status import record_success
from harness.live_gateway import Live
from harness.otlp_receiver import receive_otlp
from tests.api.client import ask
from tests.support.fleet_pair import serving_pair
from tests.support.inprocess import serving
from tests.support.programs import require_program, run_program

ROOT = Path(__file__).parent.parent
FILES = ROOT / "docs" / "operations"
RULES, DASHBOARD = FILES / "prometheus-rules.yml", FILES / "grafana-dashboard.json"
FILTER = FILES / "fail2ban-filter.conf"
STRANGERS = ("198.51.100.7", "2001:db8::7")
#: a path that ends its line in the log, and goes on like a refused attempt of somebody else
HOSTILE_PATH = '/api/\n13:08:50 warning auth.refused address="192.0.2.1" method="GET"'


def find_metrics(text: str) -> set[str]:
    return set(re.findall(r"\bmoongate_\w+", text))


def list_panels() -> list[dict[str, Any]]:
    panels: list[dict[str, Any]] = json.loads(DASHBOARD.read_text())["panels"]
    return panels


def list_queries() -> list[str]:
    return [target["expr"] for panel in list_panels() for target in panel.get("targets", ())]


def test_prometheus_takes_the_rules() -> None:
    assert "SUCCESS: 15 rules found" in run_program("promtool", "check", "rules", RULES)


def test_the_alerts_fire_when_they_should_and_only_then(tmp_path: Path) -> None:
    for file in (RULES, ROOT / "tests" / "data" / "prometheus-rules-tests.yml"):
        shutil.copy(file, tmp_path)

    run_program("promtool", "test", "rules", tmp_path / "prometheus-rules-tests.yml")


def test_every_alert_has_a_test() -> None:
    alerts = set(re.findall(r"alert: (\w+)", RULES.read_text()))

    fired = (ROOT / "tests" / "data" / "prometheus-rules-tests.yml").read_text()
    assert {alert for alert in alerts if f"alertname: {alert}\n        exp_alerts:\n" not in fired} == set()


async def test_all_metrics_of_the_alerts_and_the_dashboard_exist(tmp_path: Path) -> None:
    with receive_otlp() as collector:
        settings = {"tracing": {"enabled": True, "endpoint": collector.url, "metrics": False}}
        async with serving(tmp_path / "alone", settings) as served:
            record_success(tmp_path / "alone", tmp_path / "backup.tar.gz", 5)
            alone = (await ask(served, "GET", "/metrics")).body
    async with serving_pair(tmp_path / "pair") as pair:
        fleet = (await ask(pair.gate, "GET", "/metrics")).body

    named = find_metrics(RULES.read_text()) | {name for query in list_queries() for name in find_metrics(query)}
    assert named - find_metrics(alone) - find_metrics(fleet) == set()
    shown = {name for name in find_metrics(alone + fleet) if not name.endswith(("_created", "_sum", "_count"))}
    left_out = {"moongate_fleet_lease_seconds", "moongate_fleet_commit_lag_seconds"}
    families = {name.removesuffix("_bucket").removesuffix("_total") for name in named}
    assert {name.removesuffix("_bucket").removesuffix("_total") for name in shown} - families == left_out


def test_prometheus_understands_every_query_of_the_dashboard(tmp_path: Path) -> None:
    rules = [
        {"record": f"panel_{number}", "expr": query.replace("$__rate_interval", "5m")}
        for number, query in enumerate(list_queries())
    ]
    (tmp_path / "queries.yml").write_text(json.dumps({"groups": [{"name": "panels", "rules": rules}]}))

    assert f"SUCCESS: {len(rules)} rules found" in run_program("promtool", "check", "rules", tmp_path / "queries.yml")


def test_the_dashboard_has_what_grafana_needs() -> None:
    dashboard, panels = json.loads(DASHBOARD.read_text()), list_panels()

    assert dashboard["uid"] == "moongate"
    assert "id" not in dashboard, "Grafana gives it one"
    assert [one["name"] for one in dashboard["templating"]["list"]] == ["datasource", "job", "instance"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        place = panel["gridPos"]
        cells = {(place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])}
        assert not cells & taken, f"{panel['title']} lies over another panel"
        assert max(x for x, _ in cells) < 24
        taken |= cells
        if panel["type"] != "row":
            assert panel["targets"], panel["title"]
            assert panel["datasource"] == {"type": "prometheus", "uid": "${datasource}"}
    assert all('job="$job",instance=~"$instance"' in query for query in list_queries())


@pytest.fixture(scope="module")
def attacked(tmp_path_factory: pytest.TempPathFactory) -> Live:
    """A gateway that has refused wrong tokens from two addresses, and has ended."""
    require_program("fail2ban-regex")
    gateway = Live(tmp_path_factory.mktemp("attacked"), {"gateway": {"trusted_proxies": ["127.0.0.0/8"]}}).start()
    try:
        for address in STRANGERS:
            for path in ("/api/tasks", HOSTILE_PATH):
                assert guess_token(gateway, urllib.parse.quote(path), address) == 401
        gateway.wait_logged("auth.refused", len(STRANGERS) * 2)
        assert gateway.stop() == 0
    finally:
        gateway.close()
    return gateway


def guess_token(gateway: Live, path: str, address: str) -> int:
    """Send a wrong token from an address, by what a proxy says. Returns the status of the answer."""
    headers = {"Authorization": "Bearer " + "wrong-" * 5, "X-Forwarded-For": address}
    try:
        with urllib.request.urlopen(urllib.request.Request(gateway.url + path, headers=headers)) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        return error.code


def find_banned(output: str) -> list[str]:
    """Return the addresses that `fail2ban-regex --out ip` has found."""
    return sorted(line for line in output.splitlines() if re.fullmatch(r"[0-9a-f:.]{7,}", line))


def test_fail2ban_finds_refused_tokens_in_the_log_file(attacked: Live) -> None:
    found = run_program("fail2ban-regex", "--out", "ip", attacked.log, FILTER)

    assert find_banned(found) == sorted(2 * STRANGERS)


def test_fail2ban_finds_refused_tokens_in_the_journal(attacked: Live, tmp_path: Path) -> None:
    journal = write_journal(attacked.output.read_text(), tmp_path)

    found = run_program("fail2ban-regex", "--out", "ip", f"systemd-journal[journalfiles={journal}]", FILTER)

    assert find_banned(found) == sorted(2 * STRANGERS)


def write_journal(output: str, directory: Path) -> Path:
    """Return a file of systemd's journal in which a service has printed this."""
    export, journal = directory / "journal.export", directory / "moongate.journal"
    first = time.time_ns() // 1000
    entries = [
        f"__REALTIME_TIMESTAMP={first + number}\n__MONOTONIC_TIMESTAMP={1 + number}\n_BOOT_ID={'ab' * 16}\n"
        f"_MACHINE_ID={'cd' * 16}\n_HOSTNAME=box\n_PID=4711\n_COMM=python\nSYSLOG_IDENTIFIER=python\n"
        f"_SYSTEMD_UNIT=moongate.service\nMESSAGE={line}\n\n"
        for number, line in enumerate(filter(None, output.splitlines()))
    ]
    export.write_text("".join(entries))
    run_program("systemd-journal-remote", "-o", journal, export)
    return journal
