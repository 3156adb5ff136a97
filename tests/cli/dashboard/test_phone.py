"""The QR code for a phone."""

from __future__ import annotations

from cli.dashboard import phone


def test_a_code_has_its_corners_and_its_margin() -> None:
    lines = phone.draw_qr_code("http://192.168.1.20:18790/#code=mc_" + "a" * 43)

    assert len({len(line) for line in lines}) == 1
    assert set("".join(lines)) <= set("█▀▄ ")
    assert set(lines[0]) == set(lines[1]) == {"█"}  # four light modules above
    assert lines[2][4:11] == lines[2][-11:-4] == " ▄▄▄▄▄ "  # the upper two corners
    assert lines[2][:4] == lines[2][-4:] == "████"
