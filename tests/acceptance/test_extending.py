"""The files of docs/extending.md, put where the page says, work as it says; a broken plugin does no harm."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import until_sync

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text()
#: the files of the page, by the paths that the page gives
FILES = dict(re.findall(r"^`([\w./-]+)`:\n\n```\w+\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE))
CONFIG = json.loads(re.findall(r"^```json\n(.*?)^```$", PAGE, re.DOTALL | re.MULTILINE)[0])


def test_the_page_contains_all_files_of_its_examples() -> None:
    assert sorted(FILES) == [
        "cli/commands/parrots.py",
        "gateway/api/routes/parrots.py",
        "moongate-parrot/letter_channel.py",
        "moongate-parrot/parrot_backend.py",
        "moongate-parrot/pyproject.toml",
    ]


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """An environment with a clone of Moongate that has the page's files, and with the page's package installed."""
    here = tmp_path_factory.mktemp("extended")
    for package in ("gateway", "cli", "service_templates"):
        shutil.copytree(ROOT / package, here / package)
    for path, text in FILES.items():
        (here / path).parent.mkdir(exist_ok=True)
        (here / path).write_text(text)
    install = ["install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-build-isolation", "--no-deps"]
    done = subprocess.run(
        [sys.executable, "-m", "pip", *install, "--target", here / "site", here / "moongate-parrot"],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return {"PYTHONPATH": f"{here}:{here / 'site'}"}


@pytest.fixture(scope="module")
def served(extended: Mapping[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Live]:
    """A gateway with the page's config, except for the folder of letters."""
    home = tmp_path_factory.mktemp("served")
    config = {**CONFIG, "channels": {"letters": {"folder": str(home / "letters")}}}
    live = Live(home, config=config, env=extended)
    live.start()
    yield live
    live.close()


def test_the_backend_answers(served: Live) -> None:
    answer = served.call("POST", "/api/agent", {"message": "Hello"})
    failed = served.call("POST", "/api/agent", {"message": "a cat"})

    assert answer.body["reply"] == "Ahoy! Hello"
    assert (failed.status, failed.body["error"]["message"]) == (502, "the parrot has flown away.")


def test_the_channel_receives_a_message_and_sends_its_reply(served: Live) -> None:
    letters = served.home / "letters"
    (letters / "anna").write_text("Where are you?")
    (letters / "anna").rename(letters / "in" / "anna.txt")

    until_sync((letters / "out" / "anna.txt").exists, "there is an answer")
    answer = "Ahoy! Where are you?\n\n(Files that you write into "  # the parrot repeats all that it is told
    until_sync(lambda: (letters / "out" / "anna.txt").read_text().startswith(answer), "it is complete")
    assert served.call("GET", "/api/sessions/polly:letters:anna").body["session"]["messages"] == 2


def test_a_chat_name_cannot_escape_the_folder(served: Live) -> None:
    said = {"channel": "letters", "chat_id": "../in/evil", "content": "Out!"}
    assert served.call("POST", "/api/message", said).status == 200

    until_sync((served.home / "letters" / "out" / ".._in_evil.txt").exists, "there is an answer")
    assert not (served.home / "letters" / "in" / "evil.txt").exists()


def test_the_route_is_served_and_documented(served: Live) -> None:
    assert served.call("GET", "/api/parrots").body == {"parrots": ["polly"]}
    assert served.call("GET", "/api/parrots", headers={"Authorization": "Bearer wrong"}).status == 401
    assert "/api/parrots" in served.call("GET", "/openapi.json").body["paths"]


def test_the_command_is_part_of_the_cli(served: Live) -> None:
    shell = Shell(served.env, served.home)

    assert shell("parrots").out == "polly\n"
    assert shell("parrots", "--json").json == {"parrots": ["polly"]}


def test_options_of_a_plugin_are_checked_like_built_in_ones(extended: Mapping[str, str], tmp_path: Path) -> None:
    agents = {"list": [{"id": "polly", "backend": "parrot", "greetings": "Ahoy"}]}
    live = Live(tmp_path / "home", config={"agents": agents}, env=extended)
    done = Shell(live.env, tmp_path)("config", "check")

    assert done.code == 78
    assert 'agents.list[0].greetings: unknown field; did you mean "greeting"?' in done.err


