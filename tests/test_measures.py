"""Zones and the cardiothoracic ratio, on masks whose answer is known by construction."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from lungsight import load_model
from lungsight.dataset import read_dataset
from lungsight.evaluation.bland_altman import bland_altman
from lungsight.inference.drawing import Measures, overlay
from lungsight.inference.heart import (
    Width,
    cardiothoracic,
    largest_component,
    ratio_of,
)
from lungsight.inference.result import note_of
from lungsight.inference.severity import can_grade
from lungsight.inference.zones import MIN_ROWS, ZONES, zone_areas, zone_lines, zones
from lungsight.wording import Flag, RatioDoubt, RatioNote, Status
from lungsight.xray import read_xray


def chest(height: int = 90, width: int = 100) -> np.ndarray:
    """Right lung: columns 10 to 40, rows 15 to 75; left lung: columns 60 to 85, rows 20 to 80."""
    labels = np.zeros((height, width), np.uint8)
    labels[15:75, 10:40] = 1
    labels[20:80, 60:85] = 2
    return labels


def test_each_lung_is_cut_into_thirds_of_its_own_height() -> None:
    found = zones(chest())
    assert [int(found[row, 20]) for row in (15, 34, 35, 54, 55, 74)] == [1, 1, 2, 2, 3, 3]
    assert [int(found[row, 70]) for row in (20, 39, 40, 59, 60, 79)] == [4, 4, 5, 5, 6, 6]
    assert zone_areas(chest()) == (600, 600, 600, 500, 500, 500)
    assert (found > 0).sum() == (chest() > 0).sum() and len(ZONES) == 6


def test_a_line_between_two_rows_leaves_the_upper_one_to_the_zone_above() -> None:
    labels = np.zeros((90, 30), np.uint8)
    labels[10:71, 5:9] = 1  # 61 rows: the lines lie at 30.33 and 50.67
    found = zones(labels)
    assert [int(found[row, 6]) for row in (9, 10, 30, 31, 50, 51, 70, 71)] == [0, 1, 1, 2, 2, 3, 3, 0]
    assert not found[:, 9:].any() and not found[:, :5].any()


def test_a_lung_that_is_absent_or_too_small_has_no_zones() -> None:
    labels = chest()
    labels[labels == 2] = 0
    assert set(np.unique(zones(labels))) == {0, 1, 2, 3} and zone_areas(labels) == (600, 600, 600, 0, 0, 0)
    lung = np.zeros((30, 30), bool)
    lung[3 : 3 + MIN_ROWS - 1, 4:9] = True
    assert zone_lines(lung) is None
    lung[3 + MIN_ROWS - 1, 4:9] = True
    assert zone_lines(lung) == (3, 5, 7, 9)


def test_the_ratio_is_the_widest_heart_over_the_widest_chest() -> None:
    heart = np.zeros((90, 100), bool)
    heart[50:70, 38:50] = True  # the right border, low
    heart[45:65, 50:68] = True  # the left border, higher
    found = cardiothoracic(heart, chest())
    assert found is not None
    assert (found.heart.start, found.heart.stop) == (38, 68)
    assert (found.chest.start, found.chest.stop) == (10, 85)
    assert 20 <= found.chest.row < 75
    assert found.heart.row == 50, "drawn where one row is widest"
    assert found.ratio == pytest.approx(30 / 75)


def test_specks_do_not_widen_the_heart() -> None:
    heart = np.zeros((90, 100), bool)
    heart[45:70, 35:60] = True
    heart[5, 95] = True
    assert largest_component(heart).sum() == 25 * 25
    found = cardiothoracic(heart, chest())
    assert found is not None and found.heart.pixels == 25


@pytest.mark.parametrize(
    "case", ["no heart", "speck", "no lungs", "one lung", "lung cut", "wider", "outside"]
)
def test_no_ratio_where_it_would_mean_nothing(case: str) -> None:
    labels, heart = chest(), np.zeros((90, 100), bool)
    heart[45:70, 35:60] = True
    if case == "no heart":
        heart[:] = False
    elif case == "speck":
        heart[:] = False
        heart[50:55, 50:55] = True
    elif case == "no lungs":
        labels[:] = 0
    elif case == "one lung":
        labels[labels == 1] = 0
    elif case == "lung cut":
        labels[:, 72:] = 0  # 12 x 60 left of 30 x 60
    elif case == "wider":
        heart[45:70, 5:95] = True
    else:
        heart[45:70, 60:92] = True
    assert cardiothoracic(heart, labels) is None


def test_half_a_lung_is_the_least() -> None:
    labels, heart = chest(), np.zeros((90, 100), bool)
    heart[45:70, 35:60] = True
    labels[:, 75:] = 0  # 15 x 60 = 900 beside 1,800: just enough
    assert cardiothoracic(heart, labels) is not None
    labels[79, 74] = 0
    assert cardiothoracic(heart, labels) is None


@pytest.mark.parametrize(("width", "given"), [(23, True), (22, False), (60, True), (61, False)])
def test_only_plausible_ratios_are_given(width: int, given: bool) -> None:
    """The chest is 75 pixels wide: 22.5 is 0.3 of it, 60 is 0.8."""
    heart = np.zeros((90, 100), bool)
    heart[45:70, 15 : 15 + width] = True
    assert (cardiothoracic(heart, chest()) is not None) is given


def test_a_squashed_picture_does_not_make_lungs_short() -> None:
    """The taller lung is 60 rows and the chest 75 columns: 0.8, and 0.73 where a pixel is less high than wide."""
    heart = np.zeros((90, 100), bool)
    heart[45:70, 35:60] = True
    assert [
        found.doubts if (found := cardiothoracic(heart, chest(), aspect)) else None
        for aspect in (1.0, 0.93, 0.91)
    ] == [(), (), (RatioDoubt.SHALLOW_BREATH,)]


def test_one_wide_lung_is_told() -> None:
    labels, heart = chest(), np.zeros((90, 100), bool)
    heart[45:70, 35:60] = True
    labels[:, 80:] = 0  # 20 wide beside 30
    found = cardiothoracic(heart, labels)
    assert found is not None and RatioDoubt.TURNED in found.doubts


def test_lungs_are_compared_halfway_up() -> None:
    """Triangles with the apex up: the right one is 2 to 60 wide, the left 1 to 45, and both stand on one row."""
    labels, heart = np.zeros((100, 140), np.uint8), np.zeros((100, 140), bool)
    for row in range(60):
        labels[20 + row, 5 : 5 + 1 + row] = 1
        labels[20 + row, 135 - (1 + row * 3 // 4) : 135] = 2
    heart[50:80, 50:90] = True
    found = cardiothoracic(heart, labels)
    assert found is not None and found.doubts == (RatioDoubt.SHALLOW_BREATH,)  # 30 beside 22 halfway up: 1.36
    labels[20 + 29, 135 - 22 :] = 0
    labels[20 + 29, 135 - 21 : 135] = 2  # 30 beside 21: 1.43, on this row alone
    found = cardiothoracic(heart, labels)
    assert found is not None and RatioDoubt.TURNED in found.doubts


@pytest.mark.parametrize(("narrower", "turned"), [(20, False), (19, True)])
def test_uneven_means_more_than_the_limit(narrower: int, turned: bool) -> None:
    labels, heart = chest(), np.zeros((90, 100), bool)
    heart[45:70, 35:60] = True
    labels[labels == 1] = 0
    labels[15:75, 10:38] = 1  # 28 wide: 1.4 times 20
    labels[:, 60 + narrower :] = 0
    found = cardiothoracic(heart, labels)
    assert found is not None and (RatioDoubt.TURNED in found.doubts) is turned


def test_the_shape_of_a_pixel_reaches_the_doubts() -> None:
    heart = np.zeros((90, 100), np.float32)
    heart[45:70, 35:60] = 1
    found = [ratio_of(heart, chest(), True, aspect=aspect) for aspect in (1.0, 0.91)]
    assert [one.doubts if one else None for one in found] == [(), (RatioDoubt.SHALLOW_BREATH,)]


@pytest.mark.parametrize(("start", "stop"), [(10, 40), (55, 85)])
def test_a_heart_may_reach_the_chest_s_edge_and_no_further(start: int, stop: int) -> None:
    heart = np.zeros((90, 100), bool)
    heart[45:70, start:stop] = True
    assert cardiothoracic(heart, chest()) is not None
    step = -1 if start == 10 else 1
    assert cardiothoracic(np.roll(heart, step, axis=1), chest()) is None


def test_a_heart_of_a_hundredth_of_the_image_is_the_least() -> None:
    labels, heart = np.zeros((100, 100), np.uint8), np.zeros((100, 100), bool)
    labels[20:80, 30:42], labels[20:80, 48:60] = 1, 2  # a chest of 30 columns
    heart[60:70, 40:50] = True  # 100 of 10,000 pixels
    assert cardiothoracic(heart, labels) is not None
    heart[60, 44] = False
    assert cardiothoracic(heart, labels) is None


def test_zones_and_widths_are_drawn_where_they_lie() -> None:
    """Shades follow the scores, lines lie on their rows; nothing is drawn outside but the chest's ends."""
    labels = chest()
    widths = (0.4, Width(50, 35, 65), Width(60, 10, 85), (90, 100))
    grey = np.full(labels.shape, 100, np.uint8)
    plain = overlay(grey, labels, alpha=0.1, thickness=1, measures=Measures(has_zones=False))
    shaded = overlay(grey, labels, alpha=0.1, thickness=1, measures=Measures(severity=(0, 3, 1, 0, 0, 3)))
    red = shaded[..., 0].astype(int) - shaded[..., 1]
    middles = [int(np.median(red[zones(labels) == number])) for number in range(1, 7)]
    assert middles[0] == middles[3] == middles[4] == 0 and middles[1] == middles[5] > 2 * middles[2] > 0
    lines = overlay(grey, labels, alpha=0, thickness=1, measures=Measures())
    white = (lines > 200).all(axis=2)
    assert np.flatnonzero(white.sum(axis=1) > 15).tolist() == [35, 40, 55, 60]
    drawn = overlay(grey, labels, alpha=0.1, thickness=1, measures=Measures(has_zones=False, ratio=widths))
    differs = (drawn != plain).any(axis=2)
    assert differs[60, 10:85].all() and differs[50, 35:65].all() and not differs[70:].any()


