"""The address at which people and programs reach a gateway."""

from __future__ import annotations

from pathlib import Path

import pytest

from cli.instance import Instance
from cli.remote import probe
from gateway.supervisor.record import Record


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("127.0.0.1", "http://localhost:1"),
        ("0.0.0.0", "http://localhost:1"),
        ("::", "http://localhost:1"),
        ("[::1]", "http://localhost:1"),
        ("192.0.2.7", "http://192.0.2.7:1"),
        ("2001:db8::7", "http://[2001:db8::7]:1"),
        ("box", "http://box:1"),
    ],
)
def test_the_url_is_one_that_leads_there(host: str, shown: str, tmp_path: Path) -> None:
    made = Record(1, 0, "", "", "", "", host, 1, "")

    assert probe.local_url(Instance(tmp_path, tmp_path / "config.json", {}), made) == shown
