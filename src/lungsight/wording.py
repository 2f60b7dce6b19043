"""Codes, and the one place where they become English.

Tables, JSON and the API hold codes; people read the words of `WORDS`. The page gets the same words as JSON
(`words()`), so that no text can be missing there. A code is never parsed out of a sentence.
"""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum


class Flag(StrEnum):
    """What is implausible about the lungs that were found, or about the image."""

    NO_LUNGS = "no_lungs"
    ONE_LUNG = "one_lung"
    ASYMMETRIC = "asymmetric"
    SMALL = "small"
    LARGE = "large"
    AT_EDGE = "at_edge"
    MANY_COMPONENTS = "many_components"
    UPSIDE_DOWN = "upside_down"
    INVERTED = "inverted"
    UNFAMILIAR = "unfamiliar"
    HEART_SIDE = "heart_side"


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
    INVERTED = "inverted"
    TOO_SMALL = "too_small"


class GateAnswer(StrEnum):
    """Whether an image is an upright frontal chest X-ray; `NONE`: no gate network was asked, simple checks passed."""

    FRONTAL = "frontal"
    NOT_FRONTAL = "not_frontal"
    NONE = "none"


class XRayNote(StrEnum):
    """What was done to the grey values of a file, and what is unusual in it."""

    RESCALED = "rescaled"
    SIGNED = "signed"
    COLOUR = "colour"
    BLACK_AND_WHITE = "black_and_white"
    NO_WINDOW = "no_window"
    WINDOW_NOT_USED = "window_not_used"
    MONOCHROME1 = "monochrome1"
    INVERSE_SHAPE = "inverse_shape"
    FILM_INVERTED = "film_inverted"
    INVERSION_UNDONE = "inversion_undone"
    PIXEL_SIZE_NOT_USED = "pixel_size_not_used"
    MIRRORED = "mirrored"
    UPSIDE_DOWN = "upside_down"
    ON_ITS_SIDE = "on_its_side"


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


class Caution(StrEnum):
    """What must be known beside a metric and its interval."""

    ONE_CLASS = "one_class"
    FEW_PATIENTS = "few_patients"
    FEW_IMAGES = "few_images"
    FEW_IN_CLASS = "few_in_class"
    FEW_IMAGES_IN_CLASS = "few_images_in_class"
    PATIENTS_UNKNOWN = "patients_unknown"
    PATIENTS_MISSING = "patients_missing"
    NO_IMAGES = "no_images"
    NO_PAIRS = "no_pairs"
    NO_OVERLAP = "no_overlap"
    NO_LOWER_BOUND = "no_lower_bound"
    NO_VARIANCE = "no_variance"
    NOT_FINITE = "not_finite"
    RESAMPLES_LOST = "resamples_lost"
    UNDEFINED = "undefined"
    NOT_SCORED = "not_scored"
    ALL_POSITIVE = "all_positive"
    ALL_NEGATIVE = "all_negative"
    NO_MIXED_SOURCE = "no_mixed_source"
    TRAINED_ON = "trained_on"
    STOPPED_EARLY = "stopped_early"
    MASK_FORMAT = "mask_format"
    MASKS_MIRRORED = "masks_mirrored"
    MASKS_FLIPPED = "masks_flipped"
    MASKS_UPSIDE_DOWN = "masks_upside_down"
    MASKS_TRANSPOSED = "masks_transposed"
    MASKS_CLOCKWISE = "masks_clockwise"
    MASKS_ANTICLOCKWISE = "masks_anticlockwise"
    MASKS_TRANSPOSED_OTHER = "masks_transposed_other"
    SUBSOURCES_LEFT_OUT = "subsources_left_out"
    UNCERTAIN = "uncertain"


class IntervalMethod(StrEnum):
    """How an interval was computed; always over patients where they are known."""

    BOOTSTRAP = "bootstrap"
    DELONG = "delong"
    DELONG_FOLDS = "delong_folds"
    DELONG_PAIRED = "delong_paired"
    EMPIRICAL_LIKELIHOOD = "empirical_likelihood"
    LINEAR_LOGIT = "linear_logit"
    PAIRED_T = "paired_t"
    PROFILE_LIKELIHOOD = "profile_likelihood"
    SKEW_T = "skew_t"
    TRAINING_T = "training_t"
    WILSON = "wilson"


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


