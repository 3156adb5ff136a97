"""How Moongate was installed, from where its files are."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.update.installation import UPDATABLE, Kind, find_installation
from cli.update.kept_environment import kept_copy
from gateway.process.own_environment import COPY_SUFFIX, place_near

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


def test_the_commands_name_the_place_that_has_moongate() -> None:
    found = find_installation(BASE, BASE, BASE / "lib", {})
    said = found.explain_update("1.2.3", ["--index-url", "https://x/simple"])
    assert "--index-url https://x/simple 'moongate==1.2.3'" in said
    assert "YOUR-INDEX" in found.explain_update("1.2.3")


def test_the_directory_is_exchanged_and_not_the_link_to_it(tmp_path: Path) -> None:
    real, link = tmp_path / "real/venv", tmp_path / "venv"
    real.mkdir(parents=True)
    link.symlink_to(real)
    found = find_installation(link, BASE, link / "lib/python3.11/site-packages", {})
    assert (found.kind, found.environment, found.candidate) == (Kind.VENV, real, tmp_path / "real/venv.update")
    assert place_near(link, COPY_SUFFIX) == kept_copy(found)
