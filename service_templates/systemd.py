"""Write a service as a systemd unit."""

from __future__ import annotations

from importlib import resources

from service_templates import ServiceSpec


def render(spec: ServiceSpec) -> str:
    """The unit's text."""
    if spec.directory.endswith(("\\", " ", "\t")):
        raise ValueError(f"systemd cannot carry the directory {spec.directory!r}: it ends in a backslash or blank.")
    template = resources.files(__package__).joinpath("templates/systemd.service").read_text("utf-8")
    words = (spec.program, *spec.arguments)
    # systemd takes no program whose path holds one of these; the shell gives its place, and pid, to it
    if any(mark in spec.program for mark in "\"'\\"):
        words = ("/bin/sh", "-c", 'exec "$0" "$@"', *words)
    # the colon keeps systemd from replacing $NAME in the command
    command = " ".join(map(_quoted, (f":{words[0]}", *words[1:])))
    return template.format(
        command=command,
        directory=spec.directory.replace("%", "%%"),
        path=_quoted(f"PATH={spec.path}"),
        stop_seconds=spec.stop_seconds,
        user=f"User={spec.user}\n" if spec.user else "",
        target="multi-user.target" if spec.user else "default.target",
    )


def _quoted(value: str) -> str:
    return '"' + value.replace("\\", "\\\\").replace('"', '\\"').replace("%", "%%") + '"'
