"""Darwin exports of V7: JSON 1.0, as the 2020 data set was published, and 2.x, which `darwin-py` writes.

On disk, `darwin-py` leaves `DATASET/images/...` and `DATASET/releases/RELEASE/annotations/*.json`, with a
link `releases/latest`.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path

from lungsight.dataset.finding import is_covid
from lungsight.dataset.locate import same_name
from lungsight.dataset.readers.darwin_json import Annotation, DarwinMask, read_annotation
from lungsight.dataset.readers.delimited import age, sex
from lungsight.dataset.table import Dataset, Excluded, Note, Row, is_image_file
from lungsight.errors import DataError
from lungsight.wording import DataNote, Exclusion, View
from lungsight.xray.views import SLICES, view_code

__all__ = ["DarwinMask", "annotation_folder", "read_annotation", "read_darwin"]

_NO_FINDING = frozenset({"x-ray", "xray", "ct"})
_KERMANY = re.compile(r"^(person\d+)_(virus|bacteria)_\d+|^((?:NORMAL2-)?IM-\d+)-\d+", re.IGNORECASE)
_KERMANY_FINDINGS = {"virus": "viral pneumonia", "bacteria": "bacterial pneumonia", None: "normal"}


def annotation_folder(path: Path) -> Path | None:
    """The folder with the JSON files of a data set, of a release, or `path` itself; None where there is none.

    Raises:
        DataError: there are several releases and none is called 'latest'.
    """
    if (path / "releases").is_dir():
        releases = sorted(
            folder for folder in (path / "releases").iterdir() if (folder / "annotations").is_dir()
        )
        distinct = {folder.resolve(): folder for folder in releases}
        latest = path / "releases" / "latest"
        if latest in releases or len(distinct) == 1:
            return (latest if latest in releases else releases[0]) / "annotations"
        if distinct:
            names = ", ".join(folder.name for folder in releases)
            raise DataError(f"several releases: {names}", where=path, hint=f"Give one: {releases[0]}")
    for folder in (path / "annotations", path):
        if folder.is_dir() and next(folder.rglob("*.json"), None) is not None:
            return folder
    return None


def read_darwin(path: Path) -> Dataset:
    """Read a Darwin data set: its folder, one release of it, its annotations, or a single JSON file.

    Lungs are drawn first and 'Ignore' areas over them. Images without lungs (CT slices, lateral views) are
    excluded, as in the paper. COVID is what has a COVID tag; an image with no tag at all is not labelled.
    The source is a tag `Source:NAME`, else `kermany` by that collection's file names, else `ieee8023` for
    images that carry a patient id, which in V7's data set only that collection has.
    An item with several images gives a row for each.

    Raises:
        DataError: no file is Darwin JSON. A single bad annotation or a missing image does not stop the
            reading: it is in `excluded`, marked broken.
    """
    folder = path.parent if path.is_file() else annotation_folder(path)
    if folder is None:
        raise DataError("there is no Darwin annotation here", where=path)
    files = [path] if path.is_file() else sorted(folder.rglob("*.json"))
    root = _root(folder)
    images = _Images(root / "images" if (root / "images").is_dir() else root)
    found: list[tuple[str, Annotation | DataError]] = []
    counts: Counter[DataNote] = Counter()
    for file in files:
        found.extend(_slots(file, file.relative_to(folder).with_suffix("").as_posix(), counts))
    annotations = [one for _, one in found if isinstance(one, Annotation)]
    if not annotations:
        first = next((one for _, one in found if isinstance(one, DataError)), None)
        raise first or DataError("there is no Darwin annotation here", where=path)
    images.assign(annotations)
    rows: list[Row] = []
    excluded: list[Excluded] = []
    for identity, one in found:
        try:
            entry = _failed(identity, one) if isinstance(one, DataError) else _entry(identity, one, images)
        except DataError as error:
            entry = _failed(identity, error)
        if isinstance(entry, Row):
            rows.append(entry)
        else:
            excluded.append(entry)
    for annotation in annotations:
        counts.update(dict(annotation.passed_over))
    if not path.is_file():
        excluded.extend(
            Excluded(file.stem, Exclusion.NOT_ANNOTATED, image=file) for file in images.unclaimed()
        )
    version = Counter(one.version for one in annotations).most_common(1)[0][0]
    notes = tuple(Note(code=code, count=count) for code, count in sorted(counts.items()))
    return Dataset(root, f"darwin-{version}.0", tuple(rows), tuple(excluded), notes=notes)


def _slots(
    file: Path, identity: str, counts: Counter[DataNote]
) -> Iterable[tuple[str, Annotation | DataError]]:
    """(id, annotation) of each image of one file."""
    try:
        first = read_annotation(file)
    except DataError as error:
        return [(identity, error)]
    entries: list[tuple[str, Annotation | DataError]] = [(identity, first)]
    for number in range(1, len(first.slots)):
        name = f"{identity}/{first.slots[number] or number}"
        try:
            entries.append((name, read_annotation(file, number)))
            counts[DataNote.OTHER_SLOT] += 1
        except DataError as error:
            entries.append((name, error))
    return entries


def _failed(identity: str, error: DataError) -> Excluded:
    return Excluded(identity, Exclusion.UNREADABLE, detail=error.message, broken=True)


def _entry(identity: str, annotation: Annotation, images: _Images) -> Row | Excluded:
    original = annotation.names[0]
    tags = annotation.tags
    values = dict(tag.split(":", 1) for tag in tags if ":" in tag)
    choices = dict(tag.split("/", 1) for tag in tags if "/" in tag and ":" not in tag)
    kermany = _KERMANY.match(original.rpartition("/")[2])
    findings = [tag for tag in tags if not set(":/") & set(tag) and tag.lower() not in _NO_FINDING]
    covid = _covid(findings) if tags else None
    if kermany and not findings:
        findings = [_KERMANY_FINDINGS[kermany[2] and kermany[2].lower()]]
        covid = False
    view = view_code(choices.get("View", "")) or ""
    image = images.of(annotation)
    if isinstance(image, Exclusion):
        return Excluded(identity, image, original, covid=covid, broken=True)
    if not annotation.has_lungs():
        return Excluded(identity, _why_no_lungs(view, tags), covid=covid, image=image)
    size = annotation.size or _header_size(image)
    number = values.get("PatientID", "").strip()
    source = values.get("Source", "").strip() or ("kermany" if kermany else "ieee8023" if number else "")
    patient = number or (kermany[1] or kermany[3] if kermany else "")
    return Row(
        id=identity,
        image=image,
        mask=DarwinMask(annotation.path, size, annotation.slot),
        source=source,
        patient=f"{source}-{patient}" if source and patient else patient,
        finding="COVID-19" if covid else "/".join(findings),
        covid=covid,
        view=view,
        sex=sex(choices.get("Sex", "")),
        age=age(values.get("Age", "")),
        original_filename=original,
    )


def _covid(findings: list[str]) -> bool | None:
    """None where the only tag that speaks of COVID-19 leaves it open."""
    said = [is_covid(tag) for tag in findings]
    return True if True in said else None if None in said and False not in said else False


def _why_no_lungs(view: str, tags: tuple[str, ...]) -> Exclusion:
    if "CT" in tags or view in SLICES:
        return Exclusion.CT_SLICE
    return Exclusion.LATERAL_VIEW if view == View.LATERAL else Exclusion.NO_MASK


class _Images:
    """The image files of a data set; each belongs to one annotation."""

    def __init__(self, folder: Path) -> None:
        self._files = sorted(
            file
            for file in folder.rglob("*")
            if is_image_file(file)
            and not any("mask" in part.lower() for part in file.relative_to(folder).parts[:-1])
        )
        self._paths = {_key(file.relative_to(folder).as_posix()): file for file in self._files}
        self._named: dict[str, list[Path]] = defaultdict(list)
        for file in self._files:
            self._named[_key(file.name)].append(file)
        self._owner: dict[Path, tuple[Path, int]] = {}
        self._image: dict[tuple[Path, int], Path | Exclusion] = {}

    def assign(self, annotations: list[Annotation]) -> None:
        """Give each annotation its image: by folder and name first, for all; then by a name that only one has.

        A file in the folder that an annotation names is never taken from it by one that has only the name.
        """
        left = [one for one in annotations if not self._take(one, self._in_folder(one))]
        wanted = [[file for file in self._anywhere(one) if file not in self._owner] for one in left]
        rivals = Counter(file for files in wanted for file in files)
        for one, files in zip(left, wanted, strict=True):
            # A file that two annotations could mean belongs to neither.
            if len(files) == 1 and rivals[files[0]] == 1:
                self._take(one, files)
            elif files:
                self._image[one.path, one.slot] = Exclusion.AMBIGUOUS

    def of(self, annotation: Annotation) -> Path | Exclusion:
        """The image of an annotation, or why it has none."""
        return self._image.get((annotation.path, annotation.slot), Exclusion.IMAGE_MISSING)

    def unclaimed(self) -> list[Path]:
        """Files that no annotation has claimed."""
        return [file for file in self._files if file not in self._owner]

    def _take(self, one: Annotation, candidates: list[Path]) -> bool:
        """Take the best of the files that is free; True where there were any."""
        key = (one.path, one.slot)
        free = next((file for file in candidates if file not in self._owner), None)
        if free is not None:
            self._owner[free] = key
        if candidates:
            self._image[key] = free or Exclusion.LISTED_TWICE
        return bool(candidates)

    def _in_folder(self, one: Annotation) -> list[Path]:
        """Where the annotation says that its image lies, best first."""
        folder = one.folder.strip("/")
        wanted = [
            f"{folder}/{name}" if folder else name
            for original in one.names
            for name in (original, _sanitised(original))
        ]
        return [self._paths[key] for key in dict.fromkeys(map(_key, wanted)) if key in self._paths]

    def _anywhere(self, one: Annotation) -> list[Path]:
        """Files of the first of its names that any file has."""
        for original in one.names:
            for name in dict.fromkeys((original.rpartition("/")[2], _sanitised(original))):
                if self._named.get(_key(name)):
                    return self._named[_key(name)]
        return []


def _key(name: str) -> str:
    return same_name(name)


def _root(folder: Path) -> Path:
    """The data set's folder, from the folder of annotations."""
    if folder.name != "annotations":
        return folder
    above = folder.parent
    return above.parent.parent if above.parent.name == "releases" else above


def _header_size(image: Path) -> tuple[int, int]:
    from lungsight.dataset.cache import image_shape

    return image_shape(image)


def _sanitised(name: str) -> str:
    """The name that `darwin-py` gives a file whose own has characters that some systems forbid."""
    return re.sub(r'[<>:"/\\|?*]', "_", name)