class Region(StrEnum):
    """Regions of an X-ray that the audit trains on, or shows alone."""

    WHOLE = "whole"
    BORDER = "border"
    BACKGROUND = "background"
    LUNGS_BLACK = "lungs_black"
    LUNGS = "lungs"
    THUMBNAIL = "thumbnail"
    HISTOGRAM = "histogram"


class NoPixels(StrEnum):
    """Models that see no pixel."""

    SOURCE = "source"
    SUBSOURCE = "subsource"
    HEADER = "header"
    AGE = "age"
    SEX = "sex"
    PERSON = "person"
    VIEW = "view"


class ImageChange(StrEnum):
    """Changes to an image after which the audit asks for the score again."""

    NONE = "none"
    BACKGROUND_BLACK = "background_black"
    BORDER = "border"
    LUNGS_BLACK = "lungs_black"
    LETTERS_IN = "letters_in"
    LETTERS_OUT = "letters_out"
    CROP = "crop"
    BLUR = "blur"
    JPEG = "jpeg"
    INVERT = "invert"
    ROTATE = "rotate"


class Property(StrEnum):
    """What the audit gives an image from another one."""

    BACKGROUND = "background"
    CONTRAST = "contrast"
    SHARPNESS = "sharpness"
    FRAMING = "framing"


class DataAnswer(StrEnum):
    """Whether the data offer a shortcut."""

    CANNOT_BE_TOLD = "cannot_be_told"
    NOT_FOUND = "not_found"
    OFFERED = "offered"
    AS_GOOD_AS_THE_IMAGE = "as_good_as_the_image"


class ScoreAnswer(StrEnum):
    """Whether the score takes a shortcut."""

    CANNOT_BE_TOLD = "cannot_be_told"
    NOTHING_TO_EXPLAIN = "nothing_to_explain"
    NOT_FOUND = "not_found"
    TAKEN = "taken"
    EXPLAINED = "explained"


class CriterionKey(StrEnum):
    """Criteria of the audit's verdict: of the data, of the score, and what is shown beside them."""

    DATA_BORDER = "data_border"
    DATA_BACKGROUND = "data_background"
    DATA_SOURCE = "data_source"
    DATA_SUBSOURCE = "data_subsource"
    DATA_HEADER = "data_header"
    DATA_PERSON = "data_person"
    DATA_VIEW = "data_view"
    ABOVE_CHANCE = "above_chance"
    LUNGS_BLACK = "lungs_black"
    BORDER_ALONE = "border_alone"
    DONOR_BACKGROUND = "donor_background"
    DONOR_CONTRAST = "donor_contrast"
    DONOR_SHARPNESS = "donor_sharpness"
    DONOR_FRAMING = "donor_framing"
    LEFT_WITHOUT = "left_without"
    SAME_SOURCE = "same_source"
    LOWER_WITHIN_FINDING = "lower_within_finding"
    TELLS_SOURCE = "tells_source"


class AuditCaveat(StrEnum):
    """What must be read with an audit. Numbers stand in braces."""

    TRAINED_ON_SOME = "trained_on_some"
    TRAINED_ON_TABLE = "trained_on_table"
    SPLIT_UNKNOWN = "split_unknown"
    LEAKAGE = "leakage"
    MASKS_PREDICTED = "masks_predicted"
    NO_MASKS = "no_masks"
    SCORES_ONLY = "scores_only"
    NO_PIXELS_READ = "no_pixels_read"
    NO_SPLIT = "no_split"
    PATIENTS_MISSING = "patients_missing"
    FEW_PATIENTS = "few_patients"
    FEW_SAME_SOURCE = "few_same_source"
    REFUSED = "refused"
    WIDE = "wide"
    REVERSED = "reversed"
    SEVERITY = "severity"
    ONE_SOURCE = "one_source"
    NO_SOURCE_LEFT_OUT = "no_source_left_out"
    NO_SUBSOURCE = "no_subsource"
    NO_SHARED_FINDING = "no_shared_finding"


class RatioNote(StrEnum):
    """What must be known of a cardiothoracic ratio."""

    MAGNIFIED = "magnified"
    VIEW_UNKNOWN = "view_unknown"


class RatioDoubt(StrEnum):
    """What the lungs' shape says against a cardiothoracic ratio."""

    SHALLOW_BREATH = "shallow_breath"
    TURNED = "turned"


