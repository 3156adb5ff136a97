"""The Debian package in a booted system of its own: installed, upgraded and purged by dpkg, run by the real systemd."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path

import filelock
import pytest

import gateway
from harness.waiting import until_sync
from tests.support.booted import BootedSystem, missing

ROOT = Path(__file__).parent.parent.parent
CLIENT = ROOT / "tests/support/steady_client.py"
#: places that every package, every boot and the test itself change: logs, caches, lists of packages
_OTHERS = ("/var/log/", "/var/cache/", "/var/lib/dpkg/", "/var/lib/systemd/", "/var/tmp/", "/tmp/", "/root/", "/mnt/")
#: files with the accounts; the programs for accounts also keep a copy of each
_ACCOUNTS = ("passwd", "shadow", "group", "gshadow", "subuid", "subgid")
#: a config that a task can be steered by, for the system's service
_CONFIG = '{"gateway": {"port": 18790}, "agents": {"list": [{"id": "main", "backend": "echo", "script": true}]}}'

pytestmark = [pytest.mark.slow, pytest.mark.service]


@pytest.fixture(scope="session")
def packages(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A directory with the package, one of the next version, and a client."""
    if (why := missing()) is not None:
        pytest.skip(why)
    temporary = tmp_path_factory.getbasetemp()
    directory = (temporary if worker_id == "master" else temporary.parent) / "packages"
    with filelock.FileLock(f"{directory}.lock"):
        if not directory.exists():
            draft = directory.with_suffix(".draft")
            _build_packages(draft)
            shutil.copy(CLIENT, draft)
            draft.rename(directory)
    return directory


def _build_packages(directory: Path) -> None:
    env = {**os.environ, "DPKG_DEB_COMPRESSOR_TYPE": "none"}
    subprocess.run([ROOT / "scripts/deb", directory], env=env, check=True, capture_output=True)
    (built,) = directory.glob("*.deb")
    built.rename(directory / "moongate.deb")
    tree = directory / "next"
    subprocess.run(["dpkg-deb", "-R", directory / "moongate.deb", tree], check=True)
    for file in (tree / "DEBIAN/control", *tree.glob("opt/moongate/lib/*/site-packages/gateway/__init__.py")):
        file.write_text(file.read_text().replace(gateway.__version__, "0.99.1"))
    for compiled in tree.glob("opt/moongate/lib/*/site-packages/gateway/__pycache__/__init__.*"):
        compiled.unlink()
    subprocess.run(["dpkg-deb", "-b", tree, directory / "next.deb"], env=env, check=True, capture_output=True)
    shutil.rmtree(tree)


@pytest.fixture
def system(packages: Path) -> Iterator[BootedSystem]:
    booted = BootedSystem(packages)
    try:
        yield booted
    finally:
        booted.close()


def list_traces(system: BootedSystem) -> set[str]:
    """Return all that a package may have left: changed places, and accounts."""
    others = {"/etc/.pwd.lock", *(f"/etc/{kind}-" for kind in _ACCOUNTS)}
    changes = system.list_changes()
    files = {f"{changes[path]} {path}" for path in changes.keys() - others if not path.startswith(_OTHERS)}
    return files | {f"{kind} {entry}" for kind in _ACCOUNTS for entry in _list_entries(system, kind)}


def _list_entries(system: BootedSystem, kind: str) -> list[str]:
    try:
        return (system.root / "etc" / kind).read_text().splitlines()
    except FileNotFoundError:
        return []


def ask(system: BootedSystem, words: str) -> str:
    """Run a command of the gateway as the account of the system's service."""
    return system.do(f"runuser -u moongate -- gateway {words}")


