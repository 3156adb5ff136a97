"""`python -m gateway.runner "What is Python?"`: the same as `gateway exec`."""

from __future__ import annotations

import sys

import click

from gateway.errors import GatewayError
from gateway.runner.command import COMMAND
from gateway.security.unsafe_text import replace_unsafe


def main() -> int:
    try:
        COMMAND.main(prog_name="python -m gateway.runner", standalone_mode=False)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        return 130
    except GatewayError as error:
        click.echo(replace_unsafe(str(error)), err=True)
        return error.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main())
