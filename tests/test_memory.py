"""What a training on a CPU tells glibc; what that brings is measured by `benchmarks/budget.py --wide`."""

from __future__ import annotations

import sys

import pytest

pytest.importorskip("torch")

from lungsight.training import memory

TRIM_THRESHOLD, MMAP_MAX = -1, -4  # as in glibc's malloc.h
KEEP = [("mallopt", MMAP_MAX, 0), ("mallopt", TRIM_THRESHOLD, -1)]
GIVE_BACK = [("mallopt", MMAP_MAX, 65536), ("mallopt", TRIM_THRESHOLD, 131072), ("malloc_trim", 0)]


class Told:
    """In place of glibc: keeps what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[str | int, ...]] = []

    def mallopt(self, what: int, value: int) -> None:
        self.calls.append(("mallopt", what, value))

    def malloc_trim(self, pad: int) -> None:
        self.calls.append(("malloc_trim", pad))


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> Told:
    libc = Told()
    monkeypatch.setattr(memory, "_glibc", lambda: libc)
    return libc


def test_memory_is_kept_within_and_given_back_at_the_end(told: Told) -> None:
    with memory.kept_memory("cpu"):
        assert told.calls == KEEP
    assert told.calls == KEEP + GIVE_BACK


def test_it_is_given_back_after_an_error(told: Told) -> None:
    with pytest.raises(KeyError), memory.kept_memory("cpu"):
        raise KeyError
    assert told.calls == KEEP + GIVE_BACK


def test_another_processor_changes_nothing(told: Told) -> None:
    with memory.kept_memory("cuda"):
        pass
    assert not told.calls


def test_without_glibc_nothing_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "darwin")
    with memory.kept_memory("cpu"):
        pass


@pytest.mark.skipif(memory._glibc() is None, reason="there is no glibc here")
def test_glibc_takes_each_setting() -> None:
    libc = memory._glibc()
    assert libc is not None
    # mallopt answers 1 for a setting that it knows.
    assert [libc.mallopt(MMAP_MAX, 65536), libc.mallopt(TRIM_THRESHOLD, 131072)] == [1, 1]
