"""A config file that is exchanged, or broken, under a running gateway."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from drills import Figures, client
from harness.command_line import Shell
from harness.live_gateway import Live
from harness.traffic import Traffic

#: what makes a config unusable, by what is wrong
_BREAKS: dict[str, Callable[[Path], object]] = {
    "not JSON": lambda file: file.write_bytes(b'{"gateway": '),
    "not UTF-8": lambda file: file.write_bytes(b'{"gateway": {}, "note": "\xe9"}'),
    "an unknown setting": lambda file: file.write_bytes(b'{"auth": {}}'),
    "a name twice": lambda file: file.write_bytes(b'{"gateway": {}, "gateway": {}}'),
    "a link to nothing": lambda file: file.symlink_to("nowhere.json"),
    "a pipe": os.mkfifo,
    "a directory": Path.mkdir,
}


def exchanged(directory: Path, rounds: int = 1, clients: int = 8) -> Figures:
    """Exchange the target of the config's link, and restart, under clients that never retry.

    After each exchange for a config that cannot be used, the restart is refused, with the file's name, and the gateway
    serves as before.
    """
    live = Live(directory / "home", {"agents": {"list": [{"id": "main", "backend": "echo", "max_concurrent": 64}]}})
    good = json.loads(live.config.read_text())
    live.config.unlink()
    live.config = live.home / "current" / "config.json"
    live.env["MOONGATE_CONFIG"] = str(live.config)
    shell = Shell(live.env, live.home)
    number = 0

    def exchange(write: Callable[[Path], object]) -> None:
        nonlocal number
        number += 1
        folder = live.home / f"v{number}"
        folder.mkdir()
        write(folder / "config.json")
        (live.home / "next").symlink_to(folder.name)
        (live.home / "next").replace(live.home / "current")

    def exchange_for_good(wait_seconds: float) -> None:
        changed = {**good, "limits": {"wait_seconds": wait_seconds}}
        exchange(lambda file: file.write_text(json.dumps(changed)))

    exchange_for_good(100.0)
    live.start()
    refused = 0
    try:
        first = live.health["generation"]
        with Traffic(live.port, keeping=clients // 2, coming=clients // 2) as traffic:
            for turn in range(rounds):
                for what, write in _BREAKS.items():
                    exchange(write)
                    answer = shell("restart")
                    assert answer.code == 1, (what, answer)
                    assert "config.json" in answer.err, (what, answer)
                    assert shell("status", "--json").json["running"], what
                    refused += 1
                exchange_for_good(200.0 + turn)
                assert shell("restart").code == 0
                assert client.accepted(live, "Hello")
        assert traffic.failures == [], traffic.failures[:3]
        assert live.health["generation"] == first + rounds
        assert shell("stop").code == 0
        assert shell("status").code == 3
    finally:
        live.close()
    return {"restarts": rounds, "refused": refused, "requests": len(traffic.times), "failed": 0}
