"""Who the images of a table are of: what every interval, fold and count goes by."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from lungsight.dataset.split import clusters
from lungsight.dataset.table import Row
from lungsight.metrics import Note, Patients
from lungsight.wording import Caution


def patients(rows: Sequence[Row]) -> Patients:
    """The patients of N rows; what the table marks as one film stays together too.

    A row without a patient id is a patient of its own, and a note counts them; where no row has an id, images are
    taken as independent.
    """
    missing = sum(not row.patient for row in rows)
    if missing == len(rows):
        return Patients.of(None, len(rows))
    codes = clusters(rows).astype(np.int64)
    notes = (Note(Caution.PATIENTS_MISSING, missing, len(rows)),) if missing else ()
    return Patients(codes, int(codes.max()) + 1, True, notes)


def patients_of(rows: Sequence[Row]) -> NDArray[np.str_] | None:
    """(N,) patient ids, '' for a row without one; None where no row has one."""
    ids = np.array([row.patient for row in rows], dtype=np.str_)
    return ids if (ids != "").any() else None


def count_patients(rows: Sequence[Row]) -> int | None:
    """How many patients, a row without an id being one; None where no row has an id."""
    return patients(rows).n if rows else 0


def truth_of(rows: Sequence[Row]) -> NDArray[np.bool_]:
    """(N,) True where the target holds."""
    return np.array([bool(row.covid) for row in rows], dtype=bool)
