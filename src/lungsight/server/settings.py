"""What a server allows."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from lungsight.errors import ConfigError
from lungsight.xray.base import Limits

MIB = 2**20
LOOPBACK = ("127.0.0.1", "localhost", "[::1]")


@dataclass(frozen=True, slots=True)
class Settings:
    """Limits of one server. The defaults suit a laptop; memory stays below about 2 GiB whatever is sent."""

    token: str | None = field(default=None, repr=False)
    """Bearer token that requests must bring; None: none is asked for."""
    hosts: tuple[str, ...] = ()
    """Names under which the server may be called (the Host header, without port); empty: any."""
    max_files: int = 16
    """X-rays in one request."""
    max_file_bytes: int = 64 * MIB
    max_request_bytes: int = 256 * MIB
    max_pixels: int = 32_000_000
    """Height times width of one X-ray; the largest have about 20 million."""
    max_held_bytes: int = 512 * MIB
    """Uploads and answers in memory, over all requests."""
    queue: int = 64
    """X-rays that wait or are worked on; what does not fit is answered with 503."""
    batch: int = 8
    """X-rays that go through the networks together."""
    upload_seconds: float = 30
    """Longest time for a request's headers, for its body, and in which a client takes nothing of its answer."""
    decode_seconds: float = 30
    """Longest time for decoding one file; the largest X-rays take about 3 s on one slow core."""
    answer_seconds: float = 60
    """Longest time from the end of the upload to the answer."""
    stop_seconds: int = 30
    """Longest time from the signal to stop to the end of the process."""
    keep: Path | None = None
    """Folder into which uploads and results are copied; None: nothing stays."""
    identified: bool = False
    """DICOM results name patient and visit as the X-ray does; else nothing but the UIDs by which they find it."""

    def __post_init__(self) -> None:
        for name in ("max_files", "max_file_bytes", "max_request_bytes", "max_pixels", "max_held_bytes"):
            _positive(name, getattr(self, name))
        for name in ("queue", "batch", "upload_seconds", "decode_seconds", "answer_seconds", "stop_seconds"):
            _positive(name, getattr(self, name))
        if self.queue < self.max_files:
            raise ConfigError(f"the queue ({self.queue}) must hold one request's files ({self.max_files})")
        if self.token is not None and (not self.token.isascii() or len(self.token) < 8):
            raise ConfigError("the token must be ASCII and have at least 8 characters")

    @property
    def limits(self) -> Limits:
        """For `read_xray`."""
        return Limits(
            max_bytes=self.max_file_bytes, max_pixels=self.max_pixels, max_seconds=self.decode_seconds
        )


def _positive(name: str, value: float) -> None:
    if not value > 0:
        raise ConfigError(f"{name.replace('_', ' ')} must be above 0, not {value}")
