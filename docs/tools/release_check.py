"""`make release-check`: what must hold before a version is given out; exit code 1 where a point does not."""

from __future__ import annotations

import email
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
NEEDED = (
    "Name",
    "Version",
    "Summary",
    "License-Expression",
    "License-File",
    "Requires-Python",
    "Keywords",
    "Classifier",
)
MOST_BYTES = 60_000_000
"""Of a wheel; the networks are most of it."""
IN_WHEEL = (
    "lungsight/py.typed",
    *(
        f"lungsight/weights/{name}.{end}"
        for name in ("lungs", "gate", "diagnosis", "severity")
        for end in ("onnx", "json")
    ),
    "lungsight/server/static/index.html",
    "lungsight/server/static/vendor/LICENSES.txt",
    "lungsight/recipes/lungs.toml",
)
IN_SDIST = ("pyproject.toml", "README.md", "LICENSE", "src/lungsight/__init__.py")


class Points:
    """Points that hold and points that do not."""

    def __init__(self) -> None:
        self.passed, self.failed = 0, 0

    def say(self, good: bool, what: str) -> None:
        """One line."""
        print(f"{'ok ' if good else 'BAD'} {what}", flush=True)
        self.passed, self.failed = self.passed + good, self.failed + (not good)


def run(*command: str | Path, folder: Path = ROOT) -> subprocess.CompletedProcess[str]:
    """Run without a variable of the shell."""
    kept = {name: os.environ[name] for name in ("HOME", "PATH") if name in os.environ}
    return subprocess.run(
        [*map(str, command)], cwd=folder, env=kept, capture_output=True, text=True, check=False
    )


def clean_copy(folder: Path) -> Path:
    """What git knows, and nothing else that lies here."""
    copy = folder / "source"
    for name in run("git", "ls-files", "-z").stdout.split("\0"):
        if name and (ROOT / name).is_file():
            (copy / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, copy / name)
    return copy


def check_metadata(points: Points, wheel: Path) -> str:
    """The wheel's metadata and files; its version."""
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        inside = next(name for name in names if name.endswith(".dist-info/METADATA"))
        told = email.message_from_bytes(archive.read(inside))
    for name in NEEDED:
        points.say(bool(told.get_all(name)), f"metadata: {name}")
    points.say(len(told.get_payload()) > 1000, "metadata: the README is the description")
    missing = [name for name in IN_WHEEL if name not in names]
    points.say(
        not missing, f"the wheel holds what it needs{': not ' + ', '.join(missing) if missing else ''}"
    )
    extra = [name for name in names if not re.match(r"lungsight(/|-)", name)]
    points.say(not extra, "the wheel holds nothing beside lungsight")
    size = wheel.stat().st_size
    points.say(size <= MOST_BYTES, f"the wheel has {size / 1e6:.1f} MB")
    return str(told["Version"])


def check_words(points: Points, version: str) -> None:
    """Files that name the version."""
    changes = (ROOT / "CHANGELOG.md").read_text("utf-8")
    points.say(f"## {version}" in changes, f"CHANGELOG.md has a heading for {version}")
    citation = (ROOT / "CITATION.cff").read_text("utf-8")
    points.say(f"version: {version}" in citation, f"CITATION.cff names {version}")
    points.say(
        "Report a vulnerability" in (ROOT / "SECURITY.md").read_text("utf-8"), "SECURITY.md says whom to tell"
    )


def main() -> int:
    """Build, look, install, check."""
    points = Points()
    with tempfile.TemporaryDirectory(prefix="lungsight-release-") as name:
        folder = Path(name)
        source, out = clean_copy(folder), folder / "dist"
        built = run(sys.executable, "-m", "build", "--outdir", out, folder=source)
        points.say(built.returncode == 0, "wheel and sdist build from what git knows")
        if built.returncode:
            print(built.stdout[-1500:], built.stderr[-1500:])
            return 1
        wheel, sdist = next(out.glob("*.whl")), next(out.glob("*.tar.gz"))
        looked = run(sys.executable, "-m", "twine", "check", "--strict", wheel, sdist)
        points.say(looked.returncode == 0, "twine finds no fault in the metadata")
        with tarfile.open(sdist) as archive:
            inside = {name.partition("/")[2] for name in archive.getnames()}
        points.say(all(name in inside for name in IN_SDIST), "the sdist holds the source")
        version = check_metadata(points, wheel)
        check_words(points, version)
        python = folder / "empty" / "bin" / "python"
        run(os.environ.get("PYTHON", sys.executable), "-m", "venv", folder / "empty")
        done = run(python, "-m", "pip", "install", "--quiet", wheel)
        points.say(done.returncode == 0, "the wheel installs in an empty environment")
        console = python.with_name("lungsight")
        said = run(console, "--version", folder=folder)
        points.say(said.stdout.strip() == f"lungsight {version}", f"lungsight --version says {version}")
        heavy = run(
            python, "-c", "import importlib.util as u; raise SystemExit(u.find_spec('torch') is not None)"
        )
        points.say(heavy.returncode == 0, "it brings no PyTorch")
        checked = run(console, "check", folder=folder)
        points.say(checked.returncode == 0, "lungsight check")
        if checked.returncode:
            print(checked.stdout[-1500:], checked.stderr[-1500:])
    print(f"\n{points.passed} passed, {points.failed} failed")
    return 1 if points.failed else 0


if __name__ == "__main__":
    sys.exit(main())
