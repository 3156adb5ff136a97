"""Releases of Moongate made from this tree: wheels with other versions and with faults, an index, and environments.

One wheel is built with setuptools; the others are made from it by changing some of its files. An environment gets the
packages that Moongate needs from the environment of the tests, as links.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import http.server
import importlib.util
import os
import re
import shutil
import subprocess
import sys
import threading
import venv
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

from harness.command_line import Result
from harness.live_gateway import Live
from harness.waiting import PATIENCE

ROOT = Path(__file__).parent.parent

#: what is added to files of a release that has a fault; `{next}` in a name is the number of the next migration
FAULTS: Mapping[str, Mapping[str, str]] = {
    "none": {},
    "no import": {"cli/main.py": "raise RuntimeError('this release is broken')\n"},
    "does not serve": {"gateway/serve.py": "\n\ndef main(argv=None):\n    raise SystemExit('it cannot serve')\n"},
    "fails late": {"gateway/serve.py": "\n\nasync def describe_default_agent(context):\n    os._exit(3)\n"},
    "dies migrated": {"gateway/serve.py": "\n\nasync def serve_requests(settings, *rest):\n"
                      "    from gateway.domain.times import wall_clock\n"
                      "    from gateway.store.sqlite import opening\n"
                      "    opening.open_writer(settings.database_path, wall_clock).close()\n    os._exit(4)\n"},
    "hangs": {"gateway/serve.py": "\n\ndef main(argv=None):\n    time.sleep(600)\n"},
    "crashes": {"gateway/serve.py": "\n\n_ready = SupervisedLifecycle.wait_to_lead\n\nasync def _die(self):\n"
                "    await _ready(self)\n    import threading\n    threading.Timer(0.5, os._exit, (7,)).start()\n\n"
                "SupervisedLifecycle.wait_to_lead = _die\n"},
    "no supervisor": {"gateway/supervisor/reexec.py": "\n\ndef find_kept(given):\n    os._exit(9)\n"},
    "migrates": {"gateway/store/sqlite/migrations/{next}_more.sql": "CREATE TABLE more (n INTEGER) STRICT;\n"},
    "bad migration": {"gateway/store/sqlite/migrations/{next}_more.sql": "CREATE TABLE runs (n INTEGER);\n"},
}  # fmt: skip


def build_wheel(directory: Path) -> Path:
    """Build the wheel of this tree."""
    source = directory / "source"
    for name in ("gateway", "cli", "service_templates"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for file in ROOT.iterdir():
        if file.is_file():
            shutil.copy(file, source)
    words = [
        sys.executable,
        "-c",
        "from setuptools import build_meta as b; import sys; print(b.build_wheel(sys.argv[1]))",
    ]
    done = subprocess.run(
        [*words, str(directory)], cwd=source, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    return directory / done.stdout.split()[-1]


def make_release(wheel: Path, index: Path, version: str, *faults: str) -> Path:
    """Make a release of another version from a wheel, with faults of `FAULTS`."""
    with zipfile.ZipFile(wheel) as packed:
        files = {name: packed.read(name) for name in packed.namelist() if not name.endswith("/RECORD")}
    old = wheel.name.split("-")[1]
    files = {
        name.replace(f"moongate-{old}.dist-info", f"moongate-{version}.dist-info"): data for name, data in files.items()
    }
    for name, pattern in (
        ("gateway/__init__.py", rb'__version__ = "[^"]*"'),
        (f"moongate-{version}.dist-info/METADATA", rb"\nVersion: [^\n]*"),
    ):
        new = pattern.split(b"[")[0] + version.encode() + (b'"' if b'"' in pattern else b"")
        files[name], count = re.subn(pattern, new.replace(rb"\n", b"\n"), files[name], count=1)
        assert count == 1, name
    newest = max(
        int(found[1]) for name in files if (found := re.match(r"gateway/store/sqlite/migrations/(\d{4})_", name))
    )
    for fault in faults:
        for name, text in FAULTS[fault].items():
            target = name.replace("{next}", f"{newest + 1:04}")
            main = b"\n\nif __name__ =="
            data = files.get(target, b"")
            at = data.rindex(main) if main in data else len(data)
            files[target] = data[:at] + text.encode() + data[at:]
    made = index / f"moongate-{version}-py3-none-any.whl"
    _write_wheel(made, files, version)
    return made


def _write_wheel(path: Path, files: Mapping[str, bytes], version: str) -> None:
    record = f"moongate-{version}.dist-info/RECORD"
    lines = [f"{name},sha256={_digest(data)},{len(data)}" for name, data in files.items()]
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as packed:
        for name, data in files.items():
            packed.writestr(name, data)
        packed.writestr(record, "\n".join([*lines, f"{record},,"]) + "\n")


def _digest(data: bytes) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()


def make_environment(directory: Path, wheel: Path) -> Path:
    """Make a virtual environment with pip, a release, and what it needs."""
    venv.create(directory, symlinks=True)
    target = next(directory.glob("lib/python3*")) / "site-packages"
    for name in sorted(_list_needed("moongate") | {"pip"}):
        _link_package(metadata.distribution(name), target)
    words = [directory / "bin/python", "-m", "pip", "install", "--no-index", "--no-deps", "--quiet", wheel]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    return directory


@functools.cache
def _list_needed(name: str) -> frozenset[str]:
    """Return the names of the packages that a package needs, without those of its extras."""
    found: set[str] = set()
    for requirement in metadata.requires(name) or []:
        if "extra ==" in requirement:
            continue
        needed = re.match(r"[\w.-]+", requirement)
        assert needed is not None
        with contextlib.suppress(metadata.PackageNotFoundError):  # another platform's
            metadata.distribution(needed[0])
            found |= {needed[0].lower(), *_list_needed(needed[0])}
    return frozenset(found)


def _link_package(package: metadata.Distribution, target: Path) -> None:
    """Link the files of a package, and what is compiled of them: compiling takes longer than all that a test does."""
    for file in package.files or []:
        if file.parts[0] == ".." or file.suffix == ".pyc":
            continue
        source = os.path.realpath(str(package.locate_file(file)))
        _link_file(source, target / file)
        if file.suffix == ".py" and os.path.exists(compiled := importlib.util.cache_from_source(source)):
            _link_file(compiled, Path(importlib.util.cache_from_source(str(target / file))))


def _link_file(source: str, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    if not target.exists():
        _link_or_copy(source, str(target))


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


class _SilentHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *words: object) -> None: ...


@contextlib.contextmanager
def serve_index(files: Path) -> Iterator[Mapping[str, str]]:
    """Serve wheels as a package index. Yields the variables with which it is used, and nothing else."""
    (files / "simple").mkdir(exist_ok=True)
    with contextlib.suppress(FileExistsError):
        (files / "simple" / "moongate").symlink_to(files, target_is_directory=True)
    handler = functools.partial(_SilentHandler, directory=str(files))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            address = f"http://127.0.0.1:{server.server_port}/simple"
            yield {
                "MOONGATE_UPDATES_INDEX": address,
                "PIP_INDEX_URL": address,
                "PIP_CONFIG_FILE": os.devnull,
                "PIP_NO_CACHE_DIR": "1",
            }
        finally:
            server.shutdown()
            thread.join()


class Lab:
    """Releases in an index, and an environment with the first of them, to be copied."""

    def __init__(self, directory: Path, *, first: str = "0.2.0") -> None:
        """Build the wheel of this tree, and an environment that has it as the version `first`."""
        self.directory, self.index = directory, directory / "index"
        self.index.mkdir()
        self.wheel = build_wheel(directory)
        self.first = first
        self._template = make_environment(directory / "template", self.add_release(first))

    def add_release(self, version: str, *faults: str) -> Path:
        """Add a release to the index; it may be there already."""
        present = self.index / f"moongate-{version}-py3-none-any.whl"
        return present if present.exists() else make_release(self.wheel, self.index, version, *faults)

    def copy_environment(self, target: Path) -> Path:
        """Make an environment with the first release."""
        shutil.copytree(self._template, target, symlinks=True, copy_function=_link_or_copy)
        for file in (*(target / "bin").iterdir(), target / "pyvenv.cfg"):
            if not file.is_symlink():
                text = file.read_text().replace(str(self._template), str(target))
                mode = file.stat().st_mode
                file.unlink()
                file.write_text(text)
                file.chmod(mode)
        return target


class Installed(Live):
    """A gateway that runs from an environment of its own, and that `gateway update` can change."""

    def __init__(
        self, lab: Lab, directory: Path, env: Mapping[str, str], config: Mapping[str, Any] | None = None
    ) -> None:
        """Args:
        env: the variables of `serve_index`.
        """
        super().__init__(directory / "home", config, {"PYTHONWARNINGS": "default", **env})
        self.environment = lab.copy_environment(directory / "venv")

    def run(self, *words: str, env: Mapping[str, str] | None = None) -> Result:
        """Run a command of the installed version."""
        return self.shell(self.command(*words), env)

    def command(self, *words: str) -> list[str]:
        return [str(self.environment / "bin/gateway"), *words]

    def shell(self, words: Sequence[str], env: Mapping[str, str] | None = None) -> Result:
        done = subprocess.run(
            words,
            env={**self.env, **(env or {})},
            cwd=self.home,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=10 * PATIENCE,
            check=False,
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def accept(self, prompt: str, **more: Any) -> str:
        """Let the gateway accept a task, and return its id."""
        answer = self.call("POST", "/api/tasks", {"input": prompt, **more})
        assert answer.status == 202, answer
        return str(answer.body["task"]["id"])

    @property
    def version(self) -> str | None:
        """The version that serves."""
        found = self.record
        if found is None or not found.is_alive:
            return None
        return str(self.call("GET", "/health").body["version"])
