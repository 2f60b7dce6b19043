"""Codes, and the one place where they become English.

Tables, JSON and the API hold codes; people read the words of `WORDS`. The page gets the same words as JSON
(`words()`), so that no text can be missing there. A code is never parsed out of a sentence.
"""

from __future__ import annotations

from enum import StrEnum


class Flag(StrEnum):
    """What is implausible about the lungs that were found."""

    NO_LUNGS = "no_lungs"
    ONE_LUNG = "one_lung"
    ASYMMETRIC = "asymmetric"
    SMALL = "small"
    LARGE = "large"
    AT_EDGE = "at_edge"
    MANY_COMPONENTS = "many_components"
    UPSIDE_DOWN = "upside_down"
    INVERTED = "inverted"


class Decision(StrEnum):
    """The answer about COVID-19."""

    COVID = "covid"
    NOT_COVID = "not_covid"
    UNCERTAIN = "uncertain"
    NOT_SCORED = "not_scored"


class GateClass(StrEnum):
    """What the gate network takes an image for; the order is that of its output."""

    FRONTAL = "frontal"
    UPSIDE_DOWN = "upside_down"
    ON_ITS_SIDE = "on_its_side"
    LATERAL_VIEW = "lateral_view"
    CT_SLICE = "ct_slice"
    NOT_A_CHEST_XRAY = "not_a_chest_xray"


class Reason(StrEnum):
    """Why an image is not scored."""

    NO_LUNGS = "no_lungs"
    UPSIDE_DOWN = "upside_down"
    ON_ITS_SIDE = "on_its_side"
    LATERAL_VIEW = "lateral_view"
    CT_SLICE = "ct_slice"
    NOT_A_CHEST_XRAY = "not_a_chest_xray"
    BLANK = "blank"
    SHAPE = "shape"
    HEADER_LATERAL = "header_lateral"
    NO_NETWORK = "no_network"


class Status(StrEnum):
    """What became of an input."""

    OK = "ok"
    REFUSED = "refused"
    PASSED_OVER = "passed_over"
    FAILED = "failed"


class Part(StrEnum):
    """Parts of a split."""

    TRAIN = "train"
    VALIDATION = "validation"
    TEST = "test"


class View(StrEnum):
    """The projection of an X-ray, whatever a table or a header calls it."""

    PA = "PA"
    AP = "AP"
    AP_SUPINE = "AP_supine"
    AP_ERECT = "AP_erect"
    FRONTAL = "frontal"
    LATERAL = "lateral"
    OBLIQUE = "oblique"
    DECUBITUS = "decubitus"
    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"
    OTHER = "other"


OLD_GATE_CLASSES: dict[str, str] = {
    "upside down": GateClass.UPSIDE_DOWN,
    "on its side": GateClass.ON_ITS_SIDE,
    "lateral view": GateClass.LATERAL_VIEW,
    "CT slice": GateClass.CT_SLICE,
    "no chest X-ray": GateClass.NOT_A_CHEST_XRAY,
}
"""Names in cards that were written before."""

WORDS: dict[type[StrEnum], dict[str, str]] = {
    Flag: {
        Flag.NO_LUNGS: "no lungs found",
        Flag.ONE_LUNG: "only one lung found",
        Flag.ASYMMETRIC: "one lung is much smaller than the other",
        Flag.SMALL: "the lungs are implausibly small",
        Flag.LARGE: "the lungs are implausibly large",
        Flag.AT_EDGE: "the lungs are cut off by the edge of the image",
        Flag.MANY_COMPONENTS: "the lungs are in many pieces",
        Flag.UPSIDE_DOWN: "the image looks upside down",
        Flag.INVERTED: "the grey levels look inverted",
    },
    Decision: {
        Decision.COVID: "COVID-19",
        Decision.NOT_COVID: "not COVID-19",
        Decision.UNCERTAIN: "cannot tell",
        Decision.NOT_SCORED: "not scored",
    },
    GateClass: {
        GateClass.FRONTAL: "a frontal chest X-ray",
        GateClass.UPSIDE_DOWN: "an upside-down X-ray",
        GateClass.ON_ITS_SIDE: "an X-ray on its side",
        GateClass.LATERAL_VIEW: "a lateral view",
        GateClass.CT_SLICE: "a CT slice",
        GateClass.NOT_A_CHEST_XRAY: "no chest X-ray",
    },
    Reason: {
        Reason.NO_LUNGS: "no lungs were found",
        Reason.UPSIDE_DOWN: "it looks upside down",
        Reason.ON_ITS_SIDE: "it looks as if it lay on its side",
        Reason.LATERAL_VIEW: "it looks like a lateral view",
        Reason.CT_SLICE: "it looks like a CT slice",
        Reason.NOT_A_CHEST_XRAY: "it does not look like a frontal chest X-ray",
        Reason.BLANK: "the image is blank",
        Reason.SHAPE: "no chest X-ray has such a shape",
        Reason.HEADER_LATERAL: "the header says that it is a lateral view",
        Reason.NO_NETWORK: "no diagnosis network is loaded",
    },
    Status: {
        Status.OK: "done",
        Status.REFUSED: "refused",
        Status.PASSED_OVER: "passed over",
        Status.FAILED: "failed",
    },
    View: {
        View.PA: "PA",
        View.AP: "AP",
        View.AP_SUPINE: "AP, lying",
        View.AP_ERECT: "AP, erect or half sitting",
        View.FRONTAL: "frontal",
        View.LATERAL: "lateral",
        View.OBLIQUE: "oblique",
        View.DECUBITUS: "lying on the side",
        View.AXIAL: "axial",
        View.CORONAL: "coronal",
        View.SAGITTAL: "sagittal",
        View.OTHER: "another view",
    },
    Part: {Part.TRAIN: "training", Part.VALIDATION: "validation", Part.TEST: "test"},
}


def say(code: StrEnum) -> str:
    """The words of a code, as they stand within a sentence."""
    return WORDS[type(code)][code]


def words() -> dict[str, dict[str, str]]:
    """Every code with its words, by the name of its kind in lower case: what the page gets as JSON."""
    return {
        kind.__name__.lower(): {str(code): text for code, text in table.items()}
        for kind, table in WORDS.items()
    }