class SpacingKind(StrEnum):
    """What the size of a pixel is of."""

    CALIBRATED = "calibrated"
    CORRECTED = "corrected"
    DETECTOR = "detector"
    STATED = "stated"


OLD_GATE_CLASSES: dict[str, str] = {
    "upside down": GateClass.UPSIDE_DOWN,
    "on its side": GateClass.ON_ITS_SIDE,
    "lateral view": GateClass.LATERAL_VIEW,
    "CT slice": GateClass.CT_SLICE,
    "no chest X-ray": GateClass.NOT_A_CHEST_XRAY,
}
"""Names in cards that were written before."""

_BACK = ": turned back, they overlap far better with the true ones"

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
        Flag.UNFAMILIAR: "the image is unlike those that the networks learned from",
        Flag.HEART_SIDE: "the heart lies on the patient's right: the sides may be exchanged",
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
        Reason.HEADER_LATERAL: "the header says that it is no frontal view",
        Reason.NO_NETWORK: "no diagnosis network is loaded",
        Reason.INVERTED: "its grey levels look inverted",
        Reason.TOO_SMALL: "it has too few pixels",
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
    XRayNote: {
        XRayNote.RESCALED: "grey values stretched to their range",
        XRayNote.SIGNED: "grey values with a sign",
        XRayNote.COLOUR: "colour picture, read as grey",
        XRayNote.BLACK_AND_WHITE: "black and white only, no grey",
        XRayNote.NO_WINDOW: "no usable window",
        XRayNote.WINDOW_NOT_USED: "the file's window leaves nothing to see and was not used",
        XRayNote.MONOCHROME1: "MONOCHROME1, inverted",
        XRayNote.INVERSE_SHAPE: "presentation LUT shape INVERSE, inverted",
        XRayNote.FILM_INVERTED: "raw film, inverted",
        XRayNote.INVERSION_UNDONE: "the grey levels were inverted: black and white are exchanged",
        XRayNote.PIXEL_SIZE_NOT_USED: "the header's pixel size makes no chest X-ray's size and was not used",
        XRayNote.MIRRORED: "by the header the picture is mirrored: the patient's right is on its right",
        XRayNote.UPSIDE_DOWN: "by the header the picture is upside down",
        XRayNote.ON_ITS_SIDE: "by the header the picture lies on its side",
    },
    LungLabels: {LungLabels.RIGHT1_LEFT2: "1 is the patient's right lung, 2 the left"},
    LungConvention: {
        LungConvention.FULL: "with the lung behind heart and diaphragm",
        LungConvention.VISIBLE: "the lung that is seen beside heart and diaphragm",
    },
    Region: {
        Region.WHOLE: "the whole image",
        Region.BORDER: "the border alone (outer 12 %)",
        Region.BACKGROUND: "what lies outside the box around the lungs",
        Region.LUNGS_BLACK: "the image with black lungs",
        Region.LUNGS: "the lungs alone",
        Region.THUMBNAIL: "a 32 x 32 thumbnail",
        Region.HISTOGRAM: "the grey histogram",
    },
    NoPixels: {
        NoPixels.SOURCE: "the source",
        NoPixels.SUBSOURCE: "the sub-source",
        NoPixels.HEADER: "the file's header: size, bytes, mode",
        NoPixels.AGE: "the age",
        NoPixels.SEX: "the sex",
        NoPixels.PERSON: "age, sex and view",
        NoPixels.VIEW: "the view",
    },
    ImageChange: {
        ImageChange.NONE: "as they are",
        ImageChange.BACKGROUND_BLACK: "background of the lungs blacked out",
        ImageChange.BORDER: "only the border left (outer 12 %)",
        ImageChange.LUNGS_BLACK: "lungs blacked out",
        ImageChange.LETTERS_IN: "letters painted in",
        ImageChange.LETTERS_OUT: "letters painted over",
        ImageChange.CROP: "6 % cut off each side",
        ImageChange.BLUR: "blurred",
        ImageChange.JPEG: "coarse JPEG (quality 30)",
        ImageChange.INVERT: "black and white exchanged",
        ImageChange.ROTATE: "rotated by 10 degrees",
    },
    Property: {
        Property.BACKGROUND: "the background of another image",
        Property.CONTRAST: "the contrast of another image",
        Property.SHARPNESS: "the sharpness of another image",
        Property.FRAMING: "the framing of another image",
    },
    DataAnswer: {
        DataAnswer.CANNOT_BE_TOLD: "it cannot be told whether the data offer a shortcut",
        DataAnswer.NOT_FOUND: "no shortcut was found in the data",
        DataAnswer.OFFERED: "the data offer a shortcut",
        DataAnswer.AS_GOOD_AS_THE_IMAGE: "the data offer a shortcut that is as good as the whole image",
    },
    ScoreAnswer: {
        ScoreAnswer.CANNOT_BE_TOLD: "it cannot be told whether the score takes a shortcut",
        ScoreAnswer.NOTHING_TO_EXPLAIN: "the score is not shown to be better than chance: there is nothing to explain",
        ScoreAnswer.NOT_FOUND: "the score was not found to take a shortcut",
        ScoreAnswer.TAKEN: "the score takes a shortcut",
        ScoreAnswer.EXPLAINED: "the score is explained by a shortcut: nothing else was found in it",
    },
    CriterionKey: {
        CriterionKey.DATA_BORDER: "A model that sees the border alone tells the target",
        CriterionKey.DATA_BACKGROUND: "A model that sees the background alone tells the target",
        CriterionKey.DATA_SOURCE: "The source alone tells the target",
        CriterionKey.DATA_SUBSOURCE: "The sub-source alone tells the target",
        CriterionKey.DATA_HEADER: "The file's header alone tells the target",
        CriterionKey.DATA_PERSON: "Age, sex and view alone tell the target",
        CriterionKey.DATA_VIEW: "The view alone tells the target",
        CriterionKey.ABOVE_CHANCE: "The score is better than chance",
        CriterionKey.LUNGS_BLACK: "The score still tells the target where the lungs are black",
        CriterionKey.BORDER_ALONE: "The score still tells the target from the border alone",
        CriterionKey.DONOR_BACKGROUND: "With another image's background, drawn by lot, the score tells its class",
        CriterionKey.DONOR_CONTRAST: "With another image's contrast, drawn by lot, the score tells its class",
        CriterionKey.DONOR_SHARPNESS: "With another image's sharpness, drawn by lot, the score tells its class",
        CriterionKey.DONOR_FRAMING: "With another image's framing, drawn by lot, the score tells its class",
        CriterionKey.LEFT_WITHOUT: "With another image's background, the score still tells its own class",
        CriterionKey.SAME_SOURCE: "Within one source the score is better than chance",
        CriterionKey.LOWER_WITHIN_FINDING: "Within the same findings, the score is lower for one source than across",
        CriterionKey.TELLS_SOURCE: "The score tells two sources apart among images of one finding",
    },
    AuditCaveat: {
        AuditCaveat.TRAINED_ON_SOME: "The model was trained on some of these images: its own figures are too good.",
        AuditCaveat.TRAINED_ON_TABLE: "The networks were trained on this table: the score's own figures are too good.",
        AuditCaveat.SPLIT_UNKNOWN: "Which images the model was trained on is not known, so leakage was not checked.",
        AuditCaveat.LEAKAGE: "{images} of {held_out} held-out images are of patients that the model was trained on, "
        "and {pairs} pairs of images across the split look the same: the score's figures are too good.",
        AuditCaveat.MASKS_PREDICTED: "{images} images have no lung mask in the table: the shipped lung network made "
        "them.",
        AuditCaveat.NO_MASKS: "There are no lung masks: what lies outside the lungs was not looked at.",
        AuditCaveat.SCORES_ONLY: "Only scores were given, no model: whether it uses what is outside the lungs cannot "
        "be tried on changed images.",
        AuditCaveat.NO_PIXELS_READ: "The images were not read ({images}): copies of a film were not looked for.",
        AuditCaveat.NO_SPLIT: "Neither the scores nor the table say which images the model was trained on (a column "
        "'split' would): whether patients are on both sides was not checked.",
        AuditCaveat.PATIENTS_MISSING: "{images} images have no patient id: each was taken as a patient.",
        AuditCaveat.FEW_PATIENTS: "Only {positive} patients with and {negative} without the target are scored: too "
        "few to answer.",
        AuditCaveat.FEW_SAME_SOURCE: "Within one source only {positive} patients with and {negative} without the "
        "target can be compared: read that AUROC with care.",
        AuditCaveat.REFUSED: "{percent} % of the images with another background are not scored by the model.",
        AuditCaveat.WIDE: "The intervals are so wide that a shortcut worth an AUROC of 0.65 is not ruled out.",
        AuditCaveat.REVERSED: "The score is lower for the target than for the rest: it may be the wrong way round.",
        AuditCaveat.SEVERITY: "Within the same findings the score differs between sources. That can be a shortcut, or "
        "sicker patients in one of them: scores alone cannot tell, and the answer does not rest on it.",
        AuditCaveat.ONE_SOURCE: "No finding comes from two sources with ten patients each: whether the score tells "
        "sources apart cannot be told.",
        AuditCaveat.NO_SOURCE_LEFT_OUT: "No source can be left out: that needs a source with both classes, ten "
        "patients each, and both classes among the others.",
        AuditCaveat.NO_SUBSOURCE: "The table has no sub-sources.",
        AuditCaveat.NO_SHARED_FINDING: "No two findings can be compared both within a source and across sources.",
    },
    SpacingKind: {
        SpacingKind.CALIBRATED: "in the patient, as the file was calibrated",
        SpacingKind.CORRECTED: "in the patient, by the estimated magnification",
        SpacingKind.DETECTOR: "at the detector, some 5 to 30 % more than in the patient",
        SpacingKind.STATED: "as the file has it, which does not say where",
    },
    Caution: {
        Caution.ONE_CLASS: "one class only",
        Caution.FEW_PATIENTS: "too few: {count} patients",
        Caution.FEW_IMAGES: "too few: {count} images",
        Caution.FEW_IN_CLASS: "too few: {count} patients in the rarer class",
        Caution.FEW_IMAGES_IN_CLASS: "too few: {count} images in the rarer class",
        Caution.PATIENTS_UNKNOWN: "patients unknown: images taken as independent",
        Caution.PATIENTS_MISSING: "{count} of {of} images have no patient id: each taken as a patient",
        Caution.NO_IMAGES: "no images",
        Caution.NO_PAIRS: "no group has both classes",
        Caution.NO_OVERLAP: "the classes do not overlap: the bound is one that holds for any score",
        Caution.NO_LOWER_BOUND: "only {count} patients set the operating point: it has no lower bound",
        Caution.NO_VARIANCE: "no variance",
        Caution.NOT_FINITE: "{count} of {of} images have none and are left out",
        Caution.RESAMPLES_LOST: "{count} of {of} resamples could not be computed and are left out",
        Caution.UNDEFINED: "the data cannot give it",
        Caution.NOT_SCORED: "{count} of {of} images have no score or no known class: they are not in its metrics",
        Caution.ALL_POSITIVE: "one class only: all images are {names}, so that AUROC and the like do not exist",
        Caution.ALL_NEGATIVE: "one class only: no image is {names}, so that AUROC and the like do not exist",
        Caution.NO_MIXED_SOURCE: "no source has both classes, so that the score may tell sources, not {names}",
        Caution.TRAINED_ON: "the networks ({names}) were trained on these images, so that the metrics are too good; "
        "those of held-out images are on their cards",
        Caution.STOPPED_EARLY: "the network was trained for {count} of {of} epochs: its time was up",
        Caution.MASK_FORMAT: "the masks hardly overlap with the true ones (Dice {names}): a file format that was read "
        "wrongly, or masks of other images",
        Caution.MASKS_MIRRORED: f"the masks look mirrored left to right{_BACK}",
        Caution.MASKS_FLIPPED: f"the masks look mirrored top to bottom{_BACK}",
        Caution.MASKS_UPSIDE_DOWN: f"the masks look turned by 180 degrees{_BACK}",
        Caution.MASKS_TRANSPOSED: f"the masks look mirrored about the diagonal{_BACK}",
        Caution.MASKS_CLOCKWISE: f"the masks look turned by 90 degrees clockwise{_BACK}",
        Caution.MASKS_ANTICLOCKWISE: f"the masks look turned by 90 degrees anticlockwise{_BACK}",
        Caution.MASKS_TRANSPOSED_OTHER: f"the masks look mirrored about the other diagonal{_BACK}",
        Caution.SUBSOURCES_LEFT_OUT: "{count} of {of} sub-sources with the most pairs are shown",
        Caution.UNCERTAIN: "{count} of {of} images are called uncertain by the model: they are counted apart",
    },
    IntervalMethod: {
        IntervalMethod.BOOTSTRAP: "bootstrap over patients, percentile",
        IntervalMethod.DELONG: "DeLong clustered by patient, logit scale",
        IntervalMethod.DELONG_FOLDS: "DeLong clustered by patient, logit scale, widened for training in folds",
        IntervalMethod.DELONG_PAIRED: "DeLong clustered by patient, paired",
        IntervalMethod.EMPIRICAL_LIKELIHOOD: "empirical likelihood, with the threshold's own uncertainty",
        IntervalMethod.LINEAR_LOGIT: "linearised over patients, logit scale",
        IntervalMethod.PAIRED_T: "t over patients, paired",
        IntervalMethod.PROFILE_LIKELIHOOD: "profile likelihood, scaled for patients",
        IntervalMethod.SKEW_T: "t over patients, corrected for skewness",
        IntervalMethod.TRAINING_T: "corrected t over repeated training (Nadeau-Bengio)",
        IntervalMethod.WILSON: "Wilson, scaled for patients",
    },
    Part: {Part.TRAIN: "training", Part.VALIDATION: "validation", Part.TEST: "test"},
    RatioNote: {
        RatioNote.MAGNIFIED: "taken from the front (AP): the heart is magnified and the ratio is too large",
        RatioNote.VIEW_UNKNOWN: "the view is not known: on a film taken from the front (AP) the ratio is too large",
    },
    RatioDoubt: {
        RatioDoubt.SHALLOW_BREATH: "the lungs are short for the chest's width: a shallow breath, a lying patient or a "
        "hidden base makes the ratio too large",
        RatioDoubt.TURNED: "one lung is much wider than the other: a turned patient or a shrunken lung "
        "shifts the ratio",
    },
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


