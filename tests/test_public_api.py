"""The names that users import, and how quickly."""

from __future__ import annotations

import subprocess
import sys
import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

import lungsight

HEAVY = ("torch", "pandas", "matplotlib", "sklearn", "scipy", "pydicom", "cv2", "onnxruntime", "numpy", "PIL")


def _run(code: str) -> str:
    return subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True
    ).stdout.strip()


def test_all_is_what_it_says() -> None:
    assert lungsight.__all__ == sorted(lungsight.__all__)
    wanted = {
        "load_model",
        "predict",
        "read_xray",
        "read_dataset",
        "Lungsight",
        "Result",
        "Failure",
        "XRay",
        "Limits",
    }
    assert wanted <= set(lungsight.__all__)
    for name in lungsight.__all__:
        assert getattr(lungsight, name) is not None
        assert name in dir(lungsight)


def test_every_error_is_importable() -> None:
    from lungsight import errors

    tree = {
        name for name, kind in vars(errors).items() if isinstance(kind, type) and issubclass(kind, Exception)
    }
    assert tree <= set(lungsight.__all__)


def test_every_type_of_an_answer_is_importable() -> None:
    """What stands in a signature or a field that a caller sees can be named by the caller."""
    import typing

    for kind in (
        lungsight.Result,
        lungsight.ResultRecord,
        lungsight.Gate,
        lungsight.Diagnosis,
        lungsight.Summary,
    ):
        for hint in typing.get_type_hints(kind).values():
            for one in (hint, *typing.get_args(hint)):
                if getattr(one, "__module__", "").startswith("lungsight"):
                    assert one.__name__ in (*lungsight.__all__, "Frame"), (kind, one)


def test_the_version_has_one_source() -> None:
    table = tomllib.loads((Path(__file__).resolve().parents[1] / "pyproject.toml").read_text())
    assert "version" not in table["project"]
    assert table["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "lungsight.__version__"}


def test_an_unknown_name_is_an_attribute_error() -> None:
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        lungsight.nothing  # noqa: B018


def test_import_loads_nothing_heavy() -> None:
    loaded = _run(f"import sys, lungsight; print([m for m in {HEAVY} if m in sys.modules])")
    assert loaded == "[]"


def test_help_loads_nothing_heavy() -> None:
    code = (
        "import sys; sys.argv = ['lungsight', '--help']\n"
        "from lungsight.cli import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        f"print([m for m in {HEAVY} if m in sys.modules])"
    )
    text = _run(code)
    assert text.endswith("[]")
    assert "not for diagnosis" in text.splitlines()[3] + text.splitlines()[2]


def test_prediction_needs_only_the_base_install(tmp_path: Path) -> None:
    """With the optional packages made impossible to import, an X-ray is still predicted."""
    if find_spec("onnx") is None:
        pytest.skip("onnx is not installed: it makes the networks of this test")
    from tiny_networks import write_bundle

    write_bundle(tmp_path)
    code = f"""
import sys
for name in ("torch", "pandas", "matplotlib", "sklearn", "scipy", "onnx", "lightning", "monai", "fastapi", "ray"):
    sys.modules[name] = None
import numpy as np
from lungsight import load_model
result = load_model({str(tmp_path)!r})(np.tile(np.arange(0, 256, 2, np.uint8), (128, 1)))
print(result.mask.shape)
"""
    assert _run(code) == "(128, 128)"
