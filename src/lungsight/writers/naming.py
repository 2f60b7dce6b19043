"""Where the files that belong to one input go."""

from __future__ import annotations

import hashlib
from collections.abc import MutableMapping
from pathlib import Path, PurePath

RESERVED = frozenset({"con", "prn", "aux", "nul"})
MAX_PART = 180
"""Longest name of a file or folder in bytes; file systems take 255 and a suffix is still to come."""


class OutputNames:
    """Gives each input a path of its own below the output folder, so that no result overwrites another's.

    The path mirrors the input's path inside the folder that was given, without the extension. Where two
    inputs would meet (`a.png` and `a.jpg`, or `a.png` below two given folders), the later one gets its
    extension, and if that is not enough 8 digits of the hash of its full path. The order of the
    inputs being the same, so are the names. Names that differ by case alone also count as the same.
    """

    def __init__(self, owners: MutableMapping[bytes, bytes] | None = None) -> None:
        """Begin without names.

        Args:
            owners: where to keep what was given; a dict where None.
        """
        self._owners: MutableMapping[bytes, bytes] = {} if owners is None else owners

    def stem(self, path: str | Path, relative: str | PurePath) -> PurePath:
        """The input's path below the output folder, to which '.png' and the like are to be added.

        Args:
            path: the input.
            relative: its path inside the folder that was given.
        """
        source = str(Path(path).absolute())
        inner = PurePath(
            *(_safe(part) for part in PurePath(relative).parts if part not in ("/", "\\", "..", "."))
        )
        plain = inner.with_name(inner.name[: -len(inner.suffix)] if inner.suffix else inner.name)
        digest = hashlib.sha256(source.encode("utf-8", "surrogateescape")).hexdigest()[:8]
        spelled = inner.with_name(inner.name.replace(".", "_"))
        for candidate in (plain, spelled, plain.with_name(f"{plain.name}-{digest}")):
            # Hashes, not paths, are kept: 16 bytes an input for batches of any size.
            key = _hash(str(candidate).casefold())
            if self._owners.setdefault(key, _hash(source)) == _hash(source):
                return candidate
        return plain.with_name(
            f"{plain.name}-{hashlib.sha256(source.encode('utf-8', 'surrogateescape')).hexdigest()}"
        )


def _safe(part: str) -> str:
    """One part of a path that every file system takes."""
    cleaned = "".join("_" if ord(c) < 32 or c in '<>:"|?*\\' else c for c in part).rstrip(". ") or "_"
    if PurePath(cleaned).stem.lower() in RESERVED:
        cleaned = f"_{cleaned}"
    encoded = cleaned.encode("utf-8", "surrogateescape")
    if len(encoded) <= MAX_PART:
        return cleaned
    digest = hashlib.sha256(encoded).hexdigest()[:8]
    suffix = PurePath(cleaned).suffix[:10]
    return f"{encoded[: MAX_PART - 24].decode('utf-8', 'ignore')}-{digest}{suffix}"


def _hash(text: str) -> bytes:
    return hashlib.blake2b(text.encode("utf-8", "surrogateescape"), digest_size=8).digest()
