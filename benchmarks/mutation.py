"""How many changes made by a machine do the tests see? A random sample of mutmut's mutants of each module.

    python benchmarks/mutation.py lungsight.metrics.overlap --sample 120 --seed 7
    python benchmarks/mutation.py                             # every module of `[tool.mutmut]` in pyproject.toml
    python benchmarks/mutation.py --sample 0                  # and every mutant of it: `make mutation`

mutmut writes `mutants/` beside `src/` once, with the tests that `[tool.mutmut]` names. Printed for each module: killed
of tried, with the 95 % Wilson interval, and the names of those that survived (`mutmut show NAME` prints the change). A
mutant that no chosen test runs counts as survived, one whose tests do not end as killed.
"""

from __future__ import annotations

import argparse
import json
import random
import subprocess
import sys
from pathlib import Path

from mutmut.stats import status_by_exit_code

from lungsight.metrics import wilson_bounds

MUTANTS = Path("mutants/src")
KILLED = ("killed", "timeout", "segfault")
"""What mutmut says of a mutant that the tests see."""


def mutmut(*names: str) -> None:
    """Try these mutants, one after the other; what mutmut prints goes to standard error."""
    command = [sys.executable, "-m", "mutmut", "run", "--max-children", "1", *names]
    subprocess.run(command, stdout=sys.stderr, check=True)


def tried(module: str) -> dict[str, int | None]:
    """Exit code by mutant of a module; None where it was not tried."""
    path = MUTANTS / (module.replace(".", "/") + ".py.meta")
    codes: dict[str, int | None] = json.loads(path.read_text())["exit_code_by_key"]
    return codes


def main() -> None:
    """Sample, try, count."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("modules", nargs="*")
    parser.add_argument("--sample", type=int, default=120)
    parser.add_argument("--seed", type=int, default=7)
    given = parser.parse_args()
    if not any(MUTANTS.rglob("*.meta")):
        mutmut("lungsight.preprocess.*__mutmut_1")
    modules = given.modules or sorted(
        ".".join(path.relative_to(MUTANTS).parts).removesuffix(".py.meta") for path in MUTANTS.rglob("*.meta")
    )
    for module in modules:
        names = sorted(tried(module))
        if 0 < given.sample < len(names):
            names = sorted(random.Random(given.seed).sample(names, given.sample))
        mutmut(*names)
        codes = tried(module)
        survived = [name for name in names if status_by_exit_code[codes[name]] not in KILLED]
        killed = len(names) - len(survived)
        low, high = wilson_bounds(killed, len(names))
        print(
            f"{module}: {killed} of {len(names)} killed ({killed / len(names):.3f}, {float(low):.3f} to "
            f"{float(high):.3f}), of {len(codes)} mutants",
            *(f"  {name} ({status_by_exit_code[codes[name]]})" for name in survived),
            sep="\n",
            flush=True,
        )


if __name__ == "__main__":
    main()
