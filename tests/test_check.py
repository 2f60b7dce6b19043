"""`lungsight check`: does an installation give what it should?"""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from command import lungsight
from lungsight.inference import selfcheck
from lungsight.model import save
from tiny_networks import lungs_card, lungs_onnx, write_bundle


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Tiny networks with what they give kept beside them."""
    write_bundle(tmp_path, "lungs", "gate")
    selfcheck.write_expected(tmp_path)
    return tmp_path


def test_the_same_networks_give_the_same_masks(folder: Path) -> None:
    found = selfcheck.check(folder, threads=1)
    assert len(found) == 2 * len(selfcheck.DRAWN)
    assert all(one.passed and one.dice == 1 for one in found)
    assert {one.marked for one in found} == {"gate", "full"}


def test_another_mask_is_told(folder: Path) -> None:
    kept = folder / selfcheck.NAME
    table = json.loads(kept.read_text())
    first, second = table["cases"][0]["masks"], table["cases"][1]["masks"]
    first["full"], second["full"] = second["full"], first["full"]
    table["cases"][2]["frontal"] = not table["cases"][2]["frontal"]
    kept.write_text(json.dumps(table))
    wrong = [(one.case, one.marked) for one in selfcheck.check(folder) if not one.passed]
    assert wrong == [("north 11", "full"), ("north 12", "full"), ("south 13", "gate")]
    done = lungsight("check", "--model", folder)
    assert done.code == 1
    assert "5 of 8 as they should be" in done.out


def test_other_networks_are_not_judged_by_what_was_kept(folder: Path) -> None:
    save(folder, lungs_card(version="2"), lungs_onnx() + b"\x1a\x00")
    done = lungsight("check", "--model", folder)
    assert done.code == 2
    assert "was written with other networks" in done.err


@pytest.mark.parametrize("damage", ["not base64!", "AAAA"])
def test_a_damaged_file_is_one_line(folder: Path, damage: str) -> None:
    kept = folder / selfcheck.NAME
    table = json.loads(kept.read_text())
    table["cases"][0]["masks"]["full"] = damage
    kept.write_text(json.dumps(table))
    done = lungsight("check", "--model", folder)
    assert done.code == 2
    assert "a mask in it is damaged" in done.err


def test_without_anything_kept_it_says_how(tmp_path: Path) -> None:
    write_bundle(tmp_path, "lungs")
    done = lungsight("check", "--model", tmp_path)
    assert done.code == 2
    assert "lungsight check --write" in done.err
    assert lungsight("check", "--model", tmp_path, "--write").code == 0
    assert lungsight("check", "--model", tmp_path).code == 0
