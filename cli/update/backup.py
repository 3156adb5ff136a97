"""The backup before an update: made by `gateway backup` of the present version, and restored by that one."""

from __future__ import annotations

import json
import shlex

from cli.instance import Instance
from cli.update import database, kept_environment
from cli.update.installation import Installation
from cli.update.tools import interpreter_of, run_program
from gateway.errors import GatewayError
from gateway.process.own_command import mean_this_machine, spell_own_command
from gateway.supervisor.command_line import spell_program

#: seconds that the backup may take
UPDATE_BACKUP_SECONDS = 3600.0
#: directory in the state directory for backups before updates
BACKUP_DIRECTORY = "backups"


def make_backup(instance: Instance) -> str:
    """Make a backup, and return its file; empty if no gateway ever ran, so that there is nothing to save.

    It has the secrets, and is in the private state directory: a config without them would replace the present one.

    Raises:
        GatewayError: it cannot be made.
    """
    found = database.find_database(instance.env)
    if found is not None and not found.path.exists():
        return ""
    directory = instance.home / BACKUP_DIRECTORY
    words = spell_own_command("backup", str(directory), "--for", "update", "--secrets", "--no-workspaces", "--json")
    if found is None:
        words.append("--no-database")
    done = run_program(words, mean_this_machine(instance.env), UPDATE_BACKUP_SECONDS)
    try:
        found = json.loads(done.out)
        return str(found["file"])
    except (ValueError, KeyError, TypeError) as error:
        raise GatewayError(
            f"no backup can be made: {done.last_words}", remedy="Nothing has changed. See why: gateway backup"
        ) from error


def explain_restore(instance: Instance, site: Installation, backup: str | None) -> str:
    """Say how to restore the backup from before an update so that the version from before can read the database.

    That version must do it: another one would migrate the database, and end open tasks only in the migrated one.
    """
    file = "FILE" if not backup else shlex.quote(backup)
    python = shlex.quote(str(interpreter_of(kept_environment.kept_copy(site))))
    program = spell_program(instance.env, f"{python} -P -m cli.main")
    return (
        "first let the version from before restore the backup from before the update: gateway stop &&"
        f" {program} restore {file} --replace. Then: gateway update --rollback, and gateway start"
    )
