"""What every command shares: version, help, quiet and verbose, an output that cannot be one."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import onnxruntime
import pytest

import lungsight as package
from command import lungsight
from lungsight.cli import app, console
from lungsight.errors import ConfigError
from lungsight.inference.providers import PROVIDERS, execution_providers

COMMANDS = [
    command.name or command.callback.__name__.replace("_", "-") for command in app.registered_commands
]  # type: ignore[union-attr]


def test_the_version() -> None:
    assert lungsight("--version").out == f"lungsight {package.__version__}\n"
    done = subprocess.run(
        [sys.executable, "-m", "lungsight", "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"lungsight {package.__version__}\n"


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_help_is_never_cut(columns: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    for words in ([], *([name] for name in COMMANDS), ["data"], ["data", "phantom"]):
        done = lungsight(*words, "--help")
        assert done.code == 0
        text = re.sub(r"(?s)^Usage:.*?\n\n", "", done.out).replace("INPUTS...", "")
        text = text.replace("FILES...", "").replace("THEIRS,...", "")
        assert "…" not in text and "..." not in text, f"{words} at {columns} columns"


def test_every_option_stands_in_the_help_with_all_its_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "60")
    said = " ".join(lungsight("train", "--help").out.split())
    for words in (
        "First weights: 'shipped', a run's folder, or a file (.safetensors, .pth) matched by name.",
        "Stop before the epoch that would end later than this.",
        "-q, --quiet Say only what was made and what failed.",
    ):
        assert words in said


def test_quiet_says_results_and_failures_alone(tmp_path: Path) -> None:
    loud = lungsight("explain", tmp_path / "absent.png", "--out", tmp_path)
    quiet = lungsight("explain", tmp_path / "absent.png", "--out", tmp_path, "--quiet")
    assert loud.code == quiet.code == 2
    assert "Research use only" in loud.err and "Research use only" not in quiet.err
    assert quiet.err.startswith("failed ")
    assert console.level() is console.Level.QUIET
    lungsight("--version")
    assert console.level() is console.Level.NORMAL, "it holds for one command"


def test_verbose_says_where_without_a_word_of_the_file(tmp_path: Path) -> None:
    recipe = tmp_path / "mine.toml"
    recipe.write_text('name = "Jane Doe')
    done = lungsight("train", recipe, "--data", tmp_path, "--out", tmp_path / "run", "--verbose")
    assert done.code == 2
    assert "ConfigError:" in done.err and "records.py:" in done.err
    assert "TOMLDecodeError" in done.err, "what lies beneath is named by its kind"
    assert "Jane" not in done.err and "Traceback" not in done.err
    assert len(lungsight("train", recipe, "--data", tmp_path, "--out", "run").err.splitlines()) == 1


def test_a_file_in_the_place_of_a_folder(tmp_path: Path) -> None:
    file = tmp_path / "results"
    file.write_text("")
    done = lungsight("data", "phantom", "--count", "2", file)
    assert done.code == 2
    assert f"{file}: " in done.err and "folder" in done.err and "Traceback" not in done.err


def test_execution_providers(monkeypatch: pytest.MonkeyPatch) -> None:
    assert execution_providers() == ["CPUExecutionProvider"]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [PROVIDERS["cuda"], PROVIDERS["cpu"]])
    assert execution_providers("auto") == execution_providers("cuda") == [PROVIDERS["cuda"], PROVIDERS["cpu"]]
    assert execution_providers("cpu") == [PROVIDERS["cpu"]]
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: [PROVIDERS["cpu"]])
    assert execution_providers("auto") == [PROVIDERS["cpu"]]
    with pytest.raises(ConfigError, match=r"cannot use openvino. Put onnxruntime-openvino in the place"):
        execution_providers("openvino")
    with pytest.raises(ConfigError, match="no such device"):
        execution_providers("abacus")
