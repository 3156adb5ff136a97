"""How Moongate was installed, from where its files are."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.update.environment import kept_copy
from cli.update.installation import UPDATABLE, Kind, find_installation

BASE = Path("/usr")


@pytest.mark.parametrize(
    ("files", "prefix", "source", "env", "kind"),
    [
        (["repo/.git/HEAD"], "repo/.venv", "repo", {}, Kind.CLONE),
        (["repo/README.md"], "repo/.venv", "repo", {}, Kind.SOURCES),
        (["repo/.git/HEAD"], "elsewhere/venv", "repo", {}, Kind.SOURCES),
        ([], "venv", "venv/lib/python3.11/site-packages", {}, Kind.VENV),
        (["m/pipx_metadata.json"], "m", "m/lib/python3.11/site-packages", {}, Kind.PIPX),
        (["m/uv-receipt.toml"], "m", "m/lib/python3.11/site-packages", {}, Kind.UV_TOOL),
        (["opt/installed-by"], "opt", "opt/lib/python3.11/site-packages", {}, Kind.DEB),
        (["opt/installed-by"], "opt/venv", "opt/venv/lib/python3.11/site-packages", {}, Kind.DEB),
        ([], "venv", "venv/lib", {"MOONGATE_INSTALLED_BY": "container"}, Kind.CONTAINER),
    ],
)
def test_the_kind_follows_from_paths_and_files(
    tmp_path: Path, files: list[str], prefix: str, source: str, env: dict[str, str], kind: Kind
) -> None:
    for name in files:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("deb\n")
    found = find_installation(tmp_path / prefix, BASE, tmp_path / source, env)
    assert found.kind is kind


def test_the_python_of_the_system_is_no_environment() -> None:
    assert find_installation(BASE, BASE, BASE / "lib/python3/dist-packages", {}).kind is Kind.SYSTEM


@pytest.mark.parametrize("kind", sorted(set(Kind) - UPDATABLE))
def test_who_cannot_be_updated_is_told_the_commands(kind: Kind) -> None:
    found = find_installation(BASE, BASE, BASE / "lib", {})._replace(kind=kind)
    assert found.explain_update("1.2.3")


@pytest.mark.parametrize(("mark", "place"), [("pipx_metadata.json", "."), ("uv-receipt.toml", "."), ("other", "venvs")])
def test_pipx_and_uv_find_no_environment_next_to_theirs(tmp_path: Path, mark: str, place: str) -> None:
    own = tmp_path / "venvs/moongate"
    own.mkdir(parents=True)
    (own / mark).write_text("")
    found = find_installation(own, BASE, own / "lib", {})
    assert found.candidate == tmp_path / place / "moongate.update"
    assert kept_copy(found) == tmp_path / place / "moongate.before-update"
