"""A gateway or a command that runs as on Windows: without a supervisor, and with signals that only kill.

`python -m tests.support.as_windows [--port …]` runs the gateway; with `cli` as first argument, the CLI.
"""

from __future__ import annotations

import sys

from gateway.supervisor import restart_plan, signals

PROGRAM = [sys.executable, "-m", "tests.support.as_windows"]


def main(words: list[str]) -> int:
    restart_plan.CURRENT_PLATFORM = "win32"
    signals.HANDLED_SIGNALS.clear()
    if words[:1] != ["cli"]:
        from gateway import __main__ as foreground

        return foreground.main(words)
    from cli.lifecycle import start
    from cli.main import main as command

    start.GATEWAY_COMMAND = PROGRAM
    return command(words[1:])


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
