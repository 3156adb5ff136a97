"""`gateway dashboard`: opens the dashboard, signed in."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import click

from cli import output
from cli.command import Command, current_invocation
from cli.dashboard import browser, phone
from cli.remote import network_host
from cli.remote.client import GatewayClient, connect_to_gateway
from cli.remote.link import Link
from gateway.settings.gateway import is_base_url


class BaseUrl(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    """The address of a host: `https://gate.example`, without a path."""

    name = "address"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        if not is_base_url(value):
            self.fail(f"{value!r} is not the address of a host, such as https://gate.example.", param, ctx)
        return value.rstrip("/")


@click.command(cls=Command)
@click.option("--print", "only_print", is_flag=True, help="Print the address; open no browser.")
@click.option("--qr", "as_qr", is_flag=True, help="Show the address as a QR code, for a phone in the same network.")
@click.option(
    "--url",
    "base",
    type=BaseUrl(),
    metavar="ADDRESS",
    help="Address under which the browser reaches the gateway, such as https://gate.example behind a proxy."
    "  [default: gateway.public_url]  With --token-file, the gateway there is asked.",
)
def COMMAND(only_print: bool, as_qr: bool, base: str | None) -> None:  # noqa: N802 the seam's name
    """Open the dashboard in a browser, signed in.

    The address has a code that signs one browser in, once, within a minute. The browser may do what the
    token of this shell may do, and stays signed in for 30 days after its last use.
    gateway tokens lists and revokes it. Without a screen, the address is printed.

    \b
    Examples:
      gateway dashboard
      gateway dashboard --qr
      MOONGATE_TOKEN=SECRET gateway dashboard --print    # with another token, such as a read-only one

    \b
    --json prints
      {"url": address with the code, "expires_at": RFC 3339, "opened": whether a browser was started}
    """
    elsewhere = current_invocation().elsewhere
    if base is not None and elsewhere.token_file and current_invocation().named_elsewhere is None:
        elsewhere.url = base  # a token for it was given: it is a gateway elsewhere
    client = connect_to_gateway()
    base = _choose_base(client.link, base, as_qr)
    made = client.post("/api/dashboard/codes")
    url = f"{base}/#code={made['code']}"
    opened = not (only_print or as_qr) and browser.has_display() and browser.open_browser(url)
    if current_invocation().json:
        output.print_json({"url": url, "expires_at": made["expires_at"], "opened": opened})
    elif opened:
        output.print_text(f"Opened the dashboard in your browser: {base}")
        output.print_note("If none appeared: gateway dashboard --print")
    else:
        _show_address(url, as_qr)


def _choose_base(link: Link, given: str | None, as_qr: bool) -> str:
    """Return the address of the gateway, without a path.

    Raises:
        Conflict: no other machine can reach the gateway.
        Misdirected: the gateway does not answer for that host.
    """
    if given is None and link.public_url is not None:
        return link.public_url
    own = link.make_url("")
    listening = link.listen_address
    if given is None and (not as_qr or listening is None):
        return own
    if given is None and listening is not None:
        listen_host, port = listening
        given = network_host.format_url(urlsplit(own).scheme, network_host.find_network_host(listen_host), port)
    assert given is not None
    GatewayClient(link).check_host(urlsplit(given).netloc)
    return given


def _show_address(url: str, as_qr: bool) -> None:
    if as_qr:
        output.print_light_on_dark(phone.draw_qr_code(url))
    output.print_text(url)
    output.print_note("Open it within a minute. It signs in one browser, once.")
    parts = urlsplit(url)
    if parts.hostname == "localhost" and "SSH_CONNECTION" in os.environ:
        output.print_note(
            f"From the machine that you sit at, first: ssh -L {parts.port}:localhost:{parts.port} USER@THIS-MACHINE"
        )
    elif as_qr and parts.scheme == "http":
        output.print_note("The connection is not encrypted: do this in a network that you trust.")
