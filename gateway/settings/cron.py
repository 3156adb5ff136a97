"""The time zone and the failures of schedules."""

from __future__ import annotations

from typing import Annotated

from msgspec import Meta, Struct

from gateway.settings.variables import env_names

#: the value of `cron.timezone` that means the zone of this machine
LOCAL_ZONE = "local"


class Cron(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    timezone: Annotated[
        str,
        Meta(
            description="IANA time zone of schedules that name none, and of the days of budgets; `local` is the zone"
            " of this machine.",
            extra=env_names("MOONGATE_TIMEZONE"),
        ),
    ] = LOCAL_ZONE
    max_failures: Annotated[
        int,
        Meta(ge=0, le=1000, description="Failures in a row after which a new schedule is disabled; 0 means never."),
    ] = 10
