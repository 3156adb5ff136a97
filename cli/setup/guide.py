"""What all steps of the guide share: the settings, the answers, and what was done so far."""

from __future__ import annotations

import contextlib
import json
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from cli import output
from cli.command import complete_commands
from cli.config_edit import settings as config_settings
from cli.config_edit.dotenv import set_in_dotenv
from cli.instance import Instance
from cli.remote import probe
from cli.remote.probe import State
from cli.setup.prompts import Prompts
from gateway import config
from gateway.config import Config
from gateway.errors import GatewayError, Unavailable
from gateway.process.own_command import mean_this_machine, spell_own_command

#: seconds that a command that the guide calls may take
COMMAND_TIMEOUT_SECONDS = 300.0
#: seconds that it has to undo its work after Ctrl-C
UNDO_TIMEOUT_SECONDS = 60.0


class Options:
    """What the command line decides; None leaves it to the user, or to the default."""

    def __init__(
        self,
        *,
        agent: str | None = None,
        base_url: str | None = None,
        model: str | None = None,
        port: int | None = None,
        service: bool | None = None,
        tries: bool = True,
    ) -> None:
        self.agent = agent
        self.base_url = base_url
        self.model = model
        self.port = port
        self.service = service
        #: whether the agent gets a question
        self.tries = tries


@dataclass
class Guide:
    """One walk through the steps."""

    env: Mapping[str, str]
    prompts: Prompts
    options: Options
    #: URL of the model server that is proposed: OpenAI's, or the one that was named last
    server_url: str = "https://api.openai.com/v1"
    #: what `--json` prints at the end
    told: dict[str, Any] = field(default_factory=dict)
    #: what went wrong, for the exit code
    failures: list[str] = field(default_factory=list)
    #: whether a running gateway does not know all settings yet
    needs_restart: bool = False

    @property
    def instance(self) -> Instance:
        return Instance.from_environment(self.env)

    @property
    def is_running(self) -> bool:
        return probe.probe_gateway(self.instance).state is State.RUNNING

    def load_settings(self) -> Config:
        """Return the settings in force.

        Raises:
            ConfigError: they cannot be used.
        """
        return config.load(self.env)

    def begin_step(self, number: int, title: str) -> None:
        output.print_note("")
        output.print_error(f"{number} of 5: {title}")

    def say(self, text: str) -> None:
        """Print a line of the present step."""
        output.print_error(f"   {complete_commands(text, self.env)}")

    def report_failure(self, text: str) -> None:
        """Print what went wrong in the present step; the guide goes on."""
        self.failures.append(text)
        self.say(text)

    def set_setting(self, name: str, value: Any) -> None:
        """Write a setting as `gateway config set` does, and say so.

        Raises:
            ConfigError: it cannot be set.
        """
        done = config_settings.set_setting_value(self.env, name, value)
        if done.change.has_changed:
            self.say(f"Wrote {done.key.name} to {output.shorten_home(done.change.file)}.")
            self.needs_restart = self.needs_restart or self.is_running

    def set_variable(self, name: str, value: str) -> None:
        """Write a secret to `.env`, and say so without showing it."""
        file = set_in_dotenv(self.env, name, value)
        self.say(f"Wrote {name} to {output.shorten_home(file)}, which only you can read.")
        self.needs_restart = self.needs_restart or self.is_running

    def run_command(self, *words: str) -> Any:
        """Run another command of ours, and return what its `--json` prints.

        Raises:
            GatewayError: it failed; the error says why.
        """
        process = subprocess.Popen(
            spell_own_command(*words, "--json"),
            env=mean_this_machine(self.env),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            out, said = process.communicate(timeout=COMMAND_TIMEOUT_SECONDS)
        except KeyboardInterrupt:  # the terminal has told the command, too: it undoes what it began
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.communicate(timeout=UNDO_TIMEOUT_SECONDS)
            raise
        except subprocess.TimeoutExpired as error:
            raise Unavailable(f"gateway {words[0]} has not ended.", remedy="See: gateway logs") from error
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        try:
            told = json.loads(out.splitlines()[-1] if out.strip() else "")
        except ValueError:
            raise GatewayError(said.strip() or f"gateway {words[0]} failed.") from None
        if "error" in told:
            raise GatewayError(told["error"]["message"])
        return told
