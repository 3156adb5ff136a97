"""What a gateway in the foreground says when it is ready."""

from __future__ import annotations

import contextlib
import os
import shlex
import shutil
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import gateway
from gateway import config, paths
from gateway.config import Config
from gateway.security import secret_file
from gateway.security.unsafe_text import replace_unsafe
from gateway.supervisor import command_line
from gateway.supervisor.address import PLAIN_HTTP_REMEDY, choose_connect_host


def print_banner(settings: Config, bound: int, about: Mapping[str, Any]) -> None:
    """Print where a gateway that is ready is, and what to do with it.

    Args:
        bound: the port on which it listens.
        about: what its serving process tells of its agent.
    """
    with contextlib.suppress(OSError):  # the reader may be gone
        sys.stdout.write(replace_unsafe(_format_banner(settings, bound, about)) + "\n")
        sys.stdout.flush()


def _format_banner(settings: Config, bound: int, about: Mapping[str, Any]) -> str:
    host = choose_connect_host(settings.gateway.host)
    scheme = "http" if settings.gateway.tls.cert is None else "https"
    url = f"{scheme}://[{host}]:{bound}" if ":" in host else f"{scheme}://{host}:{bound}"
    token = settings.gateway.auth.token or secret_file.read_secret(paths.token_file(settings.home)) or ""
    asked = settings.gateway.auth.mode == "token"
    program = command_line.spell_program(os.environ, _shell_command())
    place, in_shell = _find_token(settings, program)
    rows = [
        f"Moongate {gateway.__version__}",
        f"  URL      {url}   dashboard: {program} dashboard",
        f"  Token    {secret_file.mask_secret(token)}   {place}"
        if asked
        else "  Token    not needed (auth.mode: none)",
        f"  Agent    {about['agent']}: {about['introduction']}   change: {paths.display_path(settings.path)}",
        f"  Data     {settings.shown_store}",
        *([f"  Others   {settings.public_url}"] if settings.public_url else []),
        *(
            ["  Warning  plain HTTP beyond this machine: " + PLAIN_HTTP_REMEDY]
            if settings.is_exposed_without_tls
            else []
        ),
        "",
    ]
    if settings.fleet.role == "worker":
        as_worker = " --role worker"
        rows += [f"It works on what the gateways of its fleet accept. See the fleet: {program} status --fleet"]
    else:
        as_worker = ""
        rows += [
            "Try it:",
            f"  curl -s {_pick_curl_url(settings, url)}/api/agent"
            + (f' -H "Authorization: Bearer {in_shell}"' if asked else "")
            + " \\",
            """       -H "Content-Type: application/json" -d '{"message": "Hello"}'""",
            f'  {program} agent "Hello"',
        ]
    if not settings.path.exists():
        rows += [f"Set it up step by step: {program} setup"]
    rows += [f"Ctrl-C stops. In the background: {program} start{as_worker}. At login: {program} install{as_worker}."]
    return "\n".join(rows)


def _pick_curl_url(settings: Config, url: str) -> str:
    """Return the address that a certificate is good for, if there is one."""
    return settings.public_url or url if settings.gateway.tls.cert is not None else url


def _find_token(settings: Config, program: str) -> tuple[str, str]:
    """Return where the gateway's token is, in words, and the words that give it to a command in another shell."""
    names = next(setting.env for setting in config.list_settings() if setting.name == "gateway.auth.token")
    if (name := next((name for name in names if os.environ.get(name)), None)) is not None:
        return f"variable: {name} (set it in the other shell, too)", f"${name}"
    printed = f"$({program} config token)"
    if (name := next((name for name in names if settings.dotenv.get(name)), None)) is not None:
        return f"variable: {name} in {paths.display_path(settings.home / '.env')}", printed
    if settings.gateway.auth.token:
        return f"setting: gateway.auth.token in {paths.display_path(settings.path)}", printed
    file = paths.token_file(settings.home)
    shown = paths.display_path(file)
    word = shown if command_line.quote_word(shown.removeprefix("~")) == shown.removeprefix("~") else None
    return f"file: {shown}", f"$(cat {word or command_line.quote_word(str(file))})"


def _shell_command() -> str:
    """Return the command that starts our CLI in a shell: its name, or its path if the shell would not find the name."""
    installed = Path(sys.executable).with_name("gateway")
    return "gateway" if shutil.which("gateway") or not installed.exists() else shlex.quote(str(installed))
