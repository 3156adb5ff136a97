"""Write a service as a launchd property list, and read one back.

launchd knows no reload and no confinement; a property list does not say them.
"""

from __future__ import annotations

import plistlib
import re
from importlib import resources
from typing import Any
from xml.parsers import expat

from service_templates import MARKER, ServiceSpec, xml_text

#: what every label begins with
_LABEL = "ai.moongate.gateway"
#: set by us in every property list: nobody reads a console there, and the log has a file of its own
_OURS = {MARKER: "launchd", "MOONGATE_DETACHED": "1"}
_HEAD = re.compile(r"<!-- Written by gateway install\. Moongate (.*) -->")


def name(suffix: str) -> str:
    """The service's label; its property list is named after it."""
    return f"{_LABEL}.{suffix}" if suffix else _LABEL


def render(spec: ServiceSpec) -> bytes:
    """The property list.

    Raises:
        ValueError: XML cannot carry a value.
    """
    if "--" in spec.version:
        raise ValueError(f"{spec.version!r} cannot stand in a comment.")
    template = resources.files(__package__).joinpath("templates/launchd.plist").read_text("utf-8")
    variables = {"PATH": spec.path, **_OURS, **dict(spec.environment)}
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
    """The spec that a property list says; the user is given, unless it names one.

    Raises:
        ValueError: it is not as `render` writes it.
    """
    try:
        said: dict[str, Any] = plistlib.loads(data, fmt=plistlib.FMT_XML)
        program, *arguments = said["ProgramArguments"]
        environment = dict(said["EnvironmentVariables"])
        path = environment.pop("PATH")
        for variable in _OURS:
            environment.pop(variable)
        head = _HEAD.search(data.decode("utf-8"))
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
            suffix=_suffix(said["Label"]),
            version=head[1] if head is not None else "",
        )
    except (KeyError, TypeError, ValueError, AttributeError, expat.ExpatError) as error:
        raise ValueError("it is not as Moongate writes it.") from error


def _suffix(label: str) -> str:
    if label != _LABEL and not label.startswith(f"{_LABEL}."):
        raise ValueError(f"{label!r} is no label of ours.")
    return label[len(_LABEL) + 1 :]
