"""What a run is to predict: found once, each input with the name of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath

from lungsight.batch.folder import FILES, FOLDERS, LOCK
from lungsight.batch.index import RunIndex
from lungsight.batch.sources import Place, archive_kind, at_address, is_address, members
from lungsight.errors import InputError, PassedOverError
from lungsight.inference import Failure
from lungsight.writers.naming import OutputNames
from lungsight.writers.results import printable
from lungsight.xray import find_inputs


def gather(
    given: Iterable[str | Path],
    index: RunIndex,
    *,
    out: Path,
    recursive: bool,
    told: Callable[[Failure], None],
    progress: Callable[[int], None],
) -> int:
    """Find every input once and queue it in `index`, unless an earlier run did it.

    Args:
        given: files, folders, glob patterns, archives (`.zip`, `.tar`), addresses (`s3://` ...).
        index: of the run; knows what is done, and keeps the names of the outputs.
        out: folder of the results, which is no input.
        recursive: go into the folders of a folder.
        told: gets what there is to say of an input that is not queued: it cannot be found, or holds no image.
        progress: gets the number found so far, now and then.

    Returns:
        Inputs that an earlier run did.
    """
    names = OutputNames(index.names)
    own = out.absolute()
    done = 0
    for found, (place, relative) in enumerate(_places(given, recursive, own, told, index), 1):
        # Those that are done get their name too, so that names are the same in every run.
        stem = names.stem(place.name, relative)
        if index.is_done(printable(place.name)):
            done += 1
        else:
            index.add(place, stem.as_posix())
        if not found % 500:
            progress(found)
    return done


def _places(
    given: Iterable[str | Path], recursive: bool, own: Path, told: Callable[[Failure], None], index: RunIndex
) -> Iterator[tuple[Place, PurePath]]:
    problems: list[InputError] = []
    passed_over: list[PassedOverError] = []

    def tell() -> None:
        for problem in (*problems, *passed_over):
            name = problem.where or ""
            mine = _is_own(Path(name), own)
            if not mine and not (isinstance(problem, PassedOverError) and index.is_done(printable(name))):
                told(Failure(name, problem))
        problems.clear()
        passed_over.clear()

    # Ordinary files are looked for together, so that each is found once however often it is named.
    for group in _groups(given):
        try:
            for place, relative in _found(group, recursive, problems, passed_over):
                tell()
                if place.kind != "file" or not _is_own(Path(place.where), own):
                    yield place, relative
        except InputError as problem:
            problems.append(problem)
        tell()


def _groups(given: Iterable[str | Path]) -> Iterator[str | Path | list[str | Path]]:
    """Addresses and archives one by one, all else together at the end."""
    others: list[str | Path] = []
    for one in given:
        if is_address(one) or archive_kind(Path(one)):
            yield one
        else:
            others.append(one)
    if others:
        yield others


def _found(
    group: str | Path | list[str | Path],
    recursive: bool,
    problems: list[InputError],
    passed_over: list[PassedOverError],
) -> Iterator[tuple[Place, PurePath]]:
    if isinstance(group, list):
        for found in find_inputs(group, recursive=recursive, problems=problems, passed_over=passed_over):
            yield Place(str(found.path), "file", str(found.path)), found.relative
    elif is_address(group):
        yield from at_address(str(group), passed_over)
    else:
        yield from members(Path(group), passed_over)


def _is_own(path: Path, own: Path) -> bool:
    """Whether a file is a result of this run or of an earlier one in its folder."""
    try:
        inside = path.absolute().relative_to(own)
    except ValueError:
        return False
    return bool(inside.parts) and (
        inside.parts[0] in (*FOLDERS, *FILES, LOCK) or inside.parts[0].startswith(".")
    )
