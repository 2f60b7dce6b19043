"""What a run is to predict: found once, each input with the name of its outputs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path, PurePath

from lungsight.batch.folder import FILES, FOLDERS, LOCK
from lungsight.batch.index import RunIndex
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
    for found, (source, relative) in enumerate(_sources(given, recursive, own, told, index), 1):
        # Those that are done get their name too, so that names are the same in every run.
        stem = names.stem(source, relative)
        if index.is_done(printable(source)):
            done += 1
        else:
            index.add(source, stem.as_posix())
        if not found % 500:
            progress(found)
    return done


def _sources(
    given: Iterable[str | Path], recursive: bool, own: Path, told: Callable[[Failure], None], index: RunIndex
) -> Iterator[tuple[str, PurePath]]:
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

    for found in find_inputs(list(given), recursive=recursive, problems=problems):
        tell()
        if not _is_own(found.path, own):
            yield str(found.path), found.relative
    tell()


def _is_own(path: Path, own: Path) -> bool:
    """Whether a file is a result of this run or of an earlier one in its folder."""
    try:
        inside = path.absolute().relative_to(own)
    except ValueError:
        return False
    return bool(inside.parts) and (
        inside.parts[0] in (*FOLDERS, *FILES, LOCK) or inside.parts[0].startswith(".")
    )
