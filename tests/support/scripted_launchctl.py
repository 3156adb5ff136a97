"""A `launchctl` that keeps state, and fails on request: `scripted_launchctl.py STATE VERB …`.

`STATE/state.json` holds the state that launchd would have; a test writes there what must happen. With "real", a
service is a process in the environment that launchd gives; without it, a service has only a PID.
"""

from __future__ import annotations

import json
import os
import plistlib
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

#: exit codes of launchctl
IO_ERROR, NO_SUCH_PROCESS, NOT_FOUND = 5, 3, 113
MINIMAL = {"PATH": "/usr/bin:/bin:/usr/sbin:/sbin"}


def start(plist: dict[str, Any], state: dict[str, Any]) -> int:
    if not state["real"]:
        state["next"] += 1
        return int(state["next"])
    with open(plist["StandardOutPath"], "ab") as output:
        process = subprocess.Popen(
            plist["ProgramArguments"],
            env={**MINIMAL, "HOME": os.environ["HOME"], **plist["EnvironmentVariables"]},
            cwd=plist["WorkingDirectory"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    process.returncode = 0
    return process.pid


def end(pid: int, state: dict[str, Any], number: int = signal.SIGTERM) -> None:
    if not state["real"]:
        return
    os.kill(pid, number)
    while _state(pid) not in ("", "Z"):
        time.sleep(0.02)


def _state(pid: int) -> str:
    done = subprocess.run(["ps", "-o", "stat=", "-p", str(pid)], capture_output=True, text=True, check=False)
    return done.stdout.strip()[:1]


def obey(words: list[str], state: dict[str, Any]) -> tuple[int, str]:
    """Return the exit code and the output."""
    return asked(words, state) if words[0].startswith("print") else told(words, state)


def asked(words: list[str], state: dict[str, Any]) -> tuple[int, str]:
    loaded = state["loaded"]
    match words:
        case ["print", target] if target in state["domains"]:
            return 0, f"{target} = {{\n\ttype = user\n}}\n"
        case ["print", target] if target in loaded:
            pid = loaded[target]["pid"]
            shown = f"\tstate = running\n\tpid = {pid}\n" if pid else "\tstate = spawn scheduled\n"
            return 0, f"{target} = {{\n\tactive count = 1\n{shown}\tinner = {{\n\t\tpid = 1\n\t}}\n}}\n"
        case ["print", target]:
            return NOT_FOUND, f'Could not find service "{target}"'
        case ["print-disabled", _]:
            return 0, "\n".join(f'\t\t"{label}" => disabled' for label in state["disabled"])
    return 64, f"Unrecognized subcommand: {words}"


def told(words: list[str], state: dict[str, Any]) -> tuple[int, str]:
    loaded = state["loaded"]
    match words:
        case ["enable" | "disable" as verb, target]:
            label = target.split("/")[-1]
            state["disabled"] = [one for one in state["disabled"] if one != label]
            state["disabled"] += [label] if verb == "disable" else []
            return 0, ""
        case ["bootstrap", domain, file]:
            return bootstrap(domain, Path(file), state)
        case ["bootout", target]:
            found = loaded.pop(target, None)
            if found is None:
                return NO_SUCH_PROCESS, "Boot-out failed: 3: No such process"
            end(found["pid"], state)
            return 0, ""
        case ["kickstart", "-k", target]:
            loaded[target]["pid"] = None if state["dead"] else start(loaded[target]["plist"], state)
            return 0, ""
        case ["kill", name, target]:
            end(loaded[target]["pid"], state, getattr(signal, name))
            return 0, ""
    return 64, f"Unrecognized subcommand: {words}"


def bootstrap(domain: str, file: Path, state: dict[str, Any]) -> tuple[int, str]:
    plist = plistlib.loads(file.read_bytes())
    target = f"{domain}/{plist['Label']}"
    if target in state["loaded"] or plist["Label"] in state["disabled"] or state["io_errors"]:
        state["io_errors"] = max(0, state["io_errors"] - 1)
        return IO_ERROR, "Bootstrap failed: 5: Input/output error"
    pid = None if state["dead"] or state["lazy"] else start(plist, state)
    state["loaded"][target] = {"pid": pid, "plist": plist}
    return (IO_ERROR, "Bootstrap failed: 5: Input/output error") if state["lies"] else (0, "")


def main(place: Path, words: list[str]) -> int:
    file = place / "state.json"
    state = json.loads(file.read_text())
    if state["fails_at"] == words[0]:
        state["fails_at"] = ""
        code, said = 1, "not today"
    else:
        code, said = obey(words, state)
    if not words[0].startswith("print"):
        state["asked"].append(" ".join(words))
    file.write_text(json.dumps(state))
    print(said, file=sys.stderr if code else sys.stdout)
    return code


if __name__ == "__main__":
    raise SystemExit(main(Path(sys.argv[1]), sys.argv[2:]))
