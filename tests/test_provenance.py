"""Where a result came from."""

from __future__ import annotations

import datetime
import json
import subprocess
from pathlib import Path

import pytest

from lungsight import __version__, provenance


def test_it_says_all_that_is_needed_to_do_it_again() -> None:
    before = datetime.datetime.now(datetime.UTC).replace(microsecond=0)  # it says whole seconds
    found = provenance.describe(seed=7, data="abc", command="lungsight train x")
    assert found["lungsight"] == __version__
    assert (found["seed"], found["data_fingerprint"], found["command"]) == (7, "abc", "lungsight train x")
    assert {"numpy", "onnxruntime"} <= set(found["libraries"])
    assert found["machine"]["cores"] >= 1
    created = datetime.datetime.fromisoformat(found["created"])
    assert before <= created <= datetime.datetime.now(datetime.UTC)
    assert json.loads(json.dumps(found)) == found


def git(folder: Path, *arguments: str) -> str:
    identity = ("-c", "user.name=t", "-c", "user.email=t@t")
    return subprocess.run(
        ["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_the_commit_tells_changes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "provenance.py"
    file.write_text("1")
    monkeypatch.setattr(provenance, "__file__", str(file))
    assert provenance.commit() == ""
    git(tmp_path, "init", "-q")
    git(tmp_path, "add", "provenance.py")
    git(tmp_path, "commit", "-q", "-m", "one")
    head = git(tmp_path, "rev-parse", "HEAD")
    assert provenance.commit() == head
    (tmp_path / "untracked.txt").write_text("")
    assert provenance.commit() == head
    file.write_text("2")
    assert provenance.commit() == head + "+"


def test_a_package_inside_another_checkout_is_not_given_its_commit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An installed copy in a virtual environment under someone's repository is not of that repository."""
    git(tmp_path, "init", "-q")
    (tmp_path / "theirs.txt").write_text("1")
    git(tmp_path, "add", "theirs.txt")
    git(tmp_path, "commit", "-q", "-m", "theirs")
    installed = tmp_path / ".venv" / "lungsight" / "provenance.py"
    installed.parent.mkdir(parents=True)
    installed.write_text("1")
    monkeypatch.setattr(provenance, "__file__", str(installed))
    assert provenance.commit() == ""


def test_without_git_there_is_no_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert provenance.commit() == ""
