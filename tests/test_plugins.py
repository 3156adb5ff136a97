"""What other packages bring: found by entry points, and kept from doing harm."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import backends, config, plugins
from gateway.agent_setup import detection
from gateway.backends import BackendType
from gateway.domain.agent import Agent
from gateway.domain.ports.backend import Abilities


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A place that packages are found in; what is known of others is forgotten before and after."""
    monkeypatch.syspath_prepend(str(tmp_path))
    for known in (backends.find_backends, backends.find_registered_backends):
        known.cache_clear()
    yield tmp_path
    for known in (backends.find_backends, backends.find_registered_backends):
        known.cache_clear()


def install(site: Path, package: str, points: str, module: str) -> None:
    """Put a package there, as an installer would leave it."""
    told = site / f"{package}-1.0.dist-info"
    told.mkdir()
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 1.0\n")
    (told / "entry_points.txt").write_text(f"[moongate.backends]\n{points}\n")
    (site / f"{package}.py").write_text(module)


ECHO = "from gateway.backends.echo import BACKEND\n"


def test_a_backend_of_another_package_is_one_of_ours(site: Path) -> None:
    install(site, "parrots", "parrot = parrots:BACKEND", ECHO)

    found = backends.find_registered_backends()

    assert (found.usable["parrot"], found.origins, found.broken) == (
        backends.find_backends()["echo"],
        {"parrot": "parrots 1.0"},
        {},
    )
    assert "parrot" in backends.find_backends()


def test_of_two_with_one_name_the_second_is_told(site: Path) -> None:
    install(site, "first_parrots", "parrot = first_parrots:BACKEND", ECHO)
    install(site, "second_parrots", "parrot = second_parrots:BACKEND", ECHO)

    found = plugins.load_plugins("moongate.backends", BackendType, ())

    assert found.origins == {"parrot": "first_parrots 1.0"}
    assert found.broken["parrot"].origin == "second_parrots 1.0"


def test_a_name_of_our_own_is_not_given_away(site: Path) -> None:
    install(site, "usurper", "opencode = usurper:BACKEND", ECHO)

    assert backends.find_registered_backends().broken["opencode"].why == "the name 'opencode' is already used"
    assert backends.find_backends()["opencode"] is not backends.find_backends()["echo"]


def test_one_that_fails_to_look_around_is_passed_over(site: Path, tmp_path: Path) -> None:
    module = (
        "import msgspec\nfrom gateway.backends.echo import BACKEND as ECHO\n"
        "def look(environ, config):\n    raise RuntimeError('no eyes')\n"
        "BACKEND = msgspec.structs.replace(ECHO, named=look, detect=look, rank=-1)\n"
    )
    install(site, "blind", "blind = blind:BACKEND", module)

    found = detection.look_around(config.load({"MOONGATE_HOME": str(tmp_path)}), {"PATH": "", "OPENAI_API_KEY": "k"})

    assert found is not None
    assert found.backend == "openai"


def test_one_that_fails_to_describe_its_agent_leaves_it_unknown(site: Path) -> None:
    module = (
        "import msgspec\nfrom gateway.backends.echo import BACKEND as ECHO\n"
        "def describe(agent):\n    raise RuntimeError('no words')\n"
        "BACKEND = msgspec.structs.replace(ECHO, describe=describe)\n"
    )
    install(site, "mute", "mute = mute:BACKEND", module)

    assert backends.describe_agent(Agent(id="main", backend="mute")) == Abilities()
    assert backends.describe_agent(Agent(id="main", backend="echo")) == Abilities(tells_tokens=True, tells_cost=False)


def test_a_package_in_an_archive_is_found_too(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    archive = site / "parrots.zip"
    with zipfile.ZipFile(archive, "w") as file:
        file.writestr("parrots.py", ECHO)
        file.writestr("parrots-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: parrots\nVersion: 1.0\n")
        file.writestr("parrots-1.0.dist-info/entry_points.txt", "[moongate.backends]\nparrot = parrots:BACKEND\n")
    monkeypatch.syspath_prepend(str(archive))

    assert "parrot" in backends.find_registered_backends().usable


def test_a_backend_that_no_agent_has_is_not_loaded() -> None:
    code = (
        "import sys; from gateway import backends; kinds = backends.find_backends(); kinds['echo'];"
        " print(*kinds, *sys.modules)"
    )

    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    words = done.stdout.split()
    assert {"echo", "opencode", "gateway.backends.echo"} <= set(words)
    assert "gateway.backends.opencode" not in words
