"""Where a result came from: version, commit, seed, data, libraries, machine."""

from __future__ import annotations

import datetime
import os
import platform
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

from lungsight import __version__

_LIBRARIES = (
    "numpy",
    "opencv-python-headless",
    "pillow",
    "onnxruntime",
    "torch",
    "lightning",
    "monai",
    "scikit-learn",
)


def commit() -> str:
    """The commit of the checkout that this package runs from, with '+' where it has changes; '' outside one.

    A copy installed in an environment below someone else's repository is not of that repository.
    """
    here = Path(__file__).resolve().parent
    try:
        _, head, changes = (
            subprocess.run(
                ["git", "-C", str(here), *command], capture_output=True, text=True, timeout=10, check=True
            ).stdout.strip()
            for command in (
                ("ls-files", "--error-unmatch", Path(__file__).name),
                ("rev-parse", "HEAD"),
                ("status", "--porcelain", "--untracked-files=no", "--", str(here)),
            )
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return head + ("+" if changes else "")


def libraries() -> dict[str, str]:
    """Versions of the libraries that can change a figure, of those installed."""
    found = {}
    for name in _LIBRARIES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def describe(*, seed: int, data: str, command: str) -> dict[str, Any]:
    """What goes into `provenance.json`.

    Args:
        seed: of the run.
        data: fingerprint of the data set.
        command: what a reader types to get the same.
    """
    return {
        "lungsight": __version__,
        "commit": commit(),
        "command": command,
        "seed": seed,
        "data_fingerprint": data,
        "created": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "python": platform.python_version(),
        "libraries": libraries(),
        "machine": {"system": platform.system(), "processor": platform.machine(), "cores": os.cpu_count()},
    }
