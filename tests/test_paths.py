"""Where things are on disk."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway import paths
from gateway.errors import ConfigError


@pytest.fixture
def open_mask() -> Iterator[None]:
    before = os.umask(0o022)
    yield
    os.umask(before)


def test_each_config_of_a_state_directory_has_a_log_of_its_own_and_its_last_good_copy_has_the_same(
    tmp_path: Path,
) -> None:
    usual, other = tmp_path / "config.json", tmp_path / "other.json"

    assert paths.log_file(tmp_path, usual) == tmp_path / "logs" / "gateway.log"
    assert paths.log_file(tmp_path, other) != paths.log_file(tmp_path, usual)
    for one in (usual, other):
        assert paths.log_file(tmp_path, paths.last_good_config(one)) == paths.log_file(tmp_path, one)


@pytest.mark.usefixtures("open_mask")
def test_all_directories_that_are_made_are_for_their_owner_only(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)

    made = paths.make_private_directory(tmp_path / "state" / "logs")

    assert [path.stat().st_mode & 0o777 for path in (made, made.parent, tmp_path)] == [0o700, 0o700, 0o755]


@pytest.mark.parametrize("below", ["", "logs", "logs/more"])
def test_something_in_the_place_of_a_directory_is_named(tmp_path: Path, below: str) -> None:
    (tmp_path / "state").write_text("a file")

    with pytest.raises(NotADirectoryError) as caught:
        paths.make_private_directory(tmp_path / "state" / below)

    assert caught.value.strerror == f"{tmp_path}/state is not a directory"


@pytest.mark.parametrize(("home", "said"), [("", "HOME: is empty."), ("a/b", "HOME: 'a/b' is not an absolute path.")])
def test_a_home_that_is_no_absolute_path_is_refused_where_it_would_be_used(
    monkeypatch: pytest.MonkeyPatch, home: str, said: str
) -> None:
    monkeypatch.setenv("HOME", home)

    for look in (
        lambda: paths.state_directory({"HOME": home}),
        lambda: paths.config_file({"HOME": home}),
        lambda: paths.state_directory({"HOME": home, "MOONGATE_HOME": "~/state"}),
        lambda: paths.expand_path("~", "data.directory"),
        lambda: paths.base_directory({"HOME": home}, "XDG_CONFIG_HOME", ".config"),
    ):
        with pytest.raises(ConfigError) as caught:
            look()
        assert caught.value.message == said
        assert caught.value.remedy == "Set HOME to your home directory, or unset it."
    assert paths.state_directory({"HOME": home, "MOONGATE_HOME": "/srv/state"}) == Path("/srv/state")
    assert paths.display_path(Path("/srv/state")) == "/srv/state"


@pytest.mark.parametrize("given", ["", "cache", "./cache", "~/cache"])
def test_a_base_directory_that_is_no_absolute_path_does_not_count(given: str) -> None:
    env = {"HOME": "/home/ann", "XDG_CACHE_HOME": given}

    assert paths.base_directory(env, "XDG_CACHE_HOME", ".cache") == Path("/home/ann/.cache")
    assert paths.base_directory(env | {"XDG_CACHE_HOME": "/c"}, "XDG_CACHE_HOME", ".cache") == Path("/c")


@pytest.mark.parametrize("name", ["MOONGATE_HOME", "MOONGATE_CONFIG"])
def test_a_variable_with_a_blank_path_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name}: a path cannot be blank"):
        paths.config_file({"HOME": "/home/ann", name: "  "})
