"""Write a service as a task of Windows' Task Scheduler, and read one back; without the right, as a script.

A task can set no variable and keep no output: the gateway is told both by options, `--environment` and
`--output`. It says no PATH: at login the user's own is there. It knows no reload, no confinement and no
time that a stop may take.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from importlib import resources
from xml.etree import ElementTree

from service_templates import MARKER, ServiceSpec, xml_text

#: characters that the schema allows for a program and for a directory
LONGEST_PATH = 260
#: characters that Windows allows for a command line, with the NUL at its end
LONGEST_COMMAND = 32_767
_SPACE = "{http://schemas.microsoft.com/windows/2004/02/mit/task}"
_SOURCE = "gateway install, Moongate "
_NAME = "Moongate"
#: what Task Scheduler would put something else in the place of
_REPLACED = re.compile(r"%[^%\s\\/:=\"]+%|\$\(")
_CONSOLE = re.compile(r"(?<=\\)python(?=\.exe$)", re.IGNORECASE)
_WINDOWLESS = re.compile(r"(?<=\\)(python)w(?=\.exe$)", re.IGNORECASE)
#: variables that every task sets: nobody reads a console there
_OURS = {MARKER: "taskscheduler", "MOONGATE_DETACHED": "1"}
#: keeps what lies in the state directory from being run as code of ours; a variable comes too late for that
_SAFE, _SAFELY = "PYTHONSAFEPATH", "-P"


def name(suffix: str) -> str:
    """What the task is called."""
    return f"{_NAME}-{suffix}" if suffix else _NAME


def render(spec: ServiceSpec) -> bytes:
    """The task, in UTF-16 with its mark, as `schtasks /create /xml` reads it.

    Raises:
        ValueError: Task Scheduler cannot carry it.
    """
    if spec.system:
        raise ValueError("a task starts at its user's login, and not with the system.")
    command = _windowless(spec.program)
    arguments = command_line(_words(spec))
    _check(command, arguments, spec.directory)
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


def script(spec: ServiceSpec) -> bytes:
    """The same for the Startup folder, whose scripts run at login: where tasks may not be made.

    Raises:
        ValueError: a script cannot carry it.
    """
    words = [spec.program, spec.directory, *_words(spec)]
    if unfit := next((word for word in words if '"' in word), None):
        raise ValueError(f"a script of Windows cannot carry a quote: {unfit!r}.")
    template = resources.files(__package__).joinpath("templates/startup.cmd").read_text("utf-8")
    text = template.format(
        version=spec.version,
        directory=_doubled(spec.directory),
        command=_doubled(_windowless(spec.program)),
        arguments=" ".join(f'"{_doubled(_closed(word))}"' for word in _words(spec)),
    )
    return text.replace("\n", "\r\n").encode()


def command(spec: ServiceSpec) -> list[str]:
    """Return the words that a task runs, for who starts it without one."""
    return [_windowless(spec.program), *_words(spec)]


def parse(data: bytes, *, path: str, stop_seconds: int) -> ServiceSpec:
    """The spec that a task says; what it does not say is given.

    Raises:
        ValueError: it is not as `render` writes it.
    """
    try:
        said = {
            element.tag.removeprefix(_SPACE): element.text or ""
            for element in ElementTree.fromstring(data).iter()  # noqa: S314 the user's own file
        }
        words, environment, output = _told(words_of(said["Arguments"]))
        for variable in _OURS:
            environment.pop(variable)
        if not said["Source"].startswith(_SOURCE):
            raise ValueError(said["Source"])
        return ServiceSpec(
            program=_WINDOWLESS.sub(lambda found: found[1], said["Command"]),
            arguments=words,
            directory=said["WorkingDirectory"],
            path=path,
            environment=tuple(environment.items()),
            output=output,
            stop_seconds=stop_seconds,
            user=said["UserId"],
            suffix=_suffix(said["URI"].removeprefix("\\")),
            version=said["Source"].removeprefix(_SOURCE),
        )
    except (KeyError, ValueError, LookupError, ElementTree.ParseError) as error:
        raise ValueError("it is not as Moongate writes it.") from error


def _check(command: str, arguments: str, directory: str) -> None:
    for value in (command, directory):
        if not 0 < len(value.encode("utf-16-le")) // 2 <= LONGEST_PATH:
            raise ValueError(f"Task Scheduler takes no path of more than {LONGEST_PATH} characters: {value!r}.")
    if len(f'"{command}" {arguments}'.encode("utf-16-le")) // 2 >= LONGEST_COMMAND:
        raise ValueError(f"Windows takes no command line of {LONGEST_COMMAND} or more characters.")
    for value in (command, arguments, directory):
        if found := _REPLACED.search(value):
            raise ValueError(f"Task Scheduler would put something else in the place of {found[0]!r} in {value!r}.")


def _windowless(program: str) -> str:
    """Return what runs without a console window, which would flash at every login."""
    return _CONSOLE.sub(lambda found: f"{found[0]}w", program)


def _doubled(value: str) -> str:
    """Return a value as it stands between quotes in a script, where a single percent sign begins a variable."""
    return value.replace("%", "%%")


def _words(spec: ServiceSpec) -> Iterator[str]:
    environment = dict(spec.environment)
    if _SAFE in environment and spec.arguments[:1] == ("-m",):
        yield _SAFELY
    yield from spec.arguments
    for variable, value in {**_OURS, **environment}.items():
        yield from ("--environment", f"{variable}={value}")
    yield from ("--output", spec.output)


def _told(words: list[str]) -> tuple[tuple[str, ...], dict[str, str], str]:
    """Return the arguments among the words of a task, the variables, and where the output goes."""
    first = words.index("--environment")
    options = words[first:]
    if options[-2] != "--output":
        raise ValueError("it does not say where its output goes")
    pairs = [pair.partition("=") for pair in options[1:-2:2]]
    given = words[:first]
    return tuple(given[given[:1] == [_SAFELY] :]), {name: value for name, _, value in pairs}, options[-1]


def _suffix(task: str) -> str:
    if task != _NAME and not task.startswith(f"{_NAME}-"):
        raise ValueError(f"{task!r} is no task of ours.")
    return task[len(_NAME) + 1 :]


# --- the command line, as CommandLineToArgvW of Windows takes it apart ---------------------------


def command_line(words: Iterable[str]) -> str:
    """Return a line that is taken apart into these words: backslashes count only before a quote."""
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    if word and not re.search(r'[\s"]', word):
        return word
    return '"' + _closed(re.sub(r'(\\*)"', r'\1\1\\"', word)) + '"'


def _closed(inner: str) -> str:
    """Return what stands between quotes so that its end does not keep the last quote from ending it."""
    return re.sub(r"(\\+)$", r"\1\1", inner)


def words_of(line: str) -> list[str]:
    """Return the words of a line that `command_line` made."""
    found = re.findall(r'"((?:\\.|[^"\\])*)"|(\S+)', line)
    return [plain or _unquoted(quoted) for quoted, plain in found]


def _unquoted(inner: str) -> str:
    inner = re.sub(r"(\\+)$", lambda run: run[1][: len(run[1]) // 2], inner)
    return re.sub(r'(\\*)\\"', lambda run: run[1][: len(run[1]) // 2] + '"', inner)
