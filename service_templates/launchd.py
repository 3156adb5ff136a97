"""Writes the launchd property list of a service, and reads it back.

launchd has no reload and no confinement, so a property list does not contain them.
"""

from __future__ import annotations

import plistlib
import re
from importlib import resources
from typing import Any
from xml.parsers import expat

from service_templates import MARKER, ServiceSpec, xml_text

#: beginning of every label
_LABEL_PREFIX = "ai.moongate.gateway"
#: variables of every property list: there is no console, and the log has its own file
_LAUNCHD_VARIABLES = {MARKER: "launchd", "MOONGATE_DETACHED": "1"}
_HEAD_COMMENT = re.compile(r"<!-- Written by gateway install\. Moongate (.*) -->")


def name(suffix: str) -> str:
    """Return the label of the service; its property list has the same name."""
    return f"{_LABEL_PREFIX}.{suffix}" if suffix else _LABEL_PREFIX


def render(spec: ServiceSpec) -> bytes:
    """Return the property list.

    Raises:
        ValueError: XML cannot contain a value.
    """
    if "--" in spec.version:
        raise ValueError(f"{spec.version!r} cannot be in an XML comment.")
    template = resources.files(__package__).joinpath("templates/launchd.plist").read_text("utf-8")
    variables = {"PATH": spec.path, **_LAUNCHD_VARIABLES, **dict(spec.environment)}
    words = (spec.program, *spec.arguments)
    return template.format(
        version=xml_text(spec.version),
        label=xml_text(name(spec.suffix)),
        arguments="".join(f"\t\t<string>{xml_text(word)}</string>\n" for word in words),
        stop_seconds=spec.stop_seconds,
        environment="".join(
            f"\t\t<key>{xml_text(name)}</key>\n\t\t<string>{xml_text(value)}</string>\n"
            for name, value in variables.items()
        ),
        directory=xml_text(spec.directory),
        output=xml_text(spec.output),
        user=f"\t<key>UserName</key>\n\t<string>{xml_text(spec.user)}</string>\n" if spec.system else "",
    ).encode()


def parse(data: bytes, *, user: str) -> ServiceSpec:
    """Return the spec of a property list; `user` is used if the list names none.

    Raises:
        ValueError: `render` did not write the list.
    """
    try:
        said: dict[str, Any] = plistlib.loads(data, fmt=plistlib.FMT_XML)
        program, *arguments = said["ProgramArguments"]
        environment = dict(said["EnvironmentVariables"])
        path = environment.pop("PATH")
        for variable in _LAUNCHD_VARIABLES:
            environment.pop(variable)
        head = _HEAD_COMMENT.search(data.decode("utf-8"))
        return ServiceSpec(
            program=program,
            arguments=tuple(arguments),
            directory=said["WorkingDirectory"],
            path=path,
            environment=tuple(environment.items()),
            output=said["StandardOutPath"],
            stop_seconds=said["ExitTimeOut"],
            user=said.get("UserName", user),
            system="UserName" in said,
            suffix=_parse_suffix(said["Label"]),
            version=head[1] if head is not None else "",
        )
    except (KeyError, TypeError, ValueError, AttributeError, expat.ExpatError) as error:
        raise ValueError("Moongate did not write it.") from error


def _parse_suffix(label: str) -> str:
    if label != _LABEL_PREFIX and not label.startswith(f"{_LABEL_PREFIX}."):
        raise ValueError(f"{label!r} is not a label of Moongate.")
    return label[len(_LABEL_PREFIX) + 1 :]
