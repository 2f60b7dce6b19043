"""Memory that a training on a CPU keeps: pages that Linux gives anew are counted."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

torch = pytest.importorskip("torch")

from lungsight.training.memory import _glibc, kept_memory  # noqa: E402

if _glibc() is None:
    pytest.skip("only glibc hands large blocks back", allow_module_level=True)

PAGES = 16_000  # of 4 KiB: a tensor of 64 MB; glibc keeps up to 32 MB by itself


def faults() -> int:
    """Pages that a tensor asks for which is made, filled and freed ten times."""
    torch.ones(PAGES * 1024)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        torch.ones(PAGES * 1024)
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before


def test_a_tensor_takes_the_pages_of_the_one_before() -> None:
    script = (
        "from tests.test_memory import faults, kept_memory\n"
        "before = faults()\n"
        "with kept_memory('cpu'):\n    inside = faults()\n"
        "print(before, inside, faults())"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    before, inside, after = map(int, ran.stdout.split())
    assert before >= 10 * PAGES
    assert inside <= 2 * PAGES  # the first ones
    assert after >= 10 * PAGES


def test_pages_are_given_back_after_an_error() -> None:
    with pytest.raises(KeyError), kept_memory("cpu"):
        raise KeyError
    assert faults() >= 10 * PAGES


def test_another_processor_changes_nothing() -> None:
    with kept_memory("cuda"):
        assert faults() >= 10 * PAGES
