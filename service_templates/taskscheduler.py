"""Writes the task of a service for the Windows Task Scheduler, or the script that replaces it, and reads tasks.

A task cannot set variables or redirect output, so the gateway gets both as options, `--environment` and
`--output`. A task contains no PATH, because the user's own is there at login. It has no reload, no confinement
and no time limit for a stop.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib import resources
from xml.etree import ElementTree

from service_templates import MARKER, ServiceSpec, xml_text

#: most characters of the paths of program and directory, by the schema of tasks
MAX_PATH_CHARACTERS = 260
#: most characters of a command line on Windows, with the NUL at its end
MAX_COMMAND_CHARACTERS = 32_767
_XML_NAMESPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
_SOURCE_PREFIX = "gateway install, Moongate "
_TASK_NAME = "Moongate"
#: text that Task Scheduler would replace with a value
_EXPANDED_TEXT = re.compile(r"%[^%\s\\/:=\"]+%|\$\(")
_CONSOLE_PYTHON = re.compile(r"(?<=\\)python(?=\.exe$)", re.IGNORECASE)
_WINDOWLESS_PYTHON = re.compile(r"(?<=\\)(python)w(?=\.exe$)", re.IGNORECASE)
#: variables of every task: there is no console
_TASK_VARIABLES = {MARKER: "taskscheduler", "MOONGATE_DETACHED": "1"}
#: both keep Python from importing files in the state directory; on Windows the variable would come too late
_SAFE_PATH_VARIABLE, _SAFE_PATH_OPTION = "PYTHONSAFEPATH", "-P"


def name(suffix: str) -> str:
    """Return the name of the task."""
    return f"{_TASK_NAME}-{suffix}" if suffix else _TASK_NAME


def render(spec: ServiceSpec) -> bytes:
    """Return the task in UTF-16 with a byte order mark, as `schtasks /create /xml` reads it.

    Raises:
        ValueError: a task cannot express the spec.
    """
    if spec.system:
        raise ValueError("a task starts at its user's login, not with the system.")
    command = _without_console(spec.program)
    arguments = join_command_line(_build_words(spec))
    _check_limits(command, arguments, spec.directory)
    template = resources.files(__package__).joinpath("templates/task.xml").read_text("utf-8")
    text = template.format(
        version=xml_text(spec.version),
        name=xml_text(name(spec.suffix)),
        user=xml_text(spec.user),
        command=xml_text(command),
        arguments=xml_text(arguments),
        directory=xml_text(spec.directory),
    )
    return b"\xff\xfe" + text.encode("utf-16-le")


def render_script(spec: ServiceSpec) -> bytes:
    """Return a script for the Startup folder, which runs at login: used if the user may not create tasks.

    Raises:
        ValueError: a script cannot express the spec.
    """
    words = [spec.program, spec.directory, *_build_words(spec)]
    if unfit := next((word for word in words if '"' in word), None):
        raise ValueError(f"a Windows script cannot contain a quote: {unfit!r}.")
    template = resources.files(__package__).joinpath("templates/startup.cmd").read_text("utf-8")
    text = template.format(
        version=spec.version,
        directory=_double_percents(spec.directory),
        command=_double_percents(_without_console(spec.program)),
        arguments=" ".join(f'"{_double_percents(_double_last_backslashes(word))}"' for word in _build_words(spec)),
    )
    return text.replace("\n", "\r\n").encode()


def build_command(spec: ServiceSpec) -> list[str]:
    """Return the command of a task, to run it without Task Scheduler."""
    return [_without_console(spec.program), *_build_words(spec)]


def parse(data: bytes, *, path: str, stop_seconds: int) -> ServiceSpec:
    """Return the spec of a task. The arguments are what a task does not contain.

    Raises:
        ValueError: `render` did not write the task.
    """
    try:
        said = {
            element.tag.removeprefix(_XML_NAMESPACE): element.text or ""
            for element in ElementTree.fromstring(data).iter()  # noqa: S314 the user's own file
        }
        words, environment, output = _parse_words(split_command_line(said["Arguments"]))
        for variable in _TASK_VARIABLES:
            environment.pop(variable)
        if not said["Source"].startswith(_SOURCE_PREFIX):
            raise ValueError(said["Source"])
        return ServiceSpec(
            program=_WINDOWLESS_PYTHON.sub(lambda found: found[1], said["Command"]),
            arguments=words,
            directory=said["WorkingDirectory"],
            path=path,
            environment=tuple(environment.items()),
            output=output,
            stop_seconds=stop_seconds,
            user=said["UserId"],
            suffix=_parse_suffix(said["URI"].removeprefix("\\")),
            version=said["Source"].removeprefix(_SOURCE_PREFIX),
        )
    except (KeyError, ValueError, LookupError, ElementTree.ParseError) as error:
        raise ValueError("Moongate did not write it.") from error


def _check_limits(command: str, arguments: str, directory: str) -> None:
    for value in (command, directory):
        if not 0 < len(value.encode("utf-16-le")) // 2 <= MAX_PATH_CHARACTERS:
            raise ValueError(f"Task Scheduler allows a path at most {MAX_PATH_CHARACTERS} characters: {value!r}.")
    if len(f'"{command}" {arguments}'.encode("utf-16-le")) // 2 >= MAX_COMMAND_CHARACTERS:
        raise ValueError(f"a command line on Windows must have fewer than {MAX_COMMAND_CHARACTERS} characters.")
    for value in (command, arguments, directory):
        if found := _EXPANDED_TEXT.search(value):
            raise ValueError(f"Task Scheduler would replace {found[0]!r} in {value!r} with a value.")


def _without_console(program: str) -> str:
    """Return the program that runs without a console window, which would flash at every login."""
    return _CONSOLE_PYTHON.sub(lambda found: f"{found[0]}w", program)


def _double_percents(value: str) -> str:
    """Return a value as it is written between quotes in a script, where a percent sign starts a variable."""
    return value.replace("%", "%%")


def _build_words(spec: ServiceSpec) -> Iterator[str]:
    environment = dict(spec.environment)
    if _SAFE_PATH_VARIABLE in environment and spec.arguments[:1] == ("-m",):
        yield _SAFE_PATH_OPTION
    yield from spec.arguments
    for variable, value in {**_TASK_VARIABLES, **environment}.items():
        yield from ("--environment", f"{variable}={value}")
    yield from ("--output", spec.output)


def _parse_words(words: list[str]) -> tuple[tuple[str, ...], dict[str, str], str]:
    """Return the arguments, the variables and the output file from the words of a task."""
    first = words.index("--environment")
    options = words[first:]
    if options[-2] != "--output":
        raise ValueError("it has no option --output")
    pairs = [pair.partition("=") for pair in options[1:-2:2]]
    given = words[:first]
    return tuple(given[given[:1] == [_SAFE_PATH_OPTION] :]), {name: value for name, _, value in pairs}, options[-1]


def _parse_suffix(task: str) -> str:
    if task != _TASK_NAME and not task.startswith(f"{_TASK_NAME}-"):
        raise ValueError(f"{task!r} is not a task of Moongate.")
    return task[len(_TASK_NAME) + 1 :]


# --- the command line, as CommandLineToArgvW of Windows splits it ----- ---------------------------


def join_command_line(words: Iterable[str]) -> str:
    """Return the command line that Windows splits into these words. Backslashes are special only before a quote."""
    return " ".join(map(_quote_word, words))


def _quote_word(word: str) -> str:
    if word and not re.search(r'[\s"]', word):
        return word
    return '"' + _double_last_backslashes(re.sub(r'(\\*)"', r'\1\1\\"', word)) + '"'


def _double_last_backslashes(inner: str) -> str:
    """Return a text with its last backslashes doubled, so that they do not escape a quote after it."""
    return re.sub(r"(\\+)$", r"\1\1", inner)


def split_command_line(line: str) -> list[str]:
    """Return the words of a command line that `join_command_line` returned."""
    found = re.findall(r'"((?:\\.|[^"\\])*)"|(\S+)', line)
    return [plain or _unquote_word(quoted) for quoted, plain in found]


def _unquote_word(inner: str) -> str:
    inner = re.sub(r"(\\+)$", lambda run: run[1][: len(run[1]) // 2], inner)
    return re.sub(r'(\\*)\\"', lambda run: run[1][: len(run[1]) // 2] + '"', inner)
