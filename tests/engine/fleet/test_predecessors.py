"""A serving process that crashed is replaced by the next one of its supervisor, which need not wait for its lease."""

from __future__ import annotations

import pytest

from gateway.process import identity
from tests.engine.fleet.members import Fleet


@pytest.mark.parametrize(("instance", "left"), [("one", 0), ("another", 1)])
async def test_only_the_leases_of_dead_processes_of_the_same_instance_end(
    fleet: Fleet, instance: str, left: int
) -> None:
    dead = identity.own_identity()._replace(started="0")
    async with fleet.member("gate"):
        fleet.execute(
            "INSERT INTO nodes (name, host, role, version, agents, slots, started, lease)"
            " VALUES (%s, 'one', 'worker', 'test', '[]', 2, 0, 9000000000000)",
            f"{instance}@{dead}",
        )
        async with fleet.member("one"):
            assert fleet.execute("SELECT count(*) FROM nodes WHERE name = %s", f"{instance}@{dead}") == [(left,)]
