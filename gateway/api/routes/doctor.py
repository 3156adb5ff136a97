"""What `gateway doctor` finds: `GET /api/doctor`."""

from __future__ import annotations

from msgspec import Struct

from gateway.api.doctor import DoctorFinding
from gateway.api.routing import Call, Nothing, Routes
from gateway.domain import times
from gateway.domain.token import Scope

ROUTES = Routes("doctor")


class DoctorAnswer(Struct, frozen=True, kw_only=True):
    """What all checks found."""

    #: whether none of them found an error
    ok: bool
    #: those of `gateway doctor --json`
    findings: list[DoctorFinding]
    #: when the checks began
    checked_at: str


@ROUTES.add("GET", "/api/doctor", scope=Scope.ADMIN, answer=DoctorAnswer)
async def examine_gateway(call: Call[Nothing, Nothing]) -> DoctorAnswer:
    """Run `gateway doctor`, and show what it finds; it takes some seconds, and its findings are reused for ten."""
    report = await call.server.doctor.examine_gateway()
    return DoctorAnswer(
        ok=all(one.level != "error" for one in report.findings),
        findings=report.findings,
        checked_at=times.format_rfc3339(report.checked),
    )