@pytest.mark.parametrize(
    "flag",
    [Flag.AT_EDGE, Flag.ONE_LUNG, Flag.MANY_COMPONENTS, Flag.UPSIDE_DOWN, Flag.INVERTED, Flag.NO_LUNGS],
)
def test_a_cut_film_or_one_lung_gives_neither_ratio_nor_severity(flag: Flag) -> None:
    heart = np.zeros((90, 100), np.float32)
    heart[45:70, 35:60] = 1
    assert ratio_of(heart, chest(), True) is not None and can_grade(())
    assert ratio_of(heart, chest(), True, (flag,)) is None
    assert not can_grade((flag,))


def test_a_strip_along_the_diaphragm_is_no_heart() -> None:
    heart = np.zeros((90, 100), bool)
    heart[54:65, 35:60] = True
    heart[45:54, 35:36] = True  # a bounding box of 500 pixels
    heart[54, 40:49] = False  # of which 275 are heart, 0.55
    assert cardiothoracic(heart, chest()) is not None
    heart[54, 49] = False
    assert cardiothoracic(heart, chest()) is None


def test_heart_begins_at_the_threshold_of_the_card() -> None:
    heart = np.zeros((90, 100), np.float32)
    heart[45:70, 35:60] = 0.25
    heart[45:70, 60:65] = 0.2  # five columns more from a threshold of 0.2 on
    assert ratio_of(heart, chest(), True) is None
    found = [ratio_of(heart, chest(), True, threshold=at) for at in (0.2, 0.21)]
    assert [one.heart.pixels if one else 0 for one in found] == [30, 25]


