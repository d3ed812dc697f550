"""What the app was started with, checked.

In: what the command line was given. Out: a frozen Settings.

    Settings(corpora=(Path("runs/demo/corpora/phantom"),), runs=(Path("runs/demo"),))
"""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from pathlib import Path

from radvqa.errors import InputError

PORT = 8600


@dataclass(frozen=True)
class Settings:
    """Everything the app depends on."""

    corpora: tuple[Path, ...] = ()
    runs: tuple[Path, ...] = ()
    database: str = "radvqa-app.sqlite"
    """A file, or a PostgreSQL URL."""
    host: str = "127.0.0.1"
    port: int = PORT
    names: tuple[str, ...] = ()
    """More names the server answers to, e.g. that of a proxy in front of it."""
    https: bool = False
    """A proxy in front speaks TLS: cookies are Secure, browsers are told to stay with HTTPS."""
    model: str | None = None
    """Answers new questions; None: only what was computed before is shown."""
    adapter: Path | None = None
    methods: tuple[str, ...] = ("raw", "rollout", "gradcam", "relevancy")
    """Computed for a new question."""

    def __post_init__(self) -> None:
        if not self.corpora and not self.runs and self.model is None:
            raise InputError("nothing to show", fix="give --corpus, --run or --model, or see --demo")

    @property
    def hosts(self) -> set[str]:
        """The names in a Host header that are ours."""
        return {"127.0.0.1", "localhost", "::1", self.host, *self.names}

    @property
    def public(self) -> bool:
        """Whether others than this machine can reach the address."""
        try:
            return not ipaddress.ip_address(self.host).is_loopback
        except ValueError:
            return self.host != "localhost"
