"""Write a service as a systemd unit, and read one back."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources

from service_templates import MARKER, ServiceSpec

#: characters that the path of a program must not contain for systemd
_UNFIT_FOR_PROGRAM = "\"'\\"
#: a shell that runs such a program in its own process, with its own PID
_SHELL_PREFIX = ("/bin/sh", "-c", 'exec "$0" "$@"')
_QUOTED_WORD = re.compile(r'"((?:[^"\\]|\\.)*)"')


def name(suffix: str) -> str:
    """Return the name of the service."""
    return f"moongate-{suffix}.service" if suffix else "moongate.service"


def render(spec: ServiceSpec) -> str:
    """Return the text of the unit.

    Raises:
        ValueError: a unit cannot express the directory.
    """
    if spec.directory.endswith(("\\", " ", "\t")):
        raise ValueError(
            f"a systemd unit cannot express the directory {spec.directory!r}: it ends in a backslash or blank."
        )
    template = resources.files(__package__).joinpath("templates/systemd.service").read_text("utf-8")
    return template.format(
        version=spec.version,
        command=_format_command(spec.program, spec.arguments),
        reload=f"ExecReload={_format_command(spec.program, spec.reload)}\n" if spec.reload else "",
        directory=spec.directory.replace("%", "%%"),
        path=_quote_word(f"PATH={spec.path}"),
        environment="".join(f"Environment={_quote_word(f'{name}={value}')}\n" for name, value in spec.environment),
        stop_seconds=spec.stop_seconds,
        confined="yes" if spec.confined else "no",
        user=f"User={spec.user}\n" if spec.system else "",
        target="multi-user.target" if spec.system else "default.target",
    )


def parse(text: str, *, user: str, output: str, suffix: str) -> ServiceSpec:
    """Return the spec of a unit. The arguments are what a unit does not contain.

    Raises:
        ValueError: `render` did not write the unit.
    """
    lines = [line.partition("=") for line in text.splitlines()]
    said = {key: value for key, _, value in lines}
    try:
        program, *arguments = _split_words(said["ExecStart"])
        variables = [_split_words(value)[0].partition("=") for key, _, value in lines if key == "Environment"]
        environment = {variable: value for variable, _, value in variables}
        environment.pop(MARKER)
        return ServiceSpec(
            program=program,
            arguments=tuple(arguments),
            reload=_split_words(said["ExecReload"])[1:] if "ExecReload" in said else (),
            directory=said["WorkingDirectory"].replace("%%", "%"),
            path=environment.pop("PATH"),
            environment=tuple(environment.items()),
            output=output,
            stop_seconds=int(said["TimeoutStopSec"]),
            confined=said["NoNewPrivileges"] == "yes",
            user=said.get("User", user),
            system="User" in said,
            suffix=suffix,
            version=text.partition("\n")[0].rpartition(" ")[2],
        )
    except (KeyError, IndexError, ValueError) as error:
        raise ValueError("Moongate did not write it.") from error


def _format_command(program: str, arguments: Sequence[str]) -> str:
    words = (program, *arguments)
    if any(mark in program for mark in _UNFIT_FOR_PROGRAM):
        words = (*_SHELL_PREFIX, *words)
    # the colon keeps systemd from replacing $NAME in the command
    return " ".join(map(_quote_word, (f":{words[0]}", *words[1:])))


def _quote_word(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'


def _split_words(line: str) -> tuple[str, ...]:
    """Return the words of a line. A line without quotes is a single word."""
    quoted = _QUOTED_WORD.findall(line) or [line]
    words = tuple(re.sub(r"\\(.)", r"\1", word).replace("%%", "%") for word in quoted)
    words = (words[0].removeprefix(":"), *words[1:])
    return words[len(_SHELL_PREFIX) :] if words[: len(_SHELL_PREFIX)] == _SHELL_PREFIX else words
