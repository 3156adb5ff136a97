"""Repairs for `gateway doctor --fix`: what can be put right without a question to the user."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cli.doctor import service_drift
from cli.doctor.private_files import is_open_to_others, private_paths
from cli.instance import Instance
from gateway.errors import GatewayError


class Repairs(NamedTuple):
    """What came of the repairs."""

    #: what was repaired
    done: list[str]
    #: what could not be repaired, and why
    failed: list[str]


def repair_all(environ: Mapping[str, str]) -> Repairs:
    """Close private files to others, and rewrite a service unit that is out of date."""
    instance = Instance.from_environment(environ)
    repairs = Repairs([], [])
    for check, path, mode, *_ in private_paths(instance):
        try:
            if is_open_to_others(path):
                path.chmod(mode)
                repairs.done.append(f"{check}: chmod {mode:o} {path}")
        except FileNotFoundError:
            continue
        except OSError as error:
            repairs.failed.append(f"{check}: cannot chmod {mode:o} {path}: {error.strerror}.")
    try:
        if (unit := service_drift.rewrite_unit(instance)) is not None:
            repairs.done.append(unit)
    except (GatewayError, OSError) as error:
        repairs.failed.append(f"service: {error}")
    return repairs
