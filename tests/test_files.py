"""Files are written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path

import numpy as np
import pytest

from lungsight.errors import OutputError
from lungsight.files import atomic_write, write_bytes, write_json, write_text


def test_writes_and_makes_the_folder(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "c.txt"
    write_text(path, "ü")
    assert path.read_bytes() == "ü".encode()
    assert [item.name for item in path.parent.iterdir()] == ["c.txt"]
    assert path.stat().st_mode & 0o777 == 0o666 & ~_umask()


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_an_error_in_the_middle_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(RuntimeError), atomic_write(path) as temporary:
        temporary.write_text("half")
        raise RuntimeError
    assert path.read_text() == "old"
    assert [item.name for item in tmp_path.iterdir()] == ["a.txt"]


def test_a_full_disk_is_an_output_error_and_keeps_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.txt"
    write_text(path, "old")
    with pytest.raises(OutputError, match="no space left") as caught, atomic_write(path):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert caught.value.where == str(path) and caught.value.hint
    assert path.read_text() == "old"


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_device_that_is_really_full(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="no space left"), atomic_write(tmp_path / "a"):
        Path("/dev/full").write_text("x")


def test_a_folder_or_file_in_the_way(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    with pytest.raises(OutputError, match="folder: cannot be written"):
        write_bytes(tmp_path / "folder", b"")
    write_text(tmp_path / "file", "")
    with pytest.raises(OutputError, match="cannot be written"):
        write_bytes(tmp_path / "file" / "below", b"")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write everywhere")
def test_no_permission(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="permission denied"):
            write_text(tmp_path / "a", "")
    finally:
        tmp_path.chmod(0o700)


def test_json_takes_arrays_paths_and_what_json_has_no_word_for(tmp_path: Path) -> None:
    value = {
        "a": np.float32(0.5),
        "b": np.arange(2),
        "c": float("nan"),
        "d": (Path("x"), float("inf")),
        1: "ü",
    }
    write_json(tmp_path / "a.json", value)
    expected = {"a": 0.5, "b": [0, 1], "c": None, "d": ["x", None], "1": "ü"}
    assert json.loads((tmp_path / "a.json").read_text("utf-8")) == expected
