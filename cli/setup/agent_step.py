"""The first step: the agent that answers. It is found or named, tried with one question, and written to the config."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from cli import output
from cli.setup import trial
from cli.setup.guide import Guide
from gateway.agent_setup import survey
from gateway.agent_setup.survey import Sighting
from gateway.assembly.checks import check_settings
from gateway.config import Config
from gateway.domain.agent import Agent
from gateway.errors import ConfigError, GatewayError, InvalidRequest

#: characters of an agent's first answer that are shown
MAX_SHOWN_ANSWER_CHARACTERS = 300

_SERVER, _LATER, _TRY_AGAIN, _OTHER, _KEEP = "server", "later", "again", "other", "keep"


class _Choice(NamedTuple):
    """An agent to use, before it is written."""

    #: as an entry of `agents.list`, without its id
    entry: dict[str, Any]
    #: a secret for `.env`: the name of its variable, and its value
    secret: tuple[str, str] | None = None
    #: what to do if it is not signed in
    sign_in: str = ""


def choose_agent(guide: Guide) -> None:
    """Find or ask for an agent, try it, and write it to the config."""
    guide.begin_step(1, "the agent that answers")
    settings = guide.load_settings()
    if settings.agents.entries and not _wants_another(guide, settings):
        return
    seen = _survey(guide, settings)
    while (choice := _pick(guide, seen)) is not None:
        id_ = _find_same(settings, choice) or _choose_id(settings, choice)
        what = _try(guide, settings, {"id": id_, **choice.entry}, choice)
        if what == _TRY_AGAIN:
            continue
        if what != _OTHER:
            _write(guide, settings, id_, choice)
            return
    guide.say("No agent was chosen. Until there is one, a built-in echo answers. Later: gateway setup")
    guide.told["agent"] = None


def _wants_another(guide: Guide, settings: Config) -> bool:
    agents = check_settings(settings, guide.env)
    names = ", ".join(f"{agent.id} ({agent.backend})" for agent in agents)
    guide.say(f"The config file has: {names}.")
    guide.told["agent"] = settings.agents.default or agents[0].id
    if guide.options.agent or guide.options.base_url:
        return True
    return guide.prompts.ask_yes_no("   Add another one?", False)


def _survey(guide: Guide, settings: Config) -> list[Sighting]:
    with output.show_waiting("looking for agents on this machine"):
        return asyncio.run(survey.survey_machine(settings, guide.env))


def _pick(guide: Guide, seen: list[Sighting]) -> _Choice | None:
    """Return the agent that the user wants; None for none now."""
    options = guide.options
    if options.base_url:
        return _ask_for_server(guide, options.base_url)
    here = [one for one in seen if one.place and one.entry is not None]
    best = survey.choose_best(seen)
    if options.agent:
        return _use(guide, _find_named(seen, options.agent))
    if not guide.prompts.asks:
        if best is None:
            guide.say("None was found on this machine.")
        return None if best is None else _use(guide, best)
    for one in here:
        guide.say(f"{one.candidate.name:<14} {one.version or '-':<12} {_describe(one)}")
    if not here:
        _explain_how_to_get_one(guide, seen)
    guide.say(f"{_SERVER:<14} {'':<12} a model behind an OpenAI-compatible server: you give its URL and key")
    guide.say(f"{_LATER:<14} {'':<12} choose none now")
    names = [one.candidate.name for one in here]
    default = best.candidate.name if best is not None else _SERVER
    said = guide.prompts.ask_choice("   Which one?", [*names, _SERVER, _LATER], default)
    if said == _LATER:
        return None
    return _ask_for_server(guide, guide.server_url) if said == _SERVER else _use(guide, _find_named(seen, said))


def _describe(one: Sighting) -> str:
    if one.problem:
        return one.problem
    return {True: "signed in", False: f"not signed in. {one.candidate.sign_in}", None: "ready"}[one.signed_in]


def _explain_how_to_get_one(guide: Guide, seen: list[Sighting]) -> None:
    guide.say("None was found on this machine. Any of these will do; then run gateway setup again:")
    shown: set[str] = set()
    for one in seen:
        if one.candidate.is_automatic and not one.candidate.is_named and one.candidate.program not in shown:
            shown.add(one.candidate.program)
            guide.say(f"  {one.candidate.name}: {one.problem or one.candidate.install}")


def _find_named(seen: list[Sighting], name: str) -> Sighting:
    found = next((one for one in seen if one.candidate.name == name), None)
    if found is None:
        known = ", ".join(one.candidate.name for one in seen)
        raise InvalidRequest(f"there is no known agent {name!r}; one of {known}.")
    if not found.place or found.entry is None:
        raise InvalidRequest(f"{name} is not on this machine.", remedy=found.problem or found.candidate.install)
    return found


def _use(guide: Guide, one: Sighting) -> _Choice:
    entry = {name: value for name, value in (one.entry or {}).items() if name != "id"}
    if guide.options.model:
        entry["model"] = guide.options.model
    uses_key = entry["backend"] == "openai" and "api_key_env" not in entry
    key = guide.env.get("OPENAI_API_KEY", "") if uses_key else ""  # a service does not see the variables of this shell
    return _Choice(entry, ("OPENAI_API_KEY", key) if key else None, sign_in=one.candidate.sign_in)


def _ask_for_server(guide: Guide, url: str) -> _Choice | None:
    """Return an agent for an OpenAI-compatible server, whose key goes to `.env`; None if no model is named."""
    prompts, known = guide.prompts, guide.env.get("OPENAI_API_KEY", "")
    if not guide.options.base_url:
        guide.server_url = url = prompts.ask_text("   URL of the server, up to /v1", url)
    key = prompts.ask_secret("   Key; Enter for the one in OPENAI_API_KEY" if known else "   Key; Enter for none")
    key = key or known
    model = guide.options.model or prompts.ask_text("   Model", guide.env.get("OPENAI_MODEL", ""))
    if not model:
        guide.say("A server needs the name of a model.")
        return None
    entry: dict[str, Any] = {"backend": "openai", "base_url": url, "model": model}
    if not key:
        return _Choice({**entry, "api_key_env": None}, sign_in="Does the server need a key?")
    variable = _choose_variable(guide, key)
    if variable != "OPENAI_API_KEY":
        entry["api_key_env"] = variable
    return _Choice(entry, (variable, key), sign_in="Check the URL, the key and the name of the model.")


def _choose_variable(guide: Guide, key: str) -> str:
    """Return a name for the variable with a key that does not replace another key."""
    taken = {**guide.instance.dotenv_values, **guide.env}
    names = ["OPENAI_API_KEY", *(f"OPENAI_API_KEY_{number}" for number in range(2, 100))]
    return next(name for name in names if taken.get(name) in (None, "", key))


def _find_same(settings: Config, choice: _Choice) -> str | None:
    """Return the id of an agent in the config file that is the same one; None if there is none."""
    names = ("backend", "preset", "base_url", "model")
    same = (one for one in settings.agents.entries if all(one.get(name) == choice.entry.get(name) for name in names))
    found = next(same, None)
    return None if found is None else str(found.get("id"))


def _choose_id(settings: Config, choice: _Choice) -> str:
    ids = {entry.get("id") for entry in settings.agents.entries}
    if not ids:
        return "main"
    name = str(choice.entry.get("preset") or choice.entry["backend"])
    return next(each for each in [name, *(f"{name}-{number}" for number in range(2, 1000))] if each not in ids)


def _try(guide: Guide, settings: Config, entry: dict[str, Any], choice: _Choice) -> str:
    """Ask the agent one question, and return what to do with it: keep it, choose another, or try again.

    Raises:
        ConfigError: it cannot be used, and the user is not there to choose another one.
    """
    environ: Mapping[str, str] = {**guide.env, **dict([choice.secret] if choice.secret else [])}
    try:
        agent = _make_agent(settings, entry, environ)  # also without a question: before anything is stored
        if not guide.options.tries:
            return _KEEP
        with output.show_waiting("asking it one question"):
            answer = trial.ask_agent(agent, settings, environ)
    except ConfigError as error:
        if not guide.prompts.asks or guide.options.agent or guide.options.base_url:
            raise  # nobody would choose another one
        guide.say(f"It cannot be used: {error}")
        return _OTHER
    except GatewayError as error:
        guide.say(f"It did not answer: {output.shorten_text(str(error), 500)}")
        if choice.sign_in:
            guide.say(choice.sign_in)
        guide.told["agent_error"] = str(error)
        if not guide.prompts.asks:
            guide.failures.append(str(error))
        question = "   Ask it again, choose another one, or keep it? (again, other, keep)"
        default = _OTHER if guide.prompts.asks else _KEEP
        return guide.prompts.ask_choice(question, [_TRY_AGAIN, _OTHER, _KEEP], default)
    guide.told |= {"agent_answer": answer, "agent_error": None}
    guide.say(f"It answers: {output.shorten_text(answer, MAX_SHOWN_ANSWER_CHARACTERS)}")
    return _KEEP


def _make_agent(settings: Config, entry: dict[str, Any], environ: Mapping[str, str]) -> Agent:
    agents = msgspec.structs.replace(settings.agents, entries=[entry], default=None)
    return check_settings(msgspec.structs.replace(settings, agents=agents), environ)[0]


def _write(guide: Guide, settings: Config, id_: str, choice: _Choice) -> None:
    if choice.secret is not None and guide.instance.dotenv_values.get(choice.secret[0]) != choice.secret[1]:
        guide.set_variable(*choice.secret)
    if _find_same(settings, choice) is None:
        guide.set_setting(f"agents.list.{id_}", choice.entry)
    if settings.agents.entries:
        guide.set_setting("agents.default", id_)
    guide.told["agent"] = id_
