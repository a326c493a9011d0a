"""The papers' Omniglot table, cell by cell: ``minimeta reproduce omniglot``.

A *training* is a preset with a seed; a *cell* is a column of the papers' tables, which one training serves
(a Prototypical Network trained on 60 ways serves 5 and 20). Every finished training is a file of its own
beside its weights, so a run may stop anywhere and go on later, and several may work side by side.

>>> len(CELLS), cell_name("maml", 5, 1)
(12, 'maml-5w1s')
"""

import json
import statistics
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from minimeta.catalog import tasks
from minimeta.errors import MinimetaError, check_count, check_rate
from minimeta.evaluate import half_width, meta_test
from minimeta.files import replacing
from minimeta.norm import BN, bn_mode
from minimeta.presets import PRESETS, Preset, start
from minimeta.train import meta_train
from minimeta.weights import load, save

CELLS = [(m, n, k) for m in ("protonet", "relationnet", "maml") for n in (5, 20) for k in (1, 5)]
# accuracy in % and its interval: the papers, and the best rerun by somebody else (oscarknagg's and
# PaddleFSL's published results); None where there is none
PAPER: dict[str, tuple[float, float | None]] = {
    "protonet-5w1s": (98.8, None), "protonet-5w5s": (99.7, None), "protonet-20w1s": (96.0, None),
    "protonet-20w5s": (98.9, None), "relationnet-5w1s": (99.6, 0.2), "relationnet-5w5s": (99.8, 0.1),
    "relationnet-20w1s": (97.6, 0.2), "relationnet-20w5s": (99.1, 0.1), "maml-5w1s": (98.7, 0.4),
    "maml-5w5s": (99.9, 0.1), "maml-20w1s": (95.8, 0.3), "maml-20w5s": (98.9, 0.2),
}  # fmt: skip
RERUN: dict[str, float] = {
    "protonet-5w1s": 98.3, "protonet-5w5s": 99.4, "protonet-20w1s": 95.8, "protonet-20w5s": 98.6,
    "relationnet-5w1s": 98.0, "relationnet-5w5s": 99.3, "maml-5w1s": 98.1, "maml-5w5s": 99.8,
    "maml-20w1s": 91.6, "maml-20w5s": 95.9,
}  # fmt: skip
MODES: dict[str, tuple[BN, ...]] = {
    "running": ("running", "batch", "support"),
    "batch": ("batch", "support"),
}
QUERIES = 15  # a class, in every test


def cell_name(method: str, ways: int, shots: int) -> str:
    """Name a column of the table."""
    return f"{method}-{ways}w{shots}s"


def preset_for(method: str, ways: int, shots: int, kind: str = "tuned") -> Preset:
    """Return the preset whose training serves a cell."""
    for preset in PRESETS.values():
        if (preset.method, preset.data, preset.shots, preset.kind) == (
            method,
            "omniglot",
            shots,
            kind,
        ):
            if ways in preset.test_ways and not preset.options.get("first_order"):
                return preset
    raise MinimetaError(f"there is no {kind} preset for {cell_name(method, ways, shots)}.")


def omniglot(
    folder: Path,
    *,
    cells: Sequence[str] = (),
    kind: str = "tuned",
    seeds: Sequence[int] = (0, 1, 2),
    effort: float = 1.0,
    episodes: int = 1000,
    device: str = "cpu",
    say: Callable[[str], object] = print,
) -> list[dict[str, Any]]:
    """Train and test what is not there yet; return every finished training in the folder.

    Parameters
    ----------
    folder
        Where checkpoints, weights and results go, and where an earlier run left its own.
    cells
        Names such as ``"maml-5w1s"``; none: all twelve.
    kind
        ``"tuned"`` or ``"paper"`` presets.
    seeds
        Of the networks' start and of the training tasks; every cell is done for the first before the
        second begins.
    effort
        The fraction of the preset's steps to take; it stands in the results.
    episodes
        Test tasks of each test.
    """
    wanted = _wanted(cells)
    check_rate("effort", effort)
    check_count("episodes", episodes)
    for seed in seeds:
        for method, ways, shots in wanted:
            preset = preset_for(method, ways, shots, kind)
            path = folder / f"{preset.name}-seed{seed}-effort{effort:g}.json"
            row = _read(path) or {
                "preset": preset.name, "kind": kind, "method": method, "seed": seed, "effort": effort,
                "tests": [],
            }  # fmt: skip
            learner = _trained(preset, row, path, seed, effort, device, say)
            modes = MODES[bn_mode(learner)]
            for bn in modes:
                if not any((t["ways"], t["bn"]) == (ways, bn) for t in row["tests"]):
                    test = tasks(
                        "omniglot", split="test", ways=ways, shots=shots, queries=QUERIES, device=device
                    )  # fmt: skip
                    result = meta_test(learner, test, episodes=episodes, bn=bn)
                    row["tests"].append({"own": bn == modes[0], **result.to_json()})
                    _write(path, row)
                    say(f"{cell_name(method, ways, shots)}, seed {seed}: {result}")
    return collect(folder)


