"""`python -m tests.wire VERSION`: write down what this release promises."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.wire import promises
from tests.wire.collecting import KINDS


def main(version: str) -> None:
    for kind, collect in KINDS.items():
        with tempfile.TemporaryDirectory() as empty:
            promises.write(version, kind, collect(Path(empty)))


if __name__ == "__main__":
    main(sys.argv[1])