def test_what_is_no_frontal_film_gives_no_ratio() -> None:
    heart = np.zeros((90, 100), np.float32)
    heart[45:70, 35:60] = 1
    assert ratio_of(heart, chest(), False) is None and ratio_of(None, chest(), True) is None


@pytest.mark.parametrize(
    ("view", "note"),
    [
        ("PA", None),
        ("AP", RatioNote.MAGNIFIED),
        ("AP Supine", RatioNote.MAGNIFIED),
        ("", RatioNote.VIEW_UNKNOWN),
    ],
)
def test_a_film_from_the_front_is_said_to_magnify_the_heart(view: str, note: RatioNote | None) -> None:
    assert note_of(view) is note


def test_bland_altman_by_hand() -> None:
    """Errors -1, 0, 1 and 2: mean 0.5, standard deviation 1.290994."""
    found = bland_altman(np.array([0.0, 1, 2, 3]), np.ones(4))
    assert (found.items, found.mean_error, found.mean_absolute_error, found.largest) == (4, 0.5, 1.0, 2.0)
    assert found.lower == pytest.approx(0.5 - 1.96 * 1.290994, abs=1e-5)
    assert found.upper == pytest.approx(0.5 + 1.96 * 1.290994, abs=1e-5)
    assert -1 <= found.error_low < 0.5 < found.error_high <= 2
    with pytest.raises(ValueError, match="two measurements"):
        bland_altman(np.ones(1), np.ones(1))


@pytest.mark.real_data
def test_real_films_that_show_no_two_whole_lungs_get_neither_severity_nor_ratio(
    v7_manifest: Path, darwin_sample: Path
) -> None:
    """Lateral views, one lung alone, and films without their upper third; the whole films get a severity."""
    model = load_model(threads=1)
    laterals = [
        one.image
        for one in read_dataset(darwin_sample).excluded
        if "lateral view" in one.reason and one.image
    ]
    films = [row.image for row in read_dataset(v7_manifest) if row.source == "ieee8023"][::90][:5]
    whole = [read_xray(path).pixels for path in films]
    one_lung, no_apex = [film[:, :120] for film in whole], [film[80:] for film in whole]
    assert len(laterals) == 3 and len(films) == 5
    for source in (*laterals, *one_lung, *no_apex):
        result = model(source)
        assert result.severity is None and result.ratio is None
    assert all(model(path).status is Status.REFUSED for path in laterals)
    graded = [one for film in whole if (one := model(film).severity)]
    assert len(graded) >= 4 and all(one.low is not None and one.low < one.total for one in graded)


@pytest.mark.real_data
def test_children_are_read_and_mostly_get_no_ratio(v7_manifest: Path) -> None:
    """The heart was learned from adults: on most children's films it is found in part, and there is no ratio."""
    model = load_model(threads=1)
    films = [row.image for row in read_dataset(v7_manifest) if row.source == "kermany"][::640]
    results = [model(path) for path in films]
    assert all(result.status is Status.OK and result.severity is not None for result in results)
    assert sum(result.ratio is None for result in results) > len(results) / 2
