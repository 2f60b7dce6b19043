"""What tables and DICOM headers call a projection -> one code.

The spelling itself can tell a class: in one public set 'AP Supine' is never COVID-19 and 'AP_Supine' always. So every
reader, of tables and of DICOM headers, gives the code of this module and never the text.
"""

from __future__ import annotations

import itertools
import re

from lungsight.wording import View

FRONTAL = frozenset({View.PA, View.AP, View.AP_SUPINE, View.AP_ERECT, View.FRONTAL})
SLICES = frozenset({View.AXIAL, View.CORONAL, View.SAGITTAL})

_UNKNOWN = frozenset(
    {"", "unknown", "unk", "nan", "none", "null", "na", "n a", "not given", "unspecified", "todo"}
)
_LYING = frozenset({"supine", "horizontal", "recumbent", "lying"})
_ERECT = frozenset({"erect", "semierect", "upright", "semiupright", "standing", "sitting", "seated", "stand"})
_DECUBITUS = frozenset({"decubitus", "lld", "rld", "lateraldecubitus"})
_LATERAL = frozenset(
    {"l", "ll", "rl", "lat", "lateral", "llat", "rlat", "laterolateral", "swimmers", "xtable"}
)
_OBLIQUE = frozenset({"oblique", "obl", "lao", "rao", "lpo", "rpo", "llo", "rlo"})
_SLICE = {"axial": View.AXIAL, "coronal": View.CORONAL, "sagittal": View.SAGITTAL, "transverse": View.AXIAL}
_PA = frozenset({"pa", "posteroanterior", "posterioranterior"})
_AP = frozenset({"ap", "anteroposterior", "anteriorposterior"})

VIEW_CODE_VALUES: dict[str, View] = {
    **dict.fromkeys(("272479007", "R-40888", "R-10214"), View.PA),
    **dict.fromkeys(("399348003", "R-10206"), View.AP),
    **dict.fromkeys(("399033003", "R-10202"), View.FRONTAL),
    **dict.fromkeys(("399173006", "R-10236", "399198007", "R-10232", "399067008", "R-102CD"), View.LATERAL),
    **dict.fromkeys(("399260004", "R-10224", "399352003", "R-10228"), View.LATERAL),
    **dict.fromkeys(("399182000", "R-102C1", "399312000", "R-10208", "399059000", "R-10216"), View.OBLIQUE),
    **dict.fromkeys(("399135007", "R-10220", "399356000", "R-40985", "R-10218"), View.OBLIQUE),
    **dict.fromkeys(("399006002", "R-10212", "399038007", "R-10210", "399160007", "R-10204"), View.OBLIQUE),
    **dict.fromkeys(("399184004", "R-10238", "399236003", "R-10234", "260427002", "R-40783"), View.OBLIQUE),
    "399061009": View.AXIAL,
    "R-10241": View.AXIAL,
    "30730003": View.SAGITTAL,
    "G-A145": View.SAGITTAL,
}
"""Code values of ViewCodeSequence (DICOM PS3.16 CID 4010), SNOMED CT and the older SNOMED RT."""


def view_code(text: str) -> View | None:
    """The code of a projection's name, such as 'AP Supine', 'AP_horizontal', 'RL', 'Lateral', 'vp-pa'.

    Case, blanks, '_', '-', '/' and '.' do not matter. `portable` and `bedside` say where, not how, and count for
    nothing.

    Args:
        text: as a table or a header has it.

    Returns:
        None where nothing is said ('', 'Unknown', 'nan'); `View.OTHER` for a name that is not known.
    """
    words = [word for word in re.split(r"[\s_\-/.,;:()\[\]\\]+", text.strip().lower()) if word]
    if " ".join(words) in _UNKNOWN:
        return None
    found = set(words)
    # 'semi erect', 'postero-anterior' and 'left lateral' are written as one word or as two.
    found |= {first + second for first, second in itertools.pairwise(words)}
    if found & _DECUBITUS:
        return View.DECUBITUS
    if found & _OBLIQUE:
        return View.OBLIQUE
    frontal = bool(found & _PA), bool(found & _AP)
    if found & _LATERAL and not any(frontal):
        return View.LATERAL
    if frontal[0] and not frontal[1]:
        return View.PA
    if frontal[1] and not frontal[0]:
        return View.AP_SUPINE if found & _LYING else View.AP_ERECT if found & _ERECT else View.AP
    for word, view in _SLICE.items():
        if word in found:
            return view
    if found & {"frontal", "front", "f"}:
        return View.FRONTAL
    return View.OTHER


def is_frontal(view: str) -> bool:
    """Whether a view's code is a frontal one; an empty one, where nothing is said, counts as frontal."""
    return not view or view in FRONTAL
