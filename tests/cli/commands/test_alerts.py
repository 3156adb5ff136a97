"""`gateway alerts`."""

from __future__ import annotations

from collections.abc import Callable

from harness.command_line import Shell
from harness.live_gateway import Live
from harness.waiting import until_sync
from harness.webhook_receiver import receiving_elsewhere


def test_without_receivers_it_says_how_to_have_some(shell: Shell) -> None:
    shown, tested = shell("alerts"), shell("alerts", "test")

    assert (shown.code, shown.out) == (0, "")
    assert "alerts.receivers" in shown.err
    assert tested.code != 0
    assert "alerts.receivers" in tested.err


def test_what_is_open_and_what_was_told_is_listed_and_each_receiver_tested(live: Callable[..., Live]) -> None:
    with receiving_elsewhere() as elsewhere:
        receivers = {"ops": {"webhook": elsewhere.receiver.url, "kinds": ["disk"]}}
        alerts = {"group_seconds": 0, "disk_free_mb": 10**12, "receivers": receivers}
        one = live(config={"alerts": alerts}).start()
        shell = Shell(one.env, one.home)
        until_sync(lambda: "delivered" in shell("alerts").out, "it was told")
        listed, tested = shell("alerts"), shell("alerts", "test", "ops")
        elsewhere.receiver.otherwise = "500"
        listing, named = shell("alerts", "--json", "--limit", "1"), shell("alerts", "list", "--json")
        failed, as_json = shell("alerts", "test"), shell("alerts", "test", "--json")
        one.stop()

    assert "the disk of the data directory has" in listed.out.splitlines()[1]
    assert (tested.code, tested.out) == (0, "ops took the test.\n")
    assert listing.json == named.json
    assert [one["kind"] for one in named.json["open"]] == ["disk"]
    assert failed.code == 1
    assert failed.out.startswith("ops did not take it: answered 500")
    assert (as_json.code, as_json.json["results"][0]["ok"]) == (1, False)