def _trained(
    preset: Preset, row: dict[str, Any], path: Path, seed: int, effort: float, device: str,
    say: Callable[[str], object],
) -> nn.Module:  # fmt: skip
    """Return the trained learner: from its file, or by training it now."""
    weights = path.with_suffix(".safetensors")
    if "seconds" in row and weights.exists():
        return load(weights).to(device)
    learner = start(preset, seed).to(device)
    steps = max(1, round(effort * preset.steps))
    optimizer, schedule = preset.optimizer(learner, steps)
    say(f"{preset.name}, seed {seed}: {steps} steps")
    train = tasks(
        "omniglot", split="train", ways=preset.ways, shots=preset.shots, queries=preset.queries,
        device=device,
    )  # fmt: skip
    val = tasks(
        "omniglot", split="val", ways=max(preset.test_ways), shots=preset.shots, queries=5,
        device=device,
    )  # fmt: skip
    record = meta_train(
        learner, train, steps=steps, meta_batch=preset.meta_batch, optimizer=optimizer,
        schedule=schedule, clip=preset.clip, seed=seed, val_tasks=val,
        val_every=max(1, -(-steps // 10)), val_episodes=100,
        checkpoint=path.with_suffix(".checkpoint"), checkpoint_every=max(1, steps // 20),
    )  # fmt: skip
    row |= {
        "steps": steps, "meta_batch": preset.meta_batch, "seconds": round(record.seconds, 1),
        "selected_step": record.best_step, "val": [[n, r.mean] for n, r in record.val],
        "device": torch.cuda.get_device_name() if device != "cpu" else "cpu",
        "threads": torch.get_num_threads(), "torch": torch.__version__,
    }  # fmt: skip
    save(learner.cpu(), weights, note=f"{preset.name}, seed {seed}, {record}; {train}")
    _write(path, row)
    say(f"{preset.name}, seed {seed}: {record}")
    return learner.to(device)


def collect(folder: Path) -> list[dict[str, Any]]:
    """Return the finished trainings that lie in a folder."""
    rows = [row for path in sorted(folder.glob("*.json")) if (row := _read(path))]
    return [row for row in rows if "seconds" in row]


def cell_rows(rows: Iterable[dict[str, Any]], cell: str, bn: str | None = None) -> list[Any]:
    """Return (training, test) of a cell; ``bn`` None: in the network's own mode."""
    found = []
    for row in rows:
        for test in row["tests"]:
            name = cell_name(row["method"], test["ways"], test["shots"])
            if name == cell and (test["own"] if bn is None else test["bn"] == bn):
                found.append((row, test))
    return found


def table(rows: Sequence[dict[str, Any]]) -> list[dict[str, str]]:
    """Lay the papers' numbers beside ours, in %; a cell that has not run says so."""
    lines = []
    for method, ways, shots in CELLS:
        cell = cell_name(method, ways, shots)
        paper, interval = PAPER[cell]
        line = {
            "cell": cell, "paper": f"{paper:.1f}" + (f" ± {interval}" if interval else ""),
            "rerun": f"{RERUN[cell]:.1f}" if cell in RERUN else "",
        }  # fmt: skip
        own = cell_rows(rows, cell)
        line["here"] = _mean([t["mean"] for _, t in own]) if own else "not run"
        line["support"] = _mean([t["mean"] for _, t in cell_rows(rows, cell, "support")])
        line["bn"] = ", ".join(dict.fromkeys(t["bn"] for _, t in own))
        line["seeds"] = str(len(own)) if own else ""
        if len(own) == 1:
            line["here"] += f" (± {100 * own[0][1]['ci95']:.2f} over tasks)"
        seconds = [row["seconds"] for row, _ in own]
        line["minutes"] = f"{statistics.mean(seconds) / 60:.1f}" if seconds else ""
        line["steps"] = ", ".join(
            dict.fromkeys(f"{r['steps']} x {r['meta_batch']}" for r, _ in own)
        )
        lines.append(line)
    return lines


def _mean(means: Sequence[float]) -> str:
    """Write a mean over training seeds in %, with Student's t from two on."""
    if not means:
        return ""
    text = f"{100 * statistics.mean(means):.2f}"
    return text if len(means) < 2 else f"{text} ± {100 * half_width(means, over='seeds'):.2f}"


def report(rows: Sequence[dict[str, Any]]) -> str:
    """Write the table as text."""
    lines = table(rows)
    heads = {
        "cell": "cell", "paper": "paper, %", "rerun": "rerun, %", "here": "here, %", "bn": "bn",
        "support": "bn=support, %", "seeds": "seeds", "minutes": "minutes",
    }  # fmt: skip
    width = {k: max(len(h), *(len(line[k]) for line in lines)) for k, h in heads.items()}
    shown = [heads, *lines]
    return "\n".join("  ".join(line[k].ljust(width[k]) for k in heads).rstrip() for line in shown)


def _wanted(cells: Sequence[str]) -> list[tuple[str, int, int]]:
    known = {cell_name(*cell): cell for cell in CELLS}
    if unknown := [name for name in cells if name not in known]:
        raise MinimetaError(
            f"there is no cell named {', '.join(unknown)}; the names are {', '.join(known)}."
        )
    return [known[name] for name in (cells or known)]


def _read(path: Path) -> dict[str, Any] | None:
    if not path.exists():
        return None
    try:
        row: dict[str, Any] = json.loads(path.read_text(encoding="utf8"))
        return row
    except ValueError as error:
        raise MinimetaError(
            f"{path} is not readable JSON ({error}); move it away to train that cell again."
        ) from None


def _write(path: Path, row: dict[str, Any]) -> None:
    with replacing(path) as file:
        file.write((json.dumps(row, indent=1) + "\n").encode())
