"""The Containerfile and the compose example, as far as they can be tried without images: docs/operations/install.md."""

from __future__ import annotations

import json
import shlex
import shutil
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway import config
from tests.support.containerfile import Container, Stage, read_stages

ROOT = Path(__file__).parent.parent.parent
COMPOSE = ROOT / "packages/compose.yaml"
STAGES = read_stages((ROOT / "packages/Containerfile").read_text())
IMAGE = STAGES[-1]
#: command of the health check
HEALTH = json.loads(IMAGE.said["HEALTHCHECK"].partition("CMD ")[2])


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What a build sees of this tree."""
    place = tmp_path_factory.mktemp("context")
    rules = (ROOT / ".dockerignore").read_text().splitlines()
    kept = [rule[1:] for rule in rules if rule.startswith("!")]
    done = subprocess.run(["git", "ls-files", *kept], cwd=ROOT, capture_output=True, text=True, check=True)
    for name in done.stdout.splitlines():
        (place / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, place / name)
    return place


@pytest.fixture
def container(context: Path) -> Iterator[Container]:
    made = Container(context)
    try:
        made.build(STAGES)
        yield made
    finally:
        made.close()


@pytest.mark.slow
def test_an_image_answers_as_any_user_on_a_root_that_nobody_can_write(container: Container) -> None:
    without_home = {name: value for name, value in IMAGE.env.items() if name != "HOME"}
    for user, env in (("54321:0", {**IMAGE.env, "HOME": "/"}), ("54321:0", without_home)):
        use_container(container, user, env)
        container.empty_volume()

    use_container(container, IMAGE.said["USER"], IMAGE.env)
    tasks = use_container(container, IMAGE.said["USER"], IMAGE.env)
    assert tasks.count("echo: Hello") == 2, "the volume keeps what was done before"


def use_container(container: Container, user: str, env: Mapping[str, str]) -> str:
    """Start it, have a message answered, and stop it as `podman stop` does; return the list of its tasks."""
    container.start(IMAGE, user, env)
    container.wait_healthy(HEALTH)
    assert "echo: Hello" in container.run("gateway", "agent", "Hello").out
    assert "Read-only file system" in container.run("touch", "/opt/moongate/x").err
    tasks = container.run("gateway", "tasks", "list", "--json").out
    code, printed = container.stop(signal.SIGTERM)
    assert (code, "Traceback" in printed) == (0, False), printed
    return tasks


def test_the_image_runs_the_gateway_as_an_unprivileged_user_with_settings_that_exist() -> None:
    assert IMAGE.said["USER"].partition(":")[0].isdigit()
    assert IMAGE.said["USER"].partition(":")[0] != "0"
    assert IMAGE.env["MOONGATE_INSTALLED_BY"] == "container"
    assert IMAGE.env["HOME"] == IMAGE.env["MOONGATE_HOME"] == IMAGE.said["VOLUME"]
    assert IMAGE.said["STOPSIGNAL"] == "SIGTERM"
    settings = {name for setting in config.list_settings() for name in setting.env}
    ours = {name for name in IMAGE.env if name.startswith("MOONGATE_")}
    assert ours - settings == {"MOONGATE_HOME", "MOONGATE_INSTALLED_BY"}


def test_the_compose_example_says_the_same_as_the_image() -> None:
    service: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]["moongate"]

    assert (COMPOSE.parent / service["build"]["context"] / service["build"]["dockerfile"]).exists()
    assert service["user"] == IMAGE.said["USER"]
    assert service["healthcheck"]["test"] == ["CMD", *HEALTH]
    assert service["volumes"] == [f"moongate:{IMAGE.said['VOLUME']}"]
    assert service["ports"] == [f"127.0.0.1:{IMAGE.said['EXPOSE']}:{IMAGE.said['EXPOSE']}"]
    assert service["read_only"]
    assert service["tmpfs"] == ["/tmp:mode=1777"]
    assert service["stop_signal"] == IMAGE.said["STOPSIGNAL"]


def test_a_build_copies_what_the_package_needs_and_no_state(context: Path) -> None:
    assert {file.name for file in context.iterdir()} == set(
        shlex.split(
            ".env.example CHANGELOG.md LICENSE MANIFEST.in README.md cli config.example.json gateway pyproject.toml "
            "requirements.lock service_templates"
        )
    )


def test_stages_are_read_with_their_words() -> None:
    (stage,) = read_stages('FROM x\n# no\nENV A=1 B="2 3"\nRUN one && \\\n  two\nCMD ["run"]\n')

    assert stage == Stage([("RUN", "one &&    two")], {"A": "1", "B": "2 3"}, {"CMD": '["run"]'})
    assert stage.read_words("CMD") == ["run"]
