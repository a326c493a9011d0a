"""The papers' Omniglot table, cell by cell: ``minimeta reproduce omniglot``, and Lake's runs.

A *training* is a preset with a seed; a *cell* is a column of the papers' tables, which one training serves
(a Prototypical Network trained on 60 ways serves 5 and 20). Every finished training is a file of its own
beside its weights, so a run may stop anywhere and go on later, and several may work side by side: the
second at the same training waits for the first.

>>> preset_for("protonet", 20, 1).name        # trained on 60 ways, it serves 5 and 20
'protonet-omniglot-1s-tuned'
"""

import hashlib
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from minimeta import rows
from minimeta.catalog import tasks
from minimeta.errors import MinimetaError, check_device, check_episodes, check_rate
from minimeta.evaluate import meta_test
from minimeta.norm import BN, bn_mode
from minimeta.papertable import CELLS, cell_name
from minimeta.presets import PRESETS, Preset, start
from minimeta.train import meta_train
from minimeta.weights import load, save

MODES: dict[str, tuple[BN, ...]] = {
    "running": ("running", "batch", "support"),
    "batch": ("batch", "support"),
}
KEYS = ("preset", "kind", "method", "seed", "effort", "tests")
QUERIES = 15  # a class, in every test


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
    cells = known_cells(cells)
    wanted = [cell for cell in CELLS if not cells or cell_name(*cell) in cells]
    check_rate("effort", effort)
    check_episodes(episodes)
    check_device(device)
    folder = rows.opened(folder)
    for seed in seeds:
        for method, ways, shots in wanted:
            preset = preset_for(method, ways, shots, kind)
            path = folder / f"{preset.name}-seed{seed}-effort{effort:g}.json"
            with rows.held(path, say):
                row = rows.read(path, KEYS) or _row(preset, seed, effort)
                learner = _trained(preset, row, path, effort, device, say)
                modes = MODES[bn_mode(learner)]
                for bn in modes:
                    mine = [t for t in row["tests"] if (t["ways"], t["bn"]) == (ways, bn)]
                    if any(t["episodes"] == episodes for t in mine):
                        continue
                    test = tasks(
                        "omniglot", split="test", ways=ways, shots=shots, queries=QUERIES, device=device
                    )  # fmt: skip
                    result = meta_test(learner, test, episodes=episodes, bn=bn)
                    # a test of another length makes room: a cell is one number
                    row["tests"] = [t for t in row["tests"] if t not in mine]
                    row["tests"].append({"own": bn == modes[0], **result.to_json()})
                    rows.write(path, row)
                    say(f"{cell_name(method, ways, shots)}, seed {seed}: {result}")
    return collect(folder)


def lake(
    folder: Path, *, seeds: Sequence[int] = (0, 1, 2), effort: float = 1.0, device: str = "cpu",
    say: Callable[[str], object] = print,
) -> list[dict[str, Any]]:  # fmt: skip
    """Score Prototypical Networks on Lake et al.'s 20 within-alphabet one-shot runs.

    They are trained on the 964 background characters and their rotations, since 78 of the runs' 200
    characters are training characters of the usual split. Nothing is selected: there is no val set.
    """
    check_rate("effort", effort)
    check_device(device)
    folder = rows.opened(folder)
    found = []
    for seed in seeds:
        preset = PRESETS["protonet-omniglot-1s-tuned"]
        path = folder / f"lake-seed{seed}-effort{effort:g}.json"
        with rows.held(path, say):
            row = rows.read(path, KEYS) or _row(preset, seed, effort) | {"method": "lake"}
            learner = _trained(
                preset, row, path, effort, device, say, protocol="lake", rotations=True
            )
            runs = tasks("omniglot-runs", split="test", ways=20, shots=1, device=device)
            for bn in MODES[bn_mode(learner)]:
                if not any(t["bn"] == bn for t in row["tests"]):
                    result = meta_test(learner, runs, episodes=20, bn=bn)
                    row["tests"].append({"own": bn == "running", **result.to_json()})
                    rows.write(path, row)
                    error = 100 * (1 - result.mean)
                    say(f"Lake's runs, seed {seed}: error {error:.2f} % ({result.protocol()})")
        found.append(row)
    return found


def _row(preset: Preset, seed: int, effort: float) -> dict[str, Any]:
    return {
        "preset": preset.name, "kind": preset.kind, "method": preset.method, "seed": seed,
        "effort": effort, "tests": [],
    }  # fmt: skip


def _trained(
    preset: Preset, row: dict[str, Any], path: Path, effort: float, device: str,
    say: Callable[[str], object], **options: Any,
) -> nn.Module:  # fmt: skip
    """Return the trained learner: from its file, or by training it now."""
    weights, seed = path.with_suffix(".safetensors"), row["seed"]
    if "seconds" in row and weights.exists():
        if row.get("weights") != _digest(weights):
            raise MinimetaError(
                f"{weights} is not the file that {path.name} was written with; move both away to train again."
            )
        return load(weights).to(device)
    learner = start(preset, seed).to(device)
    steps = max(1, round(effort * preset.steps))
    optimizer, schedule = preset.optimizer(learner, steps)
    say(f"{path.stem}: {steps} steps")
    train = tasks(
        "omniglot", split="train", ways=preset.ways, shots=preset.shots, queries=preset.queries,
        device=device, **options,
    )  # fmt: skip
    val = None if options else tasks(
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
        "device": device_name(device), "threads": torch.get_num_threads(), "torch": torch.__version__,
        "tests": [],  # those of an earlier training are not of these weights
    }  # fmt: skip
    save(learner.cpu(), weights, note=f"{preset.name}, seed {seed}, {record}; {train}")
    row["weights"] = _digest(weights)
    rows.write(path, row)
    say(f"{path.stem}: {record}")
    return learner.to(device)


def device_name(device: str) -> str:
    """Name the GPU, or say ``"cpu"``."""
    kind = torch.device(device)
    return torch.cuda.get_device_name(kind) if kind.type == "cuda" else kind.type


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def collect(folder: Path) -> list[dict[str, Any]]:
    """Return the finished trainings that lie in a folder, beside whatever else does."""
    patterns = ("*-omniglot-*-seed*-effort*.json", "lake-seed*-effort*.json")
    found = [row for pattern in patterns for row in rows.read_all(folder, pattern, KEYS)]
    return [row for row in found if "seconds" in row]


def known_cells(names: Iterable[str]) -> list[str]:
    """Return the names, each once, or say which are no cells."""
    names = list(dict.fromkeys(names))
    known = [cell_name(*cell) for cell in CELLS]
    if unknown := [name for name in names if name not in known]:
        raise MinimetaError(
            f"there is no cell named {', '.join(unknown)}; the names are {', '.join(known)}."
        )
    return names
