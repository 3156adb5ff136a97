"""Carries out a Containerfile without images: its steps run in an overlay over this machine's root directory.

What stands for the base image is this machine with Debian's own Python, so it says nothing about the real one.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import psutil
import pytest

from harness.command_line import Result
from harness.waiting import PATIENCE, until_sync

SUPPORT = Path(__file__).parent
#: Python of the machine, in the place of the base image's
PYTHON = Path("/usr/bin/python3")
#: seconds that a step may take: one brings packages from a registry
STEP_SECONDS = 300.0


@dataclass(slots=True)
class Stage:
    """What a Containerfile says between two FROM."""

    #: (instruction, its words) of those that change files
    steps: list[tuple[str, str]] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    #: other instructions by name; the last one of a name counts
    said: dict[str, str] = field(default_factory=dict)

    def read_words(self, name: str) -> list[str]:
        """Return an instruction that is a JSON list of words."""
        return list(map(str, json.loads(self.said[name])))


def read_stages(text: str) -> list[Stage]:
    """Return the stages of a Containerfile; of the format, what ours uses."""
    stages: list[Stage] = []
    for line in re.sub(r"\\\n", " ", text).splitlines():
        name, _, rest = line.strip().partition(" ")
        if not name or name.startswith("#") or name == "ARG":
            continue
        if name == "FROM":
            stages.append(Stage())
        elif name in ("RUN", "COPY"):
            stages[-1].steps.append((name, rest))
        elif name == "ENV":
            stages[-1].env |= dict(word.split("=", 1) for word in shlex.split(rest))
        else:
            stages[-1].said[name] = rest
    return stages


#: makes an overlay over the root directory
_TRIAL = (
    "mount -t tmpfs tmpfs /mnt && mkdir /mnt/u /mnt/w /mnt/r"
    " && mount -t overlay overlay -o lowerdir=/,upperdir=/mnt/u,workdir=/mnt/w /mnt/r"
)


def missing() -> str | None:
    """Return why no container can be made here; None if one can."""
    if sys.platform != "linux" or os.getuid() != 0:
        return "only root on Linux can mount the root of a container"
    if subprocess.run([PYTHON, "-c", "import ensurepip"], capture_output=True, check=False).returncode != 0:
        assert not os.environ.get("MOONGATE_TEST_ALL"), "all tests must run, but python3-venv is not installed"
        return f"{PYTHON} cannot make a virtual environment: install python3-venv"
    tried = subprocess.run(["unshare", "--mount", "sh", "-c", _TRIAL], capture_output=True, text=True, check=False)
    return None if tried.returncode == 0 else f"cannot mount an overlay here: {tried.stderr.strip()}"


class Container:
    """A container, from its image to its end."""

    def __init__(self, context: Path) -> None:
        if (why := missing()) is not None:
            pytest.skip(why)
        self._place = Path(tempfile.mkdtemp(prefix="moongate-container-"))
        self._holder = subprocess.Popen(
            ["bash", str(SUPPORT / "container_root.sh"), str(self._place)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._holder.stdout is not None
        assert self._holder.stdout.readline() == "ready\n", "the root of the container was not mounted"
        self._root = Path(f"/proc/{self._holder.pid}/root") / str(self._place)[1:]
        self._process: subprocess.Popen[str] | None = None
        self._context = context
        (self._root / "image/usr/local/bin/python").unlink(missing_ok=True)
        (self._root / "image/usr/local/bin/python").symlink_to(PYTHON)

    def close(self) -> None:
        """Remove it with all that it has."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
        assert self._holder.stdin is not None
        self._holder.stdin.close()
        self._holder.wait(PATIENCE)
        assert self._holder.stdout is not None
        self._holder.stdout.close()
        self._place.rmdir()

    def build(self, stages: list[Stage]) -> None:
        """Carry out the steps of all stages, in one root: a COPY from an earlier stage finds its files there."""
        for stage in stages:
            directory = "/"
            for name, rest in stage.steps:
                if name == "RUN":
                    self._run_step(rest, directory, stage.env)
                elif not rest.startswith("--from"):
                    directory = stage.said["WORKDIR"]
                    shutil.copytree(self._context, self._root / f"image{directory}", dirs_exist_ok=True)
        directory = stages[-1].said["VOLUME"]
        owner = (self._root / f"image{directory}").stat()
        os.chown(self._root / "volume", owner.st_uid, owner.st_gid)  # a new volume gets them from the image
        os.chmod(self._root / "volume", owner.st_mode & 0o7777)

    def _run_step(self, command: str, directory: str, env: Mapping[str, str]) -> None:
        registry = {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "SSL_", "REQUESTS_"))}
        done = subprocess.run(
            [*self._enter(), "chroot", str(self._place / "image"), "sh", "-c", f"cd {directory} && {command}"],
            env={"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin", "HOME": "/root", **registry, **env},
            capture_output=True,
            text=True,
            timeout=STEP_SECONDS,
            check=False,
        )
        assert done.returncode == 0, f"{command}: {done.stdout}{done.stderr}"

    def _enter(self) -> list[str]:
        return ["nsenter", "--target", str(self._holder.pid), "--mount"]

    def start(self, stage: Stage, user: str, env: Mapping[str, str]) -> None:
        """Start the program of the image as a user, with an environment, and nothing else in it."""
        number, _, group = user.partition(":")
        self._user, self._env = [number, group], dict(env)
        words = [*stage.read_words("ENTRYPOINT"), *stage.read_words("CMD")]
        run = ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child"]
        run += ["bash", str(SUPPORT / "container_run.sh"), str(self._place), number, group, stage.said["VOLUME"]]
        self._process = subprocess.Popen(
            [*self._enter(), *run, *words],
            env=self._env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    @property
    def first(self) -> psutil.Process:
        """The first process of the container."""
        assert self._process is not None
        (child,) = psutil.Process(self._process.pid).children()
        return child

    def run(self, *words: str) -> Result:
        """Run a command in the running container, as its user: as `podman exec` does."""
        inside = ["nsenter", "--target", str(self.first.pid), "--all", "--root", "--wd=/"]
        inside += ["setpriv", "--reuid", self._user[0], "--regid", self._user[1], "--clear-groups"]
        done = subprocess.run(
            [*inside, *words], env=self._env, capture_output=True, text=True, timeout=PATIENCE, check=False
        )
        return Result(done.returncode, done.stdout, done.stderr)

    def stop(self, signal_number: int) -> tuple[int, str]:
        """Send a signal to the first process; return its exit code, and what it printed."""
        assert self._process is not None
        self.first.send_signal(signal_number)
        printed, _ = self._process.communicate(timeout=PATIENCE)
        code, self._process = self._process.returncode, None
        return code, printed

    def wait_healthy(self, command: list[str]) -> None:
        until_sync(lambda: self._ends_well(command), "the container is healthy")

    def _ends_well(self, command: list[str]) -> bool:
        assert self._process is not None
        if self._process.poll() is not None:
            printed, _ = self._process.communicate()
            self._process = None
            raise AssertionError(f"it ended: {printed}")
        try:
            return self.run(*command).code == 0
        except (ValueError, psutil.NoSuchProcess):  # it has not begun
            return False

    def empty_volume(self) -> None:
        """Remove all that the volume has."""
        for found in (self._root / "volume").iterdir():
            if found.is_dir():
                shutil.rmtree(found)
            else:
                found.unlink()
