"""The last step: opens the dashboard, signed in."""

from __future__ import annotations

from cli.setup.guide import Guide
from gateway.errors import GatewayError


def open_dashboard(guide: Guide) -> None:
    """Open the dashboard in a browser, or print an address that signs one in."""
    guide.begin_step(5, "the dashboard")
    if not guide.is_running:
        guide.say("When the gateway runs: gateway dashboard")
        return
    if not guide.prompts.asks or not guide.prompts.ask_yes_no("   Open it, signed in?", True):
        guide.say("Later: gateway dashboard")
        return
    try:
        made = guide.run_command("dashboard")
    except GatewayError as error:
        guide.report_failure(str(error))
        return
    if made["opened"]:
        guide.say("Opened it in your browser. On a phone: gateway dashboard --qr")
    else:
        guide.say(made["url"])
        guide.say("Open it within a minute. It signs in one browser, once. Again: gateway dashboard")
