"""Where an input lies: a file, a member of an archive, or an address that fsspec opens (`s3://`, `https://` ...)."""

from __future__ import annotations

import functools
import re
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePath, PurePosixPath
from typing import Literal, Self

from lungsight.batch.addresses import LISTING_SECONDS, file_system, in_time, read_address, unreadable
from lungsight.errors import InputError, PassedOverError
from lungsight.xray.sniff import HEAD, describe, sniff

Kind = Literal["file", "zip", "tar", "url"]

ADDRESS = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+://")
"""What begins so is an address."""
NO_IMAGES = frozenset(
    (
        ".csv",
        ".tsv",
        ".txt",
        ".json",
        ".xml",
        ".html",
        ".md",
        ".pdf",
        ".zip",
        ".tar",
        ".gz",
        ".parquet",
        ".npy",
    )
)
"""Endings that are passed over where a folder at an address is listed; what a file is is not asked of each."""
_BROKEN = (OSError, ValueError, zlib.error, EOFError, NotImplementedError, RuntimeError, zipfile.BadZipFile)
"""What reading a damaged, encrypted or unsupported archive raises."""
_BOUNDED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""Packings of zip members that can be unpacked up to a size and no further; of the others (bzip2, LZMA) a megabyte
becomes gigabytes before Python's zipfile returns the first byte."""
LONGEST_HEADER = 2**20
"""Bytes of a tar header that holds a long name or further attributes; tarfile reads it into memory whole."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where one input lies. It can be read like an open file, once; nothing is opened before."""

    name: str
    """What tables and messages call it."""
    kind: Kind
    where: str
    """The file, the archive or the address."""
    member: str = ""
    """zip: name of the member; tar: 'offset size' of its bytes."""

    def read(self, size: int = -1) -> bytes:
        """The bytes, `size` at most.

        Raises:
            InputError: they cannot be read.
        """
        try:
            if self.kind == "zip":
                archive = _archive(self.where)
                if archive.getinfo(self.member).compress_type not in _BOUNDED:
                    raise NotImplementedError
                with archive.open(self.member) as file:
                    return file.read(size)
            if self.kind == "tar":
                offset, length = map(int, self.member.split())
                with Path(self.where).open("rb") as tar:
                    tar.seek(offset)
                    data = tar.read(min(length, size) if size >= 0 else length)
                if len(data) < min(length, size if size >= 0 else length):
                    raise InputError("the archive is cut short", code="damaged", where=self.name)
                return data
            if self.kind == "url":
                return read_address(self.where, size)
            return Path(self.where).read_bytes()
        except InputError:
            raise
        except Exception as error:
            raise unreadable(error, self.name) from error


def is_address(given: str | Path) -> bool:
    """Whether it names something that is not in the file system."""
    return isinstance(given, str) and ADDRESS.match(given) is not None


