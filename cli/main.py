"""The command line, `gateway`: runs a command, and turns every error into a message and an exit code."""

from __future__ import annotations

import errno
import os
import re
import sys
from collections.abc import Sequence

import click

from cli import output
from cli.command import Interrupted, Invocation, Program, complete_commands
from gateway.config_files.json_file import is_unicode
from gateway.errors import GatewayError


@click.group(
    cls=Program,
    context_settings={"help_option_names": ["--help"], "max_content_width": 100},
    subcommand_metavar="[COMMAND] [ARGUMENTS]...",
)
def COMMAND() -> None:  # noqa: N802 the seam's name
    """Moongate, the always-on gateway for AI agents.

    Without a command the gateway runs in the foreground until Ctrl-C. It takes the options of
    `gateway run`: --port, --host, --token, --config and others.

    \b
    Examples:
      gateway                        run the gateway
      gateway --port 8080            run it on another port
      gateway agent "Hello"          ask the default agent
      gateway status                 show whether it runs, and where
      gateway COMMAND --help         show what a command does

    \b
    Exit codes: 0 success, 1 failure, 2 wrong usage, 3 the gateway does not run, 75 a temporary
    failure (try again later), 78 wrong configuration.
    """


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command line. Returns the exit code."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")  # not every terminal can show every character
    invocation = Invocation()
    words = list(sys.argv[1:] if arguments is None else arguments)
    undecodable = next((word for word in words if not is_unicode(word)), None)
    if undecodable is None:
        code = _run_guarded(invocation, words)
    else:
        invocation.json = "--json" in words
        shown = os.fsencode(undecodable).decode("utf-8", "backslashreplace")
        what = f'the argument "{shown}" is not valid UTF-8.'
        code = _report_error(invocation, "USAGE", what, "Correct it, or give the text on standard input.", 2)
    return _flush_output(code)


def _run_guarded(invocation: Invocation, arguments: Sequence[str] | None) -> int:
    try:
        result = COMMAND.main(arguments, prog_name=_program_name(), obj=invocation, standalone_mode=False)
    except click.exceptions.NoArgsIsHelpError as error:
        output.print_error(error.format_message())
        return 2
    except click.ClickException as error:
        return _report_error(invocation, "USAGE", error.format_message(), _usage_hint(error), error.exit_code)
    except click.Abort:
        return Interrupted.exit_code
    except GatewayError as error:
        return _report_error(
            invocation, _error_code(error), error.message, error.remedy, error.exit_code, error.details
        )
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        return _report_error(invocation, "SYSTEM", f"{error.strerror or error}{where}", None, 1)
    except Exception as error:  # no traceback unless the user asks for one
        return _report_bug(invocation, error)
    return result if isinstance(result, int) else 0


def _report_bug(invocation: Invocation, error: Exception) -> int:
    if os.environ.get("MOONGATE_DEBUG"):
        import traceback  # late: most commands do not need it

        traceback.print_exc()
    what = f"this command failed unexpectedly: {type(error).__name__}: {error}"
    return _report_error(invocation, "INTERNAL_ERROR", what, "This is a bug. Set MOONGATE_DEBUG=1 to see where.", 1)


def _report_error(
    invocation: Invocation,
    code: str,
    message: str,
    remedy: str | None,
    exit_code: int,
    details: dict[str, object] | None = None,
) -> int:
    """Print what went wrong and what to do. Returns the exit code."""
    message = output.end_sentence(message)
    remedies = [line for line in complete_commands(remedy or "", invocation.merged_environment).splitlines() if line]
    if exit_code == Interrupted.exit_code and sys.stderr.isatty():
        output.print_error("\n" + "\n   ".join([message, *remedies]))  # the terminal has printed ^C on this line
    elif output.wants_decoration(sys.stderr):
        output.print_error("\n   ".join([f"❌ {message}", *remedies]))
    else:
        output.print_error(output.join_sentences([message, *remedies]))
    if invocation.json:
        whole = output.join_sentences([message, *remedies])
        output.print_json_line({"error": {"code": code, "message": whole, **({"details": details} if details else {})}})
    return exit_code


def _error_code(error: GatewayError) -> str:
    """Return the code of an error: the one that the HTTP API uses, else one made from the name of its class."""
    if error.code != GatewayError.code:
        return error.code
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", type(error).__name__).upper()


def _usage_hint(error: click.ClickException) -> str | None:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return f"More: {context.command_path} --help" if context is not None else None


def _program_name() -> str:
    """Return the name under which the program was called: `gateway` or `moongate`."""
    name = os.path.basename(sys.argv[0]).partition(".")[0]
    return name if name == "moongate" else "gateway"


def _flush_output(code: int) -> int:
    """Flush stdout. A reader that has closed the pipe is not an error."""
    try:
        sys.stdout.flush()
    except OSError as error:
        if error.errno != errno.EPIPE:
            raise
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return code


if __name__ == "__main__":
    raise SystemExit(main())
