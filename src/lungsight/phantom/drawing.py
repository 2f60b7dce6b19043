"""One drawn X-ray."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lungsight.errors import DataError
from lungsight.phantom.anatomy import draw_chest
from lungsight.phantom.disease import FINDINGS, opacity
from lungsight.phantom.film import HOSPITALS, devices, expose, finish
from lungsight.phantom.person import Body, Pose


@dataclass(frozen=True, slots=True)
class Phantom:
    """A drawn X-ray and the truth about it."""

    pixels: NDArray[np.uint8]
    """(H, W), bone bright."""
    right: NDArray[np.bool_]
    """(H, W), the patient's right lung (on the left of the picture), the part behind the heart included."""
    left: NDArray[np.bool_]
    """(H, W), the patient's left lung."""
    hospital: str
    finding: str
    view: str
    """'AP' or 'PA'."""
    body: Body

    @property
    def mask(self) -> NDArray[np.bool_]:
        """Both lungs, (H, W)."""
        return self.right | self.left

    @property
    def covid(self) -> bool:
        """Whether the finding is COVID-19."""
        return self.finding == "COVID-19"


def draw(
    rng: np.random.Generator,
    *,
    hospital: str,
    covid: bool,
    size: int = 256,
    finding: str | None = None,
    body: Body | None = None,
    view: str | None = None,
) -> Phantom:
    """Draw one frontal chest X-ray.

    Chest, finding and film each have their own stream of chance, so that the same generator state with another
    finding or hospital gives the same chest.

    Args:
        rng: the source of chance; equal states give equal pictures.
        hospital: 'north' or 'south'.
        covid: draw COVID-19 opacities.
        size: side in pixels, from 64.
        finding: one of `FINDINGS`, for lungs without COVID-19; 'normal' when absent.
        body: the person; a new one when absent.
        view: 'AP' or 'PA'; either when absent.

    Raises:
        DataError: an unknown hospital or finding, a finding that contradicts `covid`, or a size below 64.
    """
    finding = finding or ("COVID-19" if covid else "normal")
    if hospital not in HOSPITALS:
        raise DataError(f"there is no hospital {hospital!r}", hint=f"Known: {', '.join(HOSPITALS)}")
    if finding not in FINDINGS or covid != (finding == "COVID-19"):
        raise DataError(
            f"the finding {finding!r} does not go with covid={covid}", hint=f"Known: {', '.join(FINDINGS)}"
        )
    if size < 64:
        raise DataError(f"a phantom of {size} pixels is too small to draw", hint="Take a size of 64 or more")
    for_person, for_chest, for_finding, for_film, for_marks = rng.spawn(5)
    body = body or Body.sample(for_person)
    view = view or str(for_person.choice(["AP", "PA"]))
    chest = draw_chest(for_chest, body, Pose.sample(for_chest, body, view), size)
    attenuation = chest.attenuation + opacity(for_finding, chest, finding)
    attenuation += devices(for_marks, chest)
    right, left = chest.masks
    film = expose(for_film, attenuation, HOSPITALS[hospital])
    pixels = finish(for_marks, film, right | left, hospital, view)
    return Phantom(pixels, right, left, hospital, finding, view, body)
