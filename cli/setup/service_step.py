"""The third step: starts the gateway, as a service that also starts at login, or in the background."""

from __future__ import annotations

from cli import output
from cli.service import lookup
from cli.setup.guide import Guide
from gateway.errors import GatewayError


def start_gateway(guide: Guide) -> None:
    """Install the service, or start the gateway in the background; a gateway that runs takes what has changed."""
    guide.begin_step(3, "start now, and at login")
    manager = lookup.find_installed(guide.instance)
    if manager is not None:
        guide.say(f"It is installed as a service: {manager.service_name}.")
        guide.told["service"] = manager.service_name
    elif lookup.find_packaged(guide.instance) is not None and not guide.is_running:
        guide.say(f"The package has the service. Start it, now and always: {lookup.PACKAGED_START}")
        return
    elif _wants_service(guide) and _install(guide):
        return
    if guide.is_running:
        restart_if_needed(guide)
    elif guide.prompts.ask_yes_no("   Start it now?", True):
        _start(guide)


def restart_if_needed(guide: Guide) -> None:
    """Restart the gateway if it does not know all settings; no request is lost."""
    if not guide.needs_restart:
        guide.say("It runs.")
        return
    try:
        with output.show_waiting("restarting the gateway"):
            guide.run_command("restart")
    except GatewayError as error:
        guide.report_failure(str(error))
    else:
        guide.needs_restart = False
        guide.say("Restarted it, with the new settings.")


def _wants_service(guide: Guide) -> bool:
    if guide.options.service is not None:
        return guide.options.service
    try:
        manager = lookup.find_manager(guide.instance, system=False)
        manager.require_available()
    except GatewayError as error:
        guide.say(f"No service can be installed here: {error.message}")
        return False
    guide.say("As a service, it starts when you log in, and again after a crash. gateway uninstall removes it.")
    return guide.prompts.ask_yes_no("   Install it as a service?", True)


def _install(guide: Guide) -> bool:
    """Install the service; return whether that worked."""
    try:
        with output.show_waiting("installing the service"):
            done = guide.run_command("install")
    except GatewayError as error:
        guide.report_failure(f"It was not installed: {error}")
        return False
    guide.needs_restart = False
    guide.told["service"] = done["service"]
    guide.say(f"Installed it as {done['service']}. It runs: {done['url']}")
    for hint in done["hints"]:
        guide.say(hint)
    return True


def _start(guide: Guide) -> None:
    try:
        with output.show_waiting("starting the gateway"):
            done = guide.run_command("start")
    except GatewayError as error:
        guide.report_failure(str(error))
        return
    guide.needs_restart = False
    guide.say(f"It runs in the background: {done['url']}")
