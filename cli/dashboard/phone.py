"""Shows a phone the way to the gateway: a QR code with the address."""

from __future__ import annotations

#: what shows two modules, one above the other; keys are whether the upper and the lower one is dark
_HALVES = {(False, False): "█", (False, True): "▀", (True, False): "▄", (True, True): " "}
#: light modules around a code: ISO/IEC 18004
QUIET_ZONE_MODULES = 4


def draw_qr_code(text: str) -> list[str]:
    """Return the lines of a QR code: light on dark."""
    import segno  # late: only this command needs it

    rows = [list(row) for row in segno.make(text, error="l", micro=False).matrix_iter(border=QUIET_ZONE_MODULES)]
    rows += [[0] * len(rows[0])] if len(rows) % 2 else []
    pairs = zip(rows[::2], rows[1::2], strict=True)
    return ["".join(_HALVES[bool(a), bool(b)] for a, b in zip(*pair, strict=True)) for pair in pairs]
