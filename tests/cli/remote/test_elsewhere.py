"""Commands that go to a gateway on another machine: over TLS, with its URL or its name, and an empty home."""

from __future__ import annotations

import contextlib
import http.server
import json
import ssl
import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import click
import pytest

from cli.command import Invocation, complete_commands
from cli.doctor.finding import Finding, Level
from cli.instance import FoundToken
from cli.main import COMMAND, main
from cli.remote.command_places import COMMAND_PLACES, Place
from cli.remote.elsewhere import Elsewhere
from cli.remote.profiles import Remote, RemoteFiles
from cli.remote.remote_link import RemoteLink, make_context
from cli.remote.target import find_target, make_target
from gateway.errors import ConfigError
from gateway.process.own_command import mean_this_machine, spell_own_command
from harness.command_line import Result, Shell
from harness.waiting import PATIENCE
from tests.support.certificates import Authority, LiveTls, Pair

PING = '{"jsonrpc": "2.0", "id": 1, "method": "ping"}\n'
HELLO = '{"jsonrpc": "2.0", "id": 1, "method": "initialize", "params": {"protocolVersion": 1}}\n'

#: a line for each command that may go elsewhere, and what it is given; those that end something come last
LINES = {
    "agent": (["agent", "Hello"], ""),
    "message": (["message", "webchat", "anna", "Hello"], ""),
    "acp": (["acp"], HELLO),
    "agents": (["agents", "list"], ""),
    "alerts": (["alerts"], ""),
    "audit": (["audit"], ""),
    "channels": (["channels", "list"], ""),
    "cron": (["cron", "list"], ""),
    "dashboard": (["dashboard", "--print"], ""),
    "deliveries": (["deliveries", "list"], ""),
    "doctor": (["doctor", "--json"], ""),
    "export": (["export", "out"], ""),
    "import": (["import", "out"], ""),
    "files": (["files", "list"], ""),
    "logs": (["logs", "--lines", "2"], ""),
    "mcp": (["mcp"], PING),
    "projects": (["projects", "list"], ""),
    "sessions": (["sessions", "list"], ""),
    "status": (["status", "--fleet"], ""),
    "tasks": (["tasks", "list"], ""),
    "tokens": (["tokens", "list"], ""),
    "unreadable": (["unreadable", "list"], ""),
    "usage": (["usage"], ""),
    "restart": (["restart", "--wait", str(PATIENCE)], ""),
}


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="module")
def secure(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[LiveTls]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("SSL_CERT_FILE", str(authority.file))
        live = LiveTls(tmp_path_factory.mktemp("gateway"), authority.sign("server"))
        live.home.chmod(0o700)
        live.start()
        yield live
        live.close()


@pytest.fixture
def laptop(secure: LiveTls, authority: Authority, tmp_path: Path) -> Shell:
    """A shell on another machine: with an empty home, a token in a file, and the certificate of the authority."""
    home = tmp_path / "home"
    home.mkdir(mode=0o700)
    (tmp_path / "token").write_text(secure.token + "\n")
    (tmp_path / "ca.pem").write_bytes(authority.file.read_bytes())
    kept = ("PATH", "LANG", "PYTHONWARNINGS")
    keep = {name: value for name, value in secure.env.items() if name in kept}
    return Shell({**keep, "HOME": str(home)}, tmp_path)


def reach(shell: Shell, url: str, *words: str, given: str = "") -> Result:
    return shell("--url", url, "--token-file", "token", "--ca-file", "ca.pem", *words, given=given)


def test_each_command_says_whether_it_may_go_elsewhere() -> None:
    assert set(COMMAND_PLACES) == set(COMMAND.commands) | set(COMMAND.list_commands(None))  # type: ignore[arg-type]


def test_each_command_that_may_go_elsewhere_is_tried_below() -> None:
    assert set(LINES) == {name for name, place in COMMAND_PLACES.items() if place is Place.ANY}


@pytest.mark.parametrize("name", LINES)
def test_a_command_goes_to_a_gateway_elsewhere(name: str, secure: LiveTls, laptop: Shell) -> None:
    words, given = LINES[name]
    if name == "import":
        assert reach(laptop, secure.url, "export", "out").code == 0

    result = reach(laptop, secure.url, *words, given=given)

    assert result.code == 0 or (name == "doctor" and result.json["findings"]), result
    assert list(Path(laptop.env["HOME"]).iterdir()) == []  # nothing of this machine was used or made
    if given:
        assert json.loads(result.out.splitlines()[0])["id"] == 1


@pytest.mark.parametrize("name", [name for name, place in COMMAND_PLACES.items() if place is Place.HERE])
def test_a_command_about_this_machine_refuses_another_one(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    words = {"exec": ["exec", "x"], "migrate": ["migrate", "--to", "sqlite"]}.get(name, [name])

    monkeypatch.delenv("MOONGATE_URL", raising=False)

    assert main(["--url", "https://gate.example", *words]) == 2
    assert "is about this machine, and --url names a gateway elsewhere" in capsys.readouterr().err


def test_a_variable_names_the_gateway_like_an_option_and_local_overrides_it(secure: LiveTls, laptop: Shell) -> None:
    env = {"MOONGATE_URL": secure.url, "MOONGATE_TOKEN_FILE": "token", "MOONGATE_CA_FILE": "ca.pem"}

    assert laptop("agent", "Hello", env=env).out == "echo: Hello\n"
    assert laptop("stop", env=env).code == 2
    assert laptop("completion", "bash", env=env).code == 0
    assert laptop("status", "--remote", "local", env=env).code == 3  # none runs here


def test_options_after_the_command_do_the_same(secure: LiveTls, laptop: Shell) -> None:
    result = laptop("agents", "list", "--json", "--ca-file=ca.pem", f"--url={secure.url}", "--token-file", "token")

    assert [agent["id"] for agent in result.json["agents"]] == ["main"]


def test_a_variable_does_not_hide_the_config_of_this_machine(laptop: Shell, secure: LiveTls) -> None:
    assert laptop("config", "path", env={"MOONGATE_URL": secure.url}).code == 0
    assert laptop("--url", secure.url, "config", "path").code == 2


@pytest.mark.parametrize("name", ["OPENCLAW_TOKEN", "XITTO_SERVER_TOKEN"])
def test_a_token_of_this_machines_settings_is_not_sent_elsewhere(laptop: Shell, secure: LiveTls, name: str) -> None:
    refused = laptop("--url", secure.url, "--ca-file", "ca.pem", "tasks", "list", env={name: secure.token})

    assert refused.code == 1
    assert "token" in refused.err


def test_a_stored_gateway_without_a_token_gets_none_from_the_environment(tmp_path: Path) -> None:
    file = tmp_path / "own-token"
    file.write_text("own")
    env = {"HOME": str(tmp_path), "MOONGATE_HOME": str(tmp_path / "home"), "MOONGATE_TOKEN": "own"}
    env |= {"MOONGATE_TOKEN_FILE": str(file)}
    RemoteFiles(tmp_path / "home").store_remote("lab", Remote("https://lab.example"), None, is_default=True)

    stored, named = find_target(Elsewhere(), env, None), find_target(_elsewhere("https://lab.example"), env, None)

    assert stored is not None
    assert named is not None
    assert (stored.token, named.token) == (None, FoundToken("own", "MOONGATE_TOKEN"))


def test_an_option_names_the_token_for_a_stored_gateway(tmp_path: Path) -> None:
    file = tmp_path / "given-token"
    file.write_text("given")
    RemoteFiles(tmp_path / "home").store_remote("lab", Remote("https://lab.example"), "stored", is_default=True)
    asked = Elsewhere()
    asked.token_file = str(file)

    found = find_target(asked, asked.merge_token({"MOONGATE_HOME": str(tmp_path / "home")}), None)

    assert found is not None
    assert found.token == FoundToken("given", f"the file {file}")


def _store_default(home: Path, monkeypatch: pytest.MonkeyPatch, url: str = "https://lab.invalid") -> None:
    """Let commands of this process go to a stored gateway if they name none."""
    for name in ("MOONGATE_URL", "MOONGATE_REMOTE", "MOONGATE_CONFIG", "MOONGATE_DEPTH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MOONGATE_HOME", str(home))
    RemoteFiles(home).store_remote("lab", Remote(url), None, is_default=True)


def test_a_command_about_this_machine_says_that_it_leaves_the_default_remote_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _store_default(tmp_path / "home", monkeypatch)

    main(["stop"])
    assert "gateway stop is about this machine; lab, where commands go, is left alone.\n" in capsys.readouterr().err
    for words in (["--remote", "local", "stop"], ["remote", "list"], ["config", "path"], ["stop", "--json"]):
        main(words)
        assert "left alone" not in capsys.readouterr().err


def test_what_a_stored_gateway_lacks_is_said_with_the_command_that_stores_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = make_target(Remote("https://lab.example", str(tmp_path / "ca.pem")), None, source="remote lab", name="lab")

    said = str(RemoteLink(target, {}).explain_unauthorized())
    assert "gateway remote add lab … --replace" in said
    assert "MOONGATE_TOKEN" not in said
    with pytest.raises(ConfigError, match="remote lab: cannot use"):
        make_context(target)


def test_a_command_in_a_text_names_another_gateway_only_where_it_may_go_there() -> None:
    invocation = Invocation()
    invocation.elsewhere.remote = "lab"
    with click.Context(COMMAND, obj=invocation):
        text = "gateway tasks list; gateway stop; gateway remote list; on its machine: gateway tokens list"
        completed = complete_commands(text, {"HOME": "/home/ann"})

    assert completed == text.replace("gateway tasks", "gateway --remote lab tasks")


@pytest.mark.parametrize(
    ("words", "variable", "completed"),
    [
        (["config", "set"], None, "gateway --remote local restart; gateway stop"),
        (["config", "set"], "MOONGATE_URL", "gateway --remote local restart; gateway stop"),
        (["config", "set"], "MOONGATE_REMOTE", "gateway --remote local restart; gateway stop"),
        (["start"], None, "gateway --remote local restart; gateway stop"),
        (["tasks", "list"], None, "gateway restart; gateway stop"),
        (["remote", "use"], None, "gateway restart; gateway stop"),
    ],
)
def test_a_command_about_this_machine_prints_commands_that_reach_it(
    words: list[str], variable: str | None, completed: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    _store_default(tmp_path, monkeypatch, "https://lab.invalid")
    if variable:
        (tmp_path / "remotes.json").unlink()
        monkeypatch.setenv(variable, "https://lab.invalid" if variable == "MOONGATE_URL" else "lab")
    context = click.Context(COMMAND, obj=Invocation())
    for word in words:
        context = click.Context(click.Command(word), parent=context, info_name=word)
    with context:
        spelled = complete_commands("gateway restart; gateway stop")
        assert complete_commands(spelled) == spelled
        (tmp_path / "remotes.json").unlink(missing_ok=True)
        monkeypatch.delenv(variable or "MOONGATE_URL", raising=False)
        plain = complete_commands("gateway restart; gateway stop")

    home = f"MOONGATE_HOME={tmp_path} "
    assert spelled == completed.replace("gateway", f"{home}gateway")
    assert "--remote" not in plain


def test_a_config_file_means_this_machine_in_what_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _store_default(tmp_path, monkeypatch)
    invocation = Invocation()
    with click.Context(click.Command("status"), parent=click.Context(COMMAND, obj=invocation), info_name="status"):
        invocation.config = str(tmp_path / "config.json")
        assert complete_commands("gateway restart").endswith("gateway --remote local restart")
        invocation.config = str(tmp_path / "other.json")
        assert complete_commands("gateway restart").endswith(f"gateway --config {tmp_path / 'other.json'} restart")


def test_what_a_doctor_elsewhere_advises_is_for_its_own_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    _store_default(tmp_path / "home", monkeypatch)
    told = [Finding("service", Level.WARNING, "it does not run", "it was stopped", "gateway stop, then: gateway start")]
    monkeypatch.setattr("cli.commands.doctor.ask_findings", lambda: told)

    assert main(["--remote", "lab", "doctor"]) == 0

    said = capsys.readouterr()
    assert "fix: gateway stop, then: gateway start\n" in said.out
    assert said.err == "What fixes it is for the machine of that gateway.\n"


def test_plain_http_to_a_port_that_speaks_https_is_guessed(laptop: Shell, secure: LiveTls) -> None:
    refused = laptop("--url", secure.url.replace("https://", "http://"), "--token-file", "token", "status")

    assert refused.code == 75
    assert "If it speaks HTTPS there, write https:// in the address." in refused.err


def _elsewhere(url: str) -> Elsewhere:
    made = Elsewhere()
    made.url = url
    return made


def test_the_gateways_own_commands_and_those_of_its_service_mean_this_machine(laptop: Shell, secure: LiveTls) -> None:
    added = ("remote", "add", "home", secure.url, "--token-file", "token", "--ca-file", "ca.pem", "--use")
    assert laptop(*added).code == 0

    assert laptop("restart", env=mean_this_machine({})).code == 3
    assert laptop("restart", env={"MOONGATE_SERVICE_MARKER": "systemd"}).code == 3
    assert "MOONGATE_URL" not in mean_this_machine({"MOONGATE_URL": secure.url})
    assert spell_own_command("doctor")[1] == "-P"


def test_the_token_of_this_machine_stays_here(secure: LiveTls, laptop: Shell) -> None:
    home = Path(laptop.env["HOME"]) / ".moongate"
    home.mkdir(mode=0o700)
    (home / "token").write_text(secure.token)
    (home / "token").chmod(0o600)

    refused = laptop("--url", secure.url, "--ca-file", "ca.pem", "agents", "list")

    assert refused.code == 1
    assert "needs a token, and none was given" in refused.err


def test_a_gateway_is_stored_under_a_name_and_becomes_the_default(secure: LiveTls, laptop: Shell) -> None:
    added = laptop(
        "remote", "add", "home", secure.url, "--token-file", "token", "--ca-file", "ca.pem", "--use", "--json"
    ).json
    home = Path(laptop.env["HOME"]) / ".moongate"
    modes = [stat.S_IMODE(file.stat().st_mode) for file in (home, home / "remotes.json", home / "remote-tokens/home")]

    assert {name: added[name] for name in ("name", "default", "scope")} == {
        "name": "home",
        "default": True,
        "scope": "admin",
    }
    assert modes == [0o700, 0o600, 0o600]
    assert laptop("agent", "Hello").out == "echo: Hello\n"
    told = laptop("status", "--json").json
    assert told["remote"]["name"] == "home"
    assert set(told) == set(laptop("--remote", "local", "status", "--json").json)
    assert laptop("status", env={"MOONGATE_DEPTH": "1"}).code == 3  # an agent means the gateway that runs it
    assert "home" in laptop("remote", "list").out

    assert laptop("remote", "use", "local").code == 0
    assert laptop("status").code == 3
    assert laptop("--remote", "home", "agent", "Hello").out == "echo: Hello\n"

    assert laptop("remote", "remove", "home").code == 0
    assert not (home / "remote-tokens/home").exists()
    assert "there is no remote 'home'" in laptop("--remote", "home", "status").err


def test_a_gateway_that_refuses_the_token_is_not_stored(secure: LiveTls, laptop: Shell) -> None:
    (laptop.cwd / "token").write_text("wrong")

    refused = laptop("remote", "add", "home", secure.url, "--token-file", "token", "--ca-file", "ca.pem")

    assert refused.code == 1
    assert "refuses the token from the file" in refused.err
    assert laptop("remote", "list", "--json").json["remotes"] == []


@pytest.mark.parametrize("name", ["local", "../x", "", "a b", "-x"])
def test_what_is_no_name_is_refused(laptop: Shell, name: str) -> None:
    assert laptop("remote", "add", "--no-check", "--", name, "https://gate.example").code in (1, 2)
    assert not (Path(laptop.env["HOME"]) / ".moongate" / "remotes.json").exists()


@pytest.mark.parametrize(
    "url",
    [
        "gate.example",
        "ftp://gate.example",
        "https://",
        "https://u:secret@gate.example",
        "https://gate.example/?a=b",
        "https://gate..example",
        f"https://{'a' * 64}.example",
        "https://gate.example:0",
        "https://gate.example/préfix",
    ],
)
def test_what_is_no_address_is_refused_without_its_password(url: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--url", url, "status"]) == 78

    told = capsys.readouterr().err
    assert "is not the address of a gateway" in told
    assert "secret" not in told


def test_a_token_goes_over_plain_http_only_if_that_is_allowed(laptop: Shell) -> None:
    refused = laptop("--url", "http://gate.invalid:18790", "--token-file", "token", "status")
    allowed = laptop("--url", "http://gate.invalid:18790", "--token-file", "token", "--allow-plain-http", "status")

    assert refused.code == 78
    assert "everybody on the way to gate.invalid can read the token" in refused.err
    assert allowed.code == 3
    assert "there is no host gate.invalid" in allowed.err


@contextlib.contextmanager
def present(pair: Pair) -> Iterator[int]:
    """Answer handshakes with a certificate while the block runs; return the port."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(pair.certificate, pair.key)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.BaseHTTPRequestHandler) as server:
        server.socket = context.wrap_socket(server.socket, server_side=True)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server.server_port
        server.shutdown()


@pytest.mark.parametrize(
    ("names", "start", "end", "said"),
    [
        ("DNS:localhost", "", "20210101000000Z", "has expired. Renew it there"),
        ("DNS:localhost", "20980101000000Z", "20990101000000Z", "is not valid yet. Check the clocks"),
        ("DNS:other.example", "", "20990101000000Z", "is for another name. Use a name in the address"),
    ],
)
def test_a_wrong_certificate_is_explained_in_one_line(
    authority: Authority, secure: LiveTls, laptop: Shell, names: str, start: str, end: str, said: str
) -> None:
    pair = authority.sign("wrong", names, start=start, end=end)
    with present(pair) as port:
        refused = reach(laptop, f"https://localhost:{port}", "agents", "list")

    assert refused.code == 1
    assert f"the certificate of localhost:{port} {said}" in refused.err
    assert refused.err.count("\n") == 1


def test_an_authority_that_is_not_trusted_is_explained_with_the_option(secure: LiveTls, laptop: Shell) -> None:
    refused = laptop("--url", secure.url, "--token-file", "token", "agents", "list")

    assert refused.code == 1
    assert "is not from an authority that this machine trusts" in refused.err
    assert "--ca-file FILE" in refused.err


def test_a_redirect_is_not_followed_and_its_target_is_named(laptop: Shell) -> None:
    asked: list[str] = []

    class Redirect(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(301)
            self.send_header("Location", f"http://localhost:{self.server.server_port}/elsewhere")  # type: ignore[attr-defined]
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None: ...

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Redirect) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        refused = laptop("--url", f"http://localhost:{server.server_port}", "--token-file", "token", "agents", "list")
        server.shutdown()

    assert refused.code == 1
    assert f"If that is the gateway, name it: --url http://localhost:{server.server_port}" in refused.err
    assert asked == ["/api/agents"]
