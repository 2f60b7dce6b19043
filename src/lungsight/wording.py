"""Codes, and the one place where they become English.

Tables, JSON and the API hold codes; people read the words of `WORDS`. The page gets the same words as JSON
(`words()`), so that no text can be missing there. A code is never parsed out of a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable
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
    NO_NUMBER = "no_number"


class GateAnswer(StrEnum):
    """Whether an image is an upright frontal chest X-ray; `NONE`: no gate network was asked, simple checks passed."""

    FRONTAL = "frontal"
    NOT_FRONTAL = "not_frontal"
    NONE = "none"


class LungLabels(StrEnum):
    """Which number stands for which lung in a label map. The sides are the patient's."""

    RIGHT1_LEFT2 = "right1_left2"


class LungConvention(StrEnum):
    """What counts as lung in a mask."""

    FULL = "full"
    VISIBLE = "visible"


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


class Label(StrEnum):
    """What a data set says of one finding on one image."""

    POSITIVE = "positive"
    NEGATIVE = "negative"
    UNCERTAIN = "uncertain"


class Uncertain(StrEnum):
    """How a label that is neither yes nor no counts."""

    NEGATIVE = "negative"
    POSITIVE = "positive"
    DROP = "drop"


class Exclusion(StrEnum):
    """Why an image of a data set is not in its table."""

    NO_MASK = "no_mask"
    CT_SLICE = "ct_slice"
    LATERAL_VIEW = "lateral_view"
    OTHER_VIEW = "other_view"
    NOT_ANNOTATED = "not_annotated"
    NOT_LISTED = "not_listed"
    IMAGE_MISSING = "image_missing"
    MASK_MISSING = "mask_missing"
    LISTED_TWICE = "listed_twice"
    AMBIGUOUS = "ambiguous"
    UNREADABLE = "unreadable"


class DataNote(StrEnum):
    """What a reader met and did not take, or took with a reservation; counted beside the table."""

    OTHER_ANNOTATION = "other_annotation"
    OUTLINE_OUTSIDE = "outline_outside"
    OUTLINE_TOO_SHORT = "outline_too_short"
    OTHER_SLOT = "other_slot"
    NOT_UTF8 = "not_utf8"
    BLANK_ROWS = "blank_rows"
    NO_PATIENT = "no_patient"
    AGE_IMPLAUSIBLE = "age_implausible"
    DISAGREEMENT = "disagreement"


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
        Reason.NO_NUMBER: "the network gave no number for it",
    },
    Status: {
        Status.OK: "done",
        Status.REFUSED: "refused",
        Status.PASSED_OVER: "passed over",
        Status.FAILED: "failed",
    },
    Label: {
        Label.POSITIVE: "positive",
        Label.NEGATIVE: "negative",
        Label.UNCERTAIN: "uncertain",
    },
    Uncertain: {
        Uncertain.NEGATIVE: "as negative",
        Uncertain.POSITIVE: "as positive",
        Uncertain.DROP: "left out",
    },
    Exclusion: {
        Exclusion.NO_MASK: "no lung mask",
        Exclusion.CT_SLICE: "CT slice or volume",
        Exclusion.LATERAL_VIEW: "lateral view",
        Exclusion.OTHER_VIEW: "not a frontal X-ray",
        Exclusion.NOT_ANNOTATED: "no annotation",
        Exclusion.NOT_LISTED: "not in the table",
        Exclusion.IMAGE_MISSING: "the image is missing",
        Exclusion.MASK_MISSING: "the mask is missing",
        Exclusion.LISTED_TWICE: "the image is listed twice",
        Exclusion.AMBIGUOUS: "several images could be meant",
        Exclusion.UNREADABLE: "the entry cannot be used",
    },
    DataNote: {
        DataNote.OTHER_ANNOTATION: "annotations of another kind (boxes, lines, points) were passed over",
        DataNote.OUTLINE_OUTSIDE: "outlines lie wholly outside their image and were passed over",
        DataNote.OUTLINE_TOO_SHORT: "outlines have fewer than three points and were passed over",
        DataNote.OTHER_SLOT: "further images of an item with several became rows of their own",
        DataNote.NOT_UTF8: "tables were read as Windows text, since they are not UTF-8",
        DataNote.BLANK_ROWS: "rows of a table are empty and were passed over",
        DataNote.NO_PATIENT: "images have no patient id; each counts as a patient of its own",
        DataNote.AGE_IMPLAUSIBLE: "ages are no number of years up to 110 and were left out",
        DataNote.DISAGREEMENT: "images have readers that disagree; the majority counts",
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
    GateAnswer: {
        GateAnswer.FRONTAL: "a frontal chest X-ray",
        GateAnswer.NOT_FRONTAL: "not a frontal chest X-ray",
        GateAnswer.NONE: "not asked: there is no gate network",
    },
    LungLabels: {LungLabels.RIGHT1_LEFT2: "1 is the patient's right lung, 2 the left"},
    LungConvention: {
        LungConvention.FULL: "with the lung behind heart and diaphragm",
        LungConvention.VISIBLE: "the lung that is seen beside heart and diaphragm",
    },
    Part: {Part.TRAIN: "training", Part.VALIDATION: "validation", Part.TEST: "test"},
}


def say(code: StrEnum) -> str:
    """The words of a code, as they stand within a sentence."""
    return WORDS[type(code)][code]


def say_all(codes: Iterable[StrEnum]) -> str:
    """The words of several codes in one line."""
    return "; ".join(map(say, codes))


def words() -> dict[str, dict[str, str]]:
    """Every code with its words, by the name of its kind in lower case: what the page gets as JSON."""
    return {
        kind.__name__.lower(): {str(code): text for code, text in table.items()}
        for kind, table in WORDS.items()
    }
