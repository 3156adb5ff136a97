"""kill -9 around the times of schedules: each time becomes at most one run, and missed times are recorded."""

from __future__ import annotations

import random
import time
from itertools import pairwise
from pathlib import Path

from drills import Figures, client
from harness.live_gateway import Live
from harness.live_store import LiveStore


def kill_around_fires(directory: Path, kills: int = 4, seed: str = "moon", store: LiveStore | None = None) -> Figures:
    """Kill -9 the gateway again and again, while three schedules fire every second."""
    live = Live(directory / "home", store=store)
    dice = random.Random(seed)  # noqa: S311 no secret
    try:
        live.start()
        for misfire in ("skip", "once", "all"):
            body = {"name": misfire, "schedule": "every 1s", "prompt": "Hello", "misfire": misfire}
            assert live.call("POST", "/api/cron/create", body).status == 200
        for _ in range(kills):
            time.sleep(dice.uniform(0.3, 1.5))
            live.kill()
            time.sleep(dice.uniform(0.0, 1.5))
            live.start()
        client.wait_idle(live)
        assert live.stop() == 0
    finally:
        live.close()
    return _judge(live, kills)


def _judge(live: Live, kills: int) -> Figures:
    """Check that each fire has one run and each run one fire, and that every time has an outcome."""
    fires = live.rows("SELECT schedule, scheduled_for, run, outcome FROM fires ORDER BY 1, 2")
    runs = {run for (run,) in live.rows("SELECT id FROM runs WHERE json_extract(spec, '$.source') = 'cron'")}
    fired = [run for _, _, run, _ in fires if run is not None]
    assert sorted(fired) == sorted(runs)
    times = [(schedule, at) for schedule, at, _, _ in fires]
    gaps = [after - before for (one, before), (other, after) in pairwise(times) if one == other]
    assert set(gaps) == {1000}, sorted(set(gaps))
    live.check_store()
    return {"kills": kills, "times": len(fires), "runs": len(runs), "missed": len(fires) - len(runs), "twice": 0}
