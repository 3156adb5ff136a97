"""`python -m gateway.store.sqlite.migrate_file FILE`: migrates a database that no gateway uses, and prints its schema.

`gateway update` of an older version runs it on a copy, before this version may have the real one.
"""

from __future__ import annotations

import sys
from pathlib import Path

from gateway.domain.times import wall_clock
from gateway.errors import GatewayError
from gateway.store.sqlite import opening


def main(arguments: list[str]) -> int:
    try:
        connection = opening.open_writer(Path(arguments[0]), wall_clock)
    except GatewayError as error:
        sys.stderr.write(f"{error.message}\n")
        return error.exit_code
    try:
        sys.stdout.write(f"{connection.pragma('user_version')}\n")
    finally:
        connection.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