MEANING: dict[str, str] = {
    Flag.NO_LUNGS: "There is nothing here that looks like lungs.",
    Flag.ONE_LUNG: "The other may be white, cut off or missed. A score on one lung is worth little.",
    Flag.ASYMMETRIC: "A collapsed or white lung, a turned patient, or a wrong mask. Look at the outline.",
    Flag.SMALL: "The mask may be wrong, or the picture shows more than a chest.",
    Flag.LARGE: "The mask may be wrong, or the picture is cut close.",
    Flag.AT_EDGE: "What lies outside the picture was not seen.",
    Flag.MANY_COMPONENTS: "The mask is torn. Look at the outline, or move the threshold.",
    Flag.UPSIDE_DOWN: "The lungs are closer together at their bases than at their tops.",
    Flag.INVERTED: "Air should be dark. If bones are black here, the mask and the score mean nothing.",
    Flag.UNFAMILIAR: "Another kind of picture, projection or machine, or a rare finding: what mask and "
    "score are worth on such an image was not measured.",
    Flag.HEART_SIDE: "A mirrored picture, a wrong header, or, rarely, a heart that truly lies on the right.",
}
"""What a flag may mean, for the page."""

VERDICT: dict[Decision, dict[str, str]] = {
    Decision.COVID: {
        "title": "More like the COVID-19 X-rays",
        "text": "among the pictures that the network learned from. That is a likeness, not a finding.",
        "brief": "more like COVID-19",
    },
    Decision.NOT_COVID: {
        "title": "More like the X-rays without COVID-19",
        "text": "among the pictures that the network learned from. It rules nothing out.",
        "brief": "more like without",
    },
    Decision.UNCERTAIN: {
        "title": "Cannot tell",
        "text": "The score lies where the network is wrong too often to say anything. "
        "It does not mean “half ill”.",
        "brief": "cannot tell",
    },
    Decision.NOT_SCORED: {"title": "Not scored", "text": "", "brief": "not scored"},
}
"""A decision as the page says it: as a likeness and never as a finding."""


def page_words() -> dict[str, dict[str, object]]:
    """What the page needs to say every code: `words`, what flags mean, and the verdicts."""
    made: dict[str, dict[str, object]] = {kind: dict(table) for kind, table in words().items()}
    made["meaning"] = {str(code): text for code, text in MEANING.items()}
    made["verdict"] = {str(code): dict(texts) for code, texts in VERDICT.items()}
    return made
