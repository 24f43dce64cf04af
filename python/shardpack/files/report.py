"""What a call on a file found or made."""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from shardpack.container import Container
    from shardpack.frame_io.table import SidecarState

__all__ = ["FileReport"]


class FileReport(NamedTuple):
    """Facts about one packed file; sizes are bytes.

    Attributes:
        source: Path that was read, ``None`` for a file object.
        destination: Path that was written, ``None`` if there is none.
        container: ``"s4"``, ``"zst"`` or ``"gz"``.
        codecs: Names of the codecs inside.
        frames: Number of frames or members, ``None`` where finding out means decoding.
        original_size: Length before compression, ``None`` where finding out means decoding.
        stored_size: Length of the packed file.
        crc32c: CRC32C of the original bytes, ``None`` if they were not seen.
        sidecar: ``"absent"``, ``"unbound"``, ``"trusted"``, ``"stale"`` or ``"damaged"``.
        verified: Whether every byte was decoded and checked.
    """

    source: str | None
    destination: str | None
    container: Container
    codecs: tuple[str, ...]
    frames: int | None
    original_size: int | None
    stored_size: int
    crc32c: int | None = None
    sidecar: SidecarState = "absent"
    verified: bool = False

    @property
    def ratio(self) -> float | None:
        """Original bytes for each stored byte; ``None`` if one of them is zero or unknown."""
        if not self.original_size or not self.stored_size:
            return None
        return self.original_size / self.stored_size

    def to_dict(self) -> dict[str, object]:
        """Give the facts, and the ratio, as values that JSON can hold."""
        return {**self._asdict(), "codecs": list(self.codecs), "ratio": self.ratio}
