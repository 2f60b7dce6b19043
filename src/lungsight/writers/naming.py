"""Where the files that belong to one input go."""

from __future__ import annotations

import functools
import hashlib
import re
from collections.abc import MutableMapping
from pathlib import Path, PurePath

RESERVED = frozenset({"con", "prn", "aux", "nul"})
_FORBIDDEN = re.compile(r'[\x00-\x1f<>:"|?*\\]')
_NO_NAMES = frozenset(("/", "//", "\\", "..", "."))
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
        # Strings, not paths: an archive of a million inputs is named anew whenever a run goes on.
        parts = [_safe(part) for part in PurePath(relative).parts if part not in _NO_NAMES]
        name = parts.pop() if parts else "_"
        folder = "".join(f"{part}/" for part in parts)
        dot = name.rfind(".")
        bare = name[:dot] if dot > 0 and name[:dot].strip(".") and dot < len(name) - 1 else name
        owner = _hash(source)
        for candidate in (bare, name.replace(".", "_")):
            if self._is_free(folder + candidate, owner):
                return PurePath(folder + candidate)
        digest = hashlib.sha256(source.encode("utf-8", "surrogateescape")).hexdigest()
        short = f"{folder}{bare}-{digest[:8]}"
        return PurePath(short if self._is_free(short, owner) else f"{folder}{bare}-{digest}")

    def _is_free(self, candidate: str, owner: bytes) -> bool:
        """Whether the name is the owner's, who has it from now on."""
        # Hashes, not paths, are kept: 16 bytes an input for batches of any size.
        return self._owners.setdefault(_hash(candidate.casefold()), owner) == owner


@functools.lru_cache(maxsize=4096)
def _safe(part: str) -> str:
    """One part of a path that every file system takes."""
    cleaned = _FORBIDDEN.sub("_", part).rstrip(". ") or "_"
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