def archive_kind(path: Path) -> Literal["", "zip", "tar"]:
    """Whether a file is an archive, by its content."""
    try:
        if not stat.S_ISREG(path.stat().st_mode):
            return ""
        with path.open("rb") as file:
            head = file.read(512)
    except (OSError, ValueError):
        return ""
    if head[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return "zip"
    packed = head[:2] == b"\x1f\x8b" or head[:6] == b"\xfd7zXZ\0" or head[:3] == b"BZh"
    named = ".tar" in path.suffixes or path.suffix in (".tgz", ".txz", ".tbz2")
    return "tar" if head[257:262] == b"ustar" or (packed and named) else ""


def members(path: Path, passed_over: list[PassedOverError]) -> Iterator[tuple[Place, PurePath]]:
    """The X-rays in an archive, told by their first bytes, in its order.

    Args:
        path: a zip or tar file.
        passed_over: gathers what holds no image.

    Raises:
        InputError: it is damaged, or a compressed tar.
    """
    found = _zip_members(path) if archive_kind(path) == "zip" else _tar_members(path)
    for place, inner in found:
        parts = PurePosixPath(inner).parts
        hidden = any(part == "__MACOSX" or (part.startswith(".") and part != "..") for part in parts)
        if not parts or hidden:
            continue
        try:
            head = place.read(HEAD)
        except InputError:
            head = b"\xff"  # whoever reads it whole learns what is wrong
            yield place, PurePath(path.name, *parts)
            continue
        if sniff(head):
            yield place, PurePath(path.name, *parts)
        else:
            what = f"it is {describe(head)}" if head else "it is empty"
            passed_over.append(PassedOverError(f"holds no X-ray: {what}", code="no_image", where=place.name))


def at_address(address: str, passed_over: list[PassedOverError]) -> Iterator[tuple[Place, PurePath]]:
    """The files at an address: that file, or all below it where it is a folder or holds `*`.

    Raises:
        InputError: nothing is there, or it cannot be reached or does not answer in time.
        MissingExtraError: fsspec, or what it needs for such addresses, is not installed.
    """
    files, inner = file_system(address)

    def is_file() -> bool:
        try:
            return bool(files.isfile(inner))
        except Exception:
            if "*" in inner:
                return False  # there may be a right to list and none to look
            raise

    try:
        # One quick question first: a store that is silent is told within the time of one answer.
        if in_time(is_file, address):
            names, root = [inner], inner.rpartition("/")[0]
        elif "*" in inner:
            names = sorted(in_time(lambda: files.glob(inner), address, LISTING_SECONDS))
            root = inner.split("*")[0].rpartition("/")[0]
        else:
            names, root = sorted(in_time(lambda: files.find(inner), address, LISTING_SECONDS)), inner
    except InputError:
        raise
    except Exception as error:
        raise unreadable(error, address) from error
    if not names:
        raise InputError("there is nothing", code="missing", where=address)
    for name in names:
        full = files.unstrip_protocol(name)
        relative = PurePath(*PurePosixPath(name.removeprefix(root)).parts) if name != root else PurePath(name)
        if len(names) > 1 and PurePosixPath(name).suffix.lower() in NO_IMAGES:
            passed_over.append(PassedOverError("holds no image, by its name", code="no_image", where=full))
        else:
            yield Place(full, "url", full), PurePath(*(part for part in relative.parts if part != "/"))


def _zip_members(path: Path) -> Iterator[tuple[Place, str]]:
    try:
        infos = _archive(str(path)).infolist()
    except _BROKEN as error:
        raise InputError("the archive is damaged or cut short", code="damaged", where=path) from error
    for info in infos:
        # A nameless member is none that anybody could name again; `is_dir` fails on it.
        if info.filename and not info.is_dir():
            yield Place(f"{path}/{info.filename}", "zip", str(path), info.filename), info.filename


def _tar_members(path: Path) -> Iterator[tuple[Place, str]]:
    try:
        with tarfile.open(path, "r:", tarinfo=_TarInfo) as tar:
            last = -1
            for info in tar:
                # A size below zero, as an extended header may give it, leads back to members that came before.
                if info.offset <= last or info.size < 0:
                    raise tarfile.ReadError
                last = info.offset
                if info.isreg():
                    where = f"{info.offset_data} {info.size}"
                    yield Place(f"{path}/{info.name}", "tar", str(path), where), info.name
    except (tarfile.TarError, *_BROKEN) as error:
        with path.open("rb") as file:
            packed = file.read(2) in (b"\x1f\x8b", b"\xfd7", b"BZ")
        raise InputError(
            "a compressed tar is not supported" if packed else "the archive is damaged or cut short",
            code="unsupported" if packed else "damaged",
            where=path,
            hint="Uncompress it, to a plain .tar or a folder" if packed else None,
        ) from error


class _TarInfo(tarfile.TarInfo):
    """A header of a tar file that cannot take the memory or lead back."""

    @classmethod
    def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
        info = super().frombuf(buf, encoding, errors)
        long = (tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_LONGLINK, tarfile.XHDTYPE, tarfile.XGLTYPE, b"X")
        if info.size < 0 or (info.type in long and info.size > LONGEST_HEADER):
            raise tarfile.ReadError
        return info


@functools.lru_cache(maxsize=4)
def _archive(path: str) -> zipfile.ZipFile:
    # Kept open: reading its directory for each member would take longer than the member. Reading is safe in threads.
    return zipfile.ZipFile(path)
