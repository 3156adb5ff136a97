"""Starts the user's browser."""

from __future__ import annotations

import os
import subprocess
import sys

#: seconds after which a starter that still runs counts as the browser itself, which may run for long
BROWSER_START_SECONDS = 5.0

#: in a process of its own: a browser writes to the terminal, and holds its pipes open as long as it runs
_OPEN = "import sys, webbrowser; sys.exit(not webbrowser.open(sys.argv[1]))"


def has_display() -> bool:
    """Return whether there is a screen for a browser, or a command that the user has named for it."""
    if os.environ.get("BROWSER"):
        return True
    if sys.platform in ("win32", "darwin"):
        return "SSH_CONNECTION" not in os.environ
    return bool(os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY"))


def open_browser(url: str) -> bool:
    """Start a browser; it goes on when the command ends. Returns whether one started."""
    silent = subprocess.DEVNULL
    try:
        opener = subprocess.Popen(
            [sys.executable, "-c", _OPEN, url], stdin=silent, stdout=silent, stderr=silent, start_new_session=True
        )
        return opener.wait(BROWSER_START_SECONDS) == 0
    except subprocess.TimeoutExpired:
        return True
    except OSError:
        return False