def test_a_package_is_installed_upgraded_under_load_and_purged_without_a_trace(system: BootedSystem) -> None:
    before = list_traces(system)

    system.do("dpkg -i /mnt/shared/moongate.deb")
    assert {"new /opt/moongate", "new /usr/bin/gateway", "new /etc/moongate"} <= list_traces(system) - before
    assert system.do("gateway --version; moongate --version") == f"Moongate {gateway.__version__}\n" * 2
    assert (system.root / "opt/moongate/installed-by").read_text() == "deb\n"
    assert system.run("systemctl is-enabled moongate").out == "disabled\n", "who installs it chooses which service"

    (system.root / "etc/moongate/config.json").write_text(_CONFIG)
    system.do("systemctl enable --now moongate")
    assert "echo: Hello" in ask(system, "agent Hello")
    client = "python3 /mnt/shared/steady_client.py http://127.0.0.1:18790 /var/lib/moongate/token /root/accepted"
    system.do(f"systemd-run --quiet --unit steady {client} submit")
    accepted = system.root / "root/accepted"
    until_sync(lambda: accepted.exists() and len(accepted.read_text().splitlines()) > 10, "tasks are accepted")
    system.do("dpkg -i /mnt/shared/next.deb")
    so_far = len(accepted.read_text().splitlines())
    until_sync(lambda: len(accepted.read_text().splitlines()) > so_far + 10, "tasks are accepted after the upgrade")
    system.do("touch /root/accepted.stop")
    assert system.do(f"{client} check") == "", "no accepted task is lost"
    assert '"version": "0.99.1"' in ask(system, "status --json")
    assert (system.root / "etc/moongate/config.json").read_text() == _CONFIG

    system.do("dpkg --purge moongate")
    left = list_traces(system)
    assert (left - before, before - left) == (set(), set())
    assert system.run("systemctl status moongate").code == 4, "systemd does not know it any more"


def test_a_removed_package_keeps_config_and_data_until_it_is_purged(system: BootedSystem) -> None:
    system.do("dpkg -i /mnt/shared/moongate.deb && systemctl enable --now moongate")
    token = (system.root / "var/lib/moongate/token").read_text()

    system.do("dpkg --remove moongate")
    assert system.run("systemctl is-active moongate").out != "active\n"
    assert system.run("pgrep -f '^/opt/moongate/'").out == ""
    assert not (system.root / "opt/moongate").exists()

    system.do("dpkg -i /mnt/shared/moongate.deb && systemctl start moongate")
    assert (system.root / "var/lib/moongate/token").read_text() == token


def test_a_users_service_goes_on_after_an_upgrade_and_ends_with_the_package(system: BootedSystem) -> None:
    system.do("dpkg -i /mnt/shared/moongate.deb && useradd --create-home ann && systemctl start user@$(id -u ann)")

    def as_ann(command: str) -> str:
        return system.do(
            f'runuser -u ann -- env HOME=/home/ann XDG_RUNTIME_DIR="/run/user/$(id -u ann)" sh -c "{command}"'
        )

    as_ann("systemctl --user --quiet enable --now moongate")
    assert "echo: Hello" in as_ann("gateway agent Hello")
    assert (system.root / "home/ann/.moongate/token").exists()

    system.do("dpkg -i /mnt/shared/next.deb")
    status = json.loads(as_ann("gateway status --json"))
    assert (status["version"], status["service"], status["work"]["ended"]) == ("0.99.1", "systemd", 1)

    system.do("dpkg --purge moongate")
    assert system.run("pgrep -f '^/opt/moongate/'").out == ""
    assert (system.root / "home/ann/.moongate/token").exists(), "what is the user's stays"


def test_a_gateway_that_is_no_service_is_named_at_an_upgrade(system: BootedSystem) -> None:
    system.do("dpkg -i /mnt/shared/moongate.deb && useradd --create-home ann")
    system.do("runuser -u ann -- env HOME=/home/ann gateway start")
    status = json.loads(system.do("runuser -u ann -- env HOME=/home/ann gateway status --json"))

    done = system.run("dpkg -i /mnt/shared/next.deb")

    assert done.code == 0
    assert f"until they are restarted: {status['pid']}\n" in done.err
    assert "echo: Hello" in system.do("runuser -u ann -- env HOME=/home/ann gateway agent Hello")


def test_an_upgrade_to_a_package_that_cannot_be_unpacked_leaves_the_service_running(system: BootedSystem) -> None:
    system.do("dpkg -i /mnt/shared/moongate.deb && systemctl start moongate")
    system.do("head -c 30000000 /mnt/shared/next.deb >/root/half.deb")

    assert system.run("dpkg -i /root/half.deb").code != 0

    assert "echo: Hello" in ask(system, "agent Hello")
    assert system.do("gateway --version") == f"Moongate {gateway.__version__}\n"
