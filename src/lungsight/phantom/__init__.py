"""Drawn chest X-rays with exact lung masks, so that everything can be tried with no download.

Two made-up hospitals and several findings: how far the hospital gives the finding away is a setting, so that a
shortcut can be planted and found. Only NumPy and OpenCV; no real image went into it.
"""

from lungsight.phantom.collection import write_phantoms
from lungsight.phantom.disease import FINDINGS
from lungsight.phantom.drawing import Phantom, draw
from lungsight.phantom.film import HOSPITALS
from lungsight.phantom.person import Body

__all__ = ["FINDINGS", "HOSPITALS", "Body", "Phantom", "draw", "write_phantoms"]
