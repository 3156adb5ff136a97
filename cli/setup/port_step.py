"""The second step: the port that the gateway listens on."""

from __future__ import annotations

from cli.remote import probe
from cli.setup.guide import Guide
from gateway.errors import ConfigError, PortTaken
from gateway.supervisor import port as ports

#: the highest port
MAX_PORT = 65535
#: ports after a taken one that are tried
MAX_TRIED_PORTS = 100


def choose_port(guide: Guide) -> None:
    """Ask for a port that is free, and write it to the config if it is another one."""
    guide.begin_step(2, "the port")
    settings = guide.load_settings().gateway
    found = probe.probe_gateway(guide.instance)
    if found.record is not None and guide.options.port in (None, settings.port):
        guide.say(f"The gateway runs, on port {found.record.port}.")
        guide.told["port"] = found.record.port
        return
    wanted = settings.port if guide.options.port is None else guide.options.port
    problem = _find_problem(settings.host, wanted)
    if problem:
        guide.say(problem)
        wanted = _find_free_port(settings.host, wanted)
    wanted = _ask_for_port(guide, settings.host, wanted)
    if wanted != settings.port:
        guide.set_setting("gateway.port", wanted)
    if guide.load_settings().gateway.port != wanted:
        guide.say("Another port counts, which a variable or .env sets. See: gateway config get gateway.port --json")
    guide.say(f"Port {wanted} is free." if wanted else "The system chooses a free port at each start.")
    guide.told["port"] = wanted


def _ask_for_port(guide: Guide, host: str, default: int) -> int:
    while guide.options.port is None:
        said = guide.prompts.ask_text("   Port", str(default))
        if not said.isascii() or not said.isdigit() or int(said) > MAX_PORT:
            guide.say(f"A port is a number up to {MAX_PORT}.")
            continue
        problem = _find_problem(host, int(said))
        if not problem:
            return int(said)
        guide.say(problem)
    return default


def _find_problem(host: str, number: int) -> str:
    """Return why a port cannot be used; empty if it can."""
    try:
        ports.bind_port(host, number).close()
    except PortTaken:
        return f"Port {number} is taken. {ports.describe_holder(number)}."
    except ConfigError as error:
        return error.message
    return ""


def _find_free_port(host: str, taken: int) -> int:
    """Return the next port that is free; 0, any one, if none of the next is."""
    following = range(max(taken, 1024) + 1, min(taken + MAX_TRIED_PORTS, MAX_PORT))
    return next((number for number in following if not _find_problem(host, number)), 0)
