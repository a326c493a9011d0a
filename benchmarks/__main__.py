"""Run benchmarks: ``python -m benchmarks`` (``make bench``) all, ``python -m benchmarks growth`` one or some.

Hours on two CPU cores. Each runs in a process of its own, since the peak of a process's memory starts at
the size of the process that began it, and a large one would hide what its child needs.
"""

import importlib
import subprocess
import sys

from minimeta.errors import DataUnavailable

NAMES = (
    "meta_gradients", "sampling", "speed", "growth", "footprint", "glyphs", "sinusoids", "curves",
    "reading", "cheaper", "omniglot", "splits", "speedrun",
)  # fmt: skip


def one(name: str) -> None:
    """Run a benchmark in this process."""
    try:
        importlib.import_module(f"benchmarks.{name}").main()
    except DataUnavailable as error:  # data that are not here and cannot be fetched now
        print(f"left out: {error}")


def main(names: list[str]) -> None:
    """Run them, one after another; the first that fails ends it."""
    if unknown := [name for name in names if name not in NAMES]:
        sys.exit(f"there is no benchmark named {', '.join(unknown)}; there is {', '.join(NAMES)}.")
    for name in names or NAMES:
        print(f"\n== {name}", flush=True)
        code = f"from benchmarks.__main__ import one; one({name!r})"
        subprocess.run([sys.executable, "-c", code], check=True)


if __name__ == "__main__":
    main(sys.argv[1:])
