"""From where newer versions come: only from a place that is named, or that Moongate came from."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from cli.update import environment, origin, tools
from cli.update.installation import Installation, Kind
from cli.update.origin import Origin
from cli.update.tools import Done, Installer
from gateway.errors import ConfigError, GatewayError

OURS = "https://packages.example/simple"
UV = """
[tool]
requirements = [{{ name = "other", index = "https://evil.example" }}, {{ name = "moongate"{more} }}]
{end}
"""


@pytest.fixture
def site(tmp_path: Path) -> Installation:
    made = Installation(Kind.VENV, tmp_path / "venv", tmp_path / "venv/lib")
    made.environment.mkdir()
    return made


@pytest.fixture
def env(tmp_path: Path) -> dict[str, str]:
    return {"HOME": str(tmp_path), "MOONGATE_HOME": str(tmp_path / "home")}


def test_the_index_of_pip_is_not_asked_for_moongate(site: Installation, env: dict[str, str]) -> None:
    with pytest.raises(ConfigError, match="not known which package index") as caught:
        origin.find_origin(site, {**env, "PIP_INDEX_URL": OURS})
    assert "gateway config set updates.index" in (caught.value.remedy or "")


def test_the_setting_comes_first_and_is_not_remembered(site: Installation, env: dict[str, str]) -> None:
    found = origin.find_origin(site, {**env, "MOONGATE_UPDATES_INDEX": OURS})
    assert found == Origin(OURS, True, "updates.index")
    with pytest.raises(ConfigError):
        origin.find_origin(site, env)


@pytest.mark.parametrize("prefix", ["", "file://"])
def test_a_directory_can_be_named(site: Installation, env: dict[str, str], tmp_path: Path, prefix: str) -> None:
    found = origin.find_origin(site, {**env, "MOONGATE_UPDATES_INDEX": f"{prefix}{tmp_path}"})
    assert found.list_words(is_uv=False) == ["--no-index", "--find-links", str(tmp_path)]
    with pytest.raises(ConfigError, match="which is no directory"):
        origin.find_origin(site, {**env, "MOONGATE_UPDATES_INDEX": f"{prefix}{tmp_path}/gone"})


@pytest.mark.parametrize("value", ["ftp://x/simple", "https://", "https://a:b@c/simple", "--evil", "https://x /y", "x"])
def test_what_is_no_index_is_refused(site: Installation, env: dict[str, str], value: str) -> None:
    with pytest.raises(ConfigError):
        origin.find_origin(site, {**env, "MOONGATE_UPDATES_INDEX": value})


@pytest.mark.parametrize(
    ("reader", "text", "places"),
    [
        (origin.read_pipx_record, {"main_package": {"pip_args": ["--index-url", OURS]}}, [OURS]),
        (origin.read_pipx_record, {"main_package": {"pip_args": ["-q", f"--index-url={OURS}"]}}, [OURS]),
        (origin.read_pipx_record, {"main_package": {"pip_args": ["--extra-index-url", OURS]}}, []),
        (origin.read_pipx_record, {"main_package": {"pip_args": None, "package_or_url": "moongate"}}, []),
        (origin.read_pipx_record, {"main_package": {"package_or_url": "@/moongate-0.2.0-py3-none-any.whl"}}, ["@"]),
        (origin.read_uv_record, UV.format(more=f', index = "{OURS}"', end=""), [OURS]),
        (origin.read_uv_record, UV.format(more=', path = "@/moongate-0.2.0-py3-none-any.whl"', end=""), ["@"]),
        (origin.read_uv_record, UV.format(more=', directory = "@"', end=""), []),
        (
            origin.read_uv_record,
            UV.format(more="", end=f'[tool.options]\nindex = [{{ url = "{OURS}", default = true }}]'),
            [OURS],
        ),
        (origin.read_direct_url, {"url": "file://@/moongate-0.2.0-py3-none-any.whl", "archive_info": {}}, ["@"]),
        (origin.read_direct_url, {"url": "file://@/gone/moongate-0.2.0-py3-none-any.whl", "archive_info": {}}, []),
        (origin.read_direct_url, {"url": "file://@", "dir_info": {}}, []),
        (origin.read_direct_url, {"url": "https://h/a/moongate-0.2.0.tar.gz?x", "archive_info": {}}, ["https://h/a/"]),
        (origin.read_direct_url, {"url": "https://h/a/other-0.2.0.whl", "archive_info": {}}, []),
        (origin.read_direct_url, "[" * 5000, []),
        (origin.read_uv_record, "tool = 1", []),
    ],
)
def test_where_it_was_installed_from_is_read(
    tmp_path: Path, reader: Callable[[str], Iterator[Origin]], text: object, places: list[str]
) -> None:
    written = (text if isinstance(text, str) else json.dumps(text)).replace("@", str(tmp_path))
    assert [found.place for found in reader(written)] == [place.replace("@", str(tmp_path)) for place in places]


def test_pip_asks_one_place_only_and_reaches_it_as_configured(tmp_path: Path) -> None:
    (tmp_path / "pip.conf").write_text(
        "[global]\nindex-url = https://evil.example/simple\nextra-index-url = https://evil.example\ncert = /ca.pem\n"
    )
    env = {
        **{name: value for name, value in os.environ.items() if not name.startswith("PIP_")},
        "PIP_CONFIG_FILE": str(tmp_path / "pip.conf"),
        "PIP_EXTRA_INDEX_URL": "https://evil.example",
        "PIP_FIND_LINKS": "https://evil.example",
        "PIP_PROXY": "http://proxy:1",
    }
    found = Installer((sys.executable, "-m", "pip"), (), env, is_uv=False).use_origin_only()
    assert {name: value for name, value in found.env.items() if name.startswith("PIP_")} == {
        "PIP_CONFIG_FILE": os.devnull,
        "PIP_PROXY": "http://proxy:1",
        "PIP_CERT": "/ca.pem",
    }


def test_uv_asks_one_place_only() -> None:
    env = {"UV_INDEX": "x", "UV_EXTRA_INDEX_URL": "x", "UV_DEFAULT_INDEX": "x", "UV_CACHE_DIR": "kept"}
    assert Installer(("uv", "pip"), (), env, is_uv=True).use_origin_only().env == {"UV_CACHE_DIR": "kept"}
    assert Origin(OURS, True, "x").list_words(is_uv=True) == ["--default-index", OURS]


def test_variables_that_would_install_elsewhere_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/python").symlink_to(sys.executable)
    found = tools.find_installer(tmp_path, {**os.environ, "PIP_TARGET": "/elsewhere"}, tmp_path / "tools")
    assert "PIP_TARGET" not in found.env


class _Replacing(Installer):
    """An installer that puts another package in the place of ours when it installs what ours needs."""

    def install(self, *arguments: str, cwd: Path | None = None) -> Done:
        place = Path(self.words[0]) / "lib/python3.11/site-packages/moongate-0.3.0.dist-info"
        place.mkdir(parents=True, exist_ok=True)
        (place / "RECORD").write_text("ours" if "--no-deps" in arguments else "theirs")
        return Done(0, "", "")

    def use_origin_only(self) -> Installer:
        return self

    def check(self) -> Done:
        return Done(1, "moongate 0.3.0 requires other, which is not installed.", "")


def test_another_package_in_the_place_of_ours_is_noticed(site: Installation) -> None:
    installer = _Replacing((str(site.candidate),), (), {}, is_uv=False)
    with pytest.raises(GatewayError, match="by another package"):
        environment.install_version(site, "0.3.0", installer, Origin(OURS, True, "updates.index"))
