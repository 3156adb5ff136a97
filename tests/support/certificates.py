"""Certificates for tests: an authority, and what it signs, made with openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any, NamedTuple

from harness.live_gateway import Live
from harness.waiting import PATIENCE

_EC_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"]


class Pair(NamedTuple):
    """A certificate and its key."""

    certificate: Path
    key: Path

    def copy_to(self, other: Pair) -> None:
        """Take the place of another pair, the key first, as a hook of a renewal does."""
        for mine, its in ((self.key, other.key), (self.certificate, other.certificate)):
            draft = its.with_name(f"{its.name}.draft")
            draft.write_bytes(mine.read_bytes())
            draft.chmod(0o600)
            draft.replace(its)


class Authority:
    """Signs certificates for names."""

    def __init__(self, directory: Path, name: str = "Test CA") -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._directory = directory
        self.pair = Pair(directory / "ca.pem", directory / "ca-key.pem")
        run_openssl(
            *("req", "-x509", *_EC_KEY, "-days", "30", "-subj", f"/CN={name}"),
            *("-keyout", str(self.pair.key), "-out", str(self.pair.certificate)),
        )

    @property
    def file(self) -> Path:
        """The certificate of the authority."""
        return self.pair.certificate

    def sign(
        self, name: str, names: str = "DNS:localhost,IP:127.0.0.1", *, start: str = "", end: str = "20990101000000Z"
    ) -> Pair:
        """Return a certificate for names.

        Args:
            name: of the files.
            start: when it begins to be valid, as YYYYMMDDhhmmssZ.
        """
        pair = Pair(self._directory / f"{name}.pem", self._directory / f"{name}-key.pem")
        request, settings = self._directory / f"{name}.csr", self._directory / f"{name}.cnf"
        run_openssl("req", "-new", *_EC_KEY, "-subj", f"/CN={name}", "-keyout", str(pair.key), "-out", str(request))
        (self._directory / "index.txt").touch()
        settings.write_text(
            f"[ca]\ndefault_ca=own\n[own]\ndatabase={self._directory}/index.txt\nnew_certs_dir={self._directory}\n"
            f"rand_serial=yes\ndefault_md=sha256\nunique_subject=no\npolicy=any\nx509_extensions=ext\n"
            f"[any]\ncommonName=supplied\n[ext]\nsubjectAltName={names}\n"
        )
        run_openssl(
            *("ca", "-batch", "-notext", "-config", str(settings), "-cert", str(self.pair.certificate)),
            *("-keyfile", str(self.pair.key), "-in", str(request), "-out", str(pair.certificate)),
            *("-startdate", start or "20200101000000Z", "-enddate", end),
        )
        pair.key.chmod(0o600)
        return pair


def run_openssl(*words: str) -> None:
    subprocess.run(["openssl", *words], check=True, capture_output=True, timeout=PATIENCE)


class LiveTls(Live):
    """A gateway that speaks HTTPS as localhost. The calls of the test trust what `SSL_CERT_FILE` names."""

    def __init__(self, home: Path, pair: Pair, config: dict[str, Any] | None = None, **options: Any) -> None:
        settings = dict(config or {})
        tls = {"tls": {"cert": str(pair.certificate), "key": str(pair.key)}}
        settings["gateway"] = {**tls, **settings.get("gateway", {})}
        super().__init__(home, settings, **options)

    @property
    def url(self) -> str:
        return f"https://localhost:{self.port}"
