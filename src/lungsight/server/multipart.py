"""Splitting a multipart/form-data body into its files as it comes (RFC 7578), in linear time and bounded memory.

What the client says of charsets is ignored: names are compared as bytes, and nothing is decoded by a codec that the
client chooses. The end of the body is known by its last boundary, so that a body that was cut short is noticed.
"""

from __future__ import annotations

import re

HEAD_BYTES = 8192
"""Largest header block of one part."""
MAX_PARTS = 64
"""Parts beside the files that count."""

_BOUNDARY = re.compile(rb"[0-9A-Za-z'()+_,./:=? -]{1,70}")
_PARAMETER = re.compile(rb';\s*([A-Za-z*]+)\s*=\s*(?:"((?:[^"\\]|\\.)*)"|([^\s;"]+))')


class Damaged(Exception):
    """The body is no multipart/form-data."""


class TooMany(Exception):
    """There are more files, or more parts, than are allowed."""


def boundary_of(content_type: bytes) -> bytes | None:
    """The boundary in a Content-Type header; None where there is none, or it is none (RFC 2046, 5.1.1)."""
    for name, quoted, plain in _PARAMETER.findall(content_type):
        if name.lower() == b"boundary":
            found = quoted or plain
            return found if _BOUNDARY.fullmatch(found) and not found.endswith(b" ") else None
    return None


class MultipartReader:
    """Fed with the body, chunk by chunk; then `files` holds what was sent in parts named as asked for.

    Args:
        boundary: of `boundary_of`.
        names: names of the parts that are files.
        max_files: files that are taken.
    """

    def __init__(self, boundary: bytes, names: tuple[bytes, ...], max_files: int) -> None:
        self._mark = b"\r\n--" + boundary
        self._names, self._max_files = names, max_files
        self._buffer = bytearray(b"\r\n")  # the first boundary may stand at the very beginning
        self._step = self._preamble
        self._part: bytearray | None = None
        self._parts = 0
        self._skip = 0
        """Bytes of the headers' end that still stand before the content."""
        self.files: list[bytearray] = []
        self.ended = False
        """The last boundary was seen."""

    def feed(self, chunk: bytes) -> None:
        """Take the next piece of the body.

        Raises:
            Damaged: it breaks the rules.
            TooMany: it holds more files or parts than are taken.
        """
        if self.ended:  # an epilogue says nothing
            return
        self._buffer += chunk
        while self._step():
            pass

    def _preamble(self) -> bool:
        at = self._buffer.find(self._mark)
        if at < 0:
            del self._buffer[: max(0, len(self._buffer) - len(self._mark) + 1)]
            return False
        del self._buffer[: at + len(self._mark)]
        self._step = self._after_mark
        return True

    def _after_mark(self) -> bool:
        if len(self._buffer) < 2:
            return False
        if self._buffer[:2] == b"--":
            self.ended = True
            self._buffer.clear()
            return False
        end = self._buffer.find(b"\r\n", 0, 256)
        if end < 0:
            if len(self._buffer) > 256:
                raise Damaged
            return False
        if self._buffer[:end].strip(b" \t"):
            raise Damaged
        # The line's end stays: a part without headers begins with an empty line.
        del self._buffer[:end]
        self._step = self._head
        return True

    def _head(self) -> bool:
        end = self._buffer.find(b"\r\n\r\n", 0, HEAD_BYTES)
        if end < 0:
            if len(self._buffer) >= HEAD_BYTES:
                raise Damaged
            return False
        self._begin(bytes(self._buffer[:end]))
        # Two bytes stay: an empty part is ended by the mark that its headers' end begins.
        del self._buffer[: end + 2]
        self._step = self._content
        self._skip = 2
        return True

    def _begin(self, head: bytes) -> None:
        self._parts += 1
        if self._parts > self._max_files + MAX_PARTS:
            raise TooMany
        disposition = None
        for line in head.split(b"\r\n")[1:]:
            name, colon, value = line.partition(b":")
            if not colon:
                raise Damaged
            if name.strip().lower() == b"content-disposition":
                disposition = value.strip()
        if disposition is None or not disposition.lower().startswith(b"form-data"):
            raise Damaged
        given = {key.lower(): quoted or plain for key, quoted, plain in _PARAMETER.findall(disposition)}
        self._part = None
        if given.get(b"name") in self._names and (b"filename" in given or b"filename*" in given):
            if len(self.files) >= self._max_files:
                raise TooMany
            self._part = bytearray()
            self.files.append(self._part)

    def _content(self) -> bool:
        at = self._buffer.find(self._mark)
        end = at if at >= 0 else len(self._buffer) - len(self._mark) + 1
        if end > 0:
            skip = min(self._skip, end)
            self._skip -= skip
            if self._part is not None:
                self._part += memoryview(self._buffer)[skip:end]
            del self._buffer[:end]
        if at < 0:
            return False
        del self._buffer[: len(self._mark)]
        self._step = self._after_mark
        return True
