"""`gateway dashboard`: opens the dashboard, signed in."""

from __future__ import annotations

import os
from urllib.parse import urlsplit

import click

from cli import output
from cli.command import Command, current_invocation
from cli.dashboard import browser, phone
from cli.remote.client import GatewayClient, connect_to_gateway


class BaseUrl(click.ParamType):  # type: ignore[type-arg]  # generic only in newer releases of click
    """The address of a host: `https://gate.example`, without a path."""

    name = "address"

    def convert(self, value: str, param: click.Parameter | None, ctx: click.Context | None) -> str:
        try:
            parts = urlsplit(value)
            is_good = parts.scheme in ("http", "https") and bool(parts.hostname) and (parts.port or 1) > 0
        except ValueError:
            is_good = False
        if not is_good or parts.username is not None or parts.path.strip("/") or parts.query or parts.fragment:
            self.fail(f"{value!r} is not the address of a host, such as https://gate.example.", param, ctx)
        return f"{parts.scheme}://{parts.netloc}"


@click.command(cls=Command)
@click.option("--print", "only_print", is_flag=True, help="Print the address; open no browser.")
@click.option("--qr", "as_qr", is_flag=True, help="Show the address as a QR code, for a phone in the same network.")
@click.option(
    "--url",
    "base",
    type=BaseUrl(),
    metavar="ADDRESS",
    help="Address under which the browser reaches the gateway, such as https://gate.example behind a proxy.",
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
    client = connect_to_gateway()
    base = _choose_base(client, base, as_qr)
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


def _choose_base(client: GatewayClient, given: str | None, as_qr: bool) -> str:
    """Return the address of the gateway, without a path.

    Raises:
        Conflict: no other machine can reach the gateway.
        Misdirected: the gateway does not answer for that host.
    """
    if given is None and not as_qr:
        return client.make_url("")
    if given is None:
        listen_host, port = client.listen_address
        host = phone.find_network_host(listen_host)
        given = f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
    client.check_host(urlsplit(given).netloc)
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
