"""What every benchmark shares: who measured, on what, and where the results go."""

import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from datetime import date
from pathlib import Path
from typing import Any

import numpy
import torch

import minimeta

RESULTS = Path(__file__).resolve().parent / "results"


def machine() -> dict[str, Any]:
    """Describe the machine and the versions that a figure depends on."""
    return {
        "date": date.today().isoformat(),
        "processor": processor(),
        "cpu_cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "numpy": numpy.__version__,
        "minimeta": minimeta.__version__,
    }


def processor() -> str:
    """Name the processor, or its kind where the system does not tell."""
    file = Path("/proc/cpuinfo")
    lines = file.read_text(encoding="utf8").splitlines() if file.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def write(name: str, command: str, results: Any) -> None:
    """Write ``benchmarks/results/<name>.json``: the figures, their command and the machine."""
    RESULTS.mkdir(exist_ok=True)
    content = {"command": command, "machine": machine(), "results": results}
    path = RESULTS / f"{name}.json"
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf8")
    print(f"wrote benchmarks/results/{path.name}")


def read(name: str) -> Any:
    """Return the figures of ``benchmarks/results/<name>.json``, or None if it was never written."""
    path = RESULTS / f"{name}.json"
    return json.loads(path.read_text(encoding="utf8"))["results"] if path.exists() else None


def interleaved(candidates: dict[str, Callable[[], Any]], *, rounds: int) -> dict[str, list[float]]:
    """Time every candidate in turn, A B A B ..., so that what slows the machine slows them all.

    A turn repeats a short candidate for about 30 ms, as a training loop does, and reports the mean.
    """
    repeats = {}
    for name, run in candidates.items():
        run()
        start = time.perf_counter()
        run()
        repeats[name] = max(1, int(0.03 / (time.perf_counter() - start)))
    seconds: dict[str, list[float]] = {name: [] for name in candidates}
    for _ in range(rounds):
        for name, run in candidates.items():
            start = time.perf_counter()
            for _ in range(repeats[name]):
                run()
            seconds[name].append((time.perf_counter() - start) / repeats[name])
    return seconds


def check_seeds(seeds: int) -> None:
    """Refuse, before hours of training, too few seeds for the interval that is written in the end."""
    if seeds < 2:
        raise SystemExit(
            f"{seeds} seed(s) were asked for; an interval over seeds needs two or more."
        )


def ratio(slow: list[float], fast: list[float]) -> float:
    """Median over the rounds of how many times faster ``fast`` was."""
    return statistics.median(a / b for a, b in zip(slow, fast, strict=True))