def test_doctor_lists_the_plugins_of_other_packages(served: Live) -> None:
    findings = Shell(served.env, served.home)("doctor", "--json").json["findings"]

    assert {(one["check"], one["level"], one["finding"]) for one in findings if one["check"].startswith("plugin")} == {
        ("plugin parrot", "ok", "a backend, from moongate-parrot 0.1.0"),
        ("plugin letters", "ok", "a channel, from moongate-parrot 0.1.0"),
    }


# --- broken plugins -----------------------------------------------------------------------------

BROKEN = {
    "absent": ("no_such_module:BACKEND", "no_such_module:BACKEND raises ModuleNotFoundError: No module named"),
    "empty": ("broken_plugin:NOTHING", "broken_plugin:NOTHING raises AttributeError"),
    "other": ("broken_plugin:OTHER", "broken_plugin:OTHER is not a BackendType"),
    "quits": ("quitting_plugin:BACKEND", "quitting_plugin:BACKEND raises SystemExit: 3"),
    "echo": ("broken_plugin:OTHER", "the name 'echo' is already used"),
}


@pytest.fixture
def broken(tmp_path: Path) -> Mapping[str, str]:
    """An environment with a package of broken plugins, as an installer leaves it."""
    site = tmp_path / "site"
    told = site / "moongate_broken-0.2.dist-info"
    told.mkdir(parents=True)
    (told / "METADATA").write_text("Metadata-Version: 2.1\nName: moongate-broken\nVersion: 0.2\n")
    points = "".join(f"{name} = {value}\n" for name, (value, _) in BROKEN.items())
    (told / "entry_points.txt").write_text(
        f"[moongate.backends]\n{points}[moongate.channels]\nodd = broken_plugin:OTHER\n"
    )
    (site / "broken_plugin.py").write_text("OTHER = 7\n")
    (site / "quitting_plugin.py").write_text("raise SystemExit(3)\n")
    return {"PYTHONPATH": str(site)}


def test_a_gateway_starts_without_broken_plugins_and_says_so(live: Any, broken: Mapping[str, str]) -> None:
    gateway: Live = live(env=broken).start()

    assert gateway.call("POST", "/api/agent", {"message": "Hello"}).body["reply"] == "echo: Hello"
    lines = gateway.wait_logged("plugin.broken", len(BROKEN) + 1)
    told = {line["plugin"]: (line["origin"], line["why"]) for line in lines}
    assert set(told) == {*BROKEN, "odd"}
    assert {origin for origin, _ in told.values()} == {"moongate-broken 0.2"}
    assert [name for name, (_, why) in BROKEN.items() if not told[name][1].startswith(why)] == []

    doctor = Shell(gateway.env, gateway.home)("doctor", "--json")
    named = {one["check"]: one for one in doctor.json["findings"] if one["check"].startswith("plugin")}
    assert doctor.code == 1
    assert set(named) == {f"plugin {name}" for name in told}
    assert named["plugin odd"]["finding"] == "the channel from moongate-broken 0.2 cannot be used"
    assert named["plugin odd"]["cause"] == "broken_plugin:OTHER is not a ChannelType"


@pytest.mark.parametrize(
    ("config", "where"),
    [
        ({"agents": {"list": [{"id": "x", "backend": "quits"}]}}, 'agents.list[0].backend: the plugin "quits"'),
        ({"channels": {"odd": {}}}, 'channels.odd: the plugin "odd"'),
    ],
)
def test_a_config_that_asks_for_a_broken_plugin_is_refused(
    broken: Mapping[str, str], tmp_path: Path, config: Mapping[str, Any], where: str
) -> None:
    live = Live(tmp_path / "home", config=config, env=broken)
    done = Shell(live.env, tmp_path)("config", "check")

    assert done.code == 78
    assert f"{where} of moongate-broken 0.2 cannot be used" in done.err
