"""The locks of all gateways that use the places of an installation."""

from __future__ import annotations

from pathlib import Path

from gateway import paths


def list_gateway_locks(home: Path, config: Path, data: Path) -> list[Path]:
    """Return the lock of a config, those of other configs with its state directory, and that of a data directory."""
    usual = paths.lock_file(home, config)
    others = set(paths.locks_directory(home).glob("gateway.*.lock")) - {usual}
    return [usual, *sorted(others), paths.data_lock_file(data)]
