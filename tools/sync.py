"""Copy into the documents what has its one source elsewhere.

    python tools/sync.py            # write
    python tools/sync.py --check    # only say what is out of date (a test does this)

- the repository's public address, from ``pyproject.toml`` (the chapters' first cell holds it too, so
  run ``python tools/notebooks.py build`` after a change);
- the tables of measured figures, from ``benchmarks/results/*.json``.
"""

import argparse
import json
import re
import sys
import tomllib
from pathlib import Path
from statistics import median
from typing import Any

from minimeta import papertable
from minimeta.presets import PRESETS
from minimeta.reproduce import preset_for

ROOT = Path(__file__).resolve().parent.parent
DOCUMENTS = [
    ROOT / "README.md", ROOT / "CITATION.cff", ROOT / "_config.yml",
    *sorted((ROOT / "book").rglob("*.md")), *sorted((ROOT / "chapters" / "src").glob("*.md")),
]  # fmt: skip
ADDRESS = re.compile(r"https://github\.com/[\w.-]+/minimeta\b")
TABLE = re.compile(r"(<!-- (\w+): written by [^\n]*-->\n).*?(<!-- end of \2 -->)", re.DOTALL)


def read(name: str) -> Any:
    """Return the results of one benchmark, or None if it has not run."""
    path = ROOT / "benchmarks" / "results" / f"{name}.json"
    return json.loads(path.read_text(encoding="utf8"))["results"] if path.exists() else None


def percent(row: dict[str, Any], digits: int = 1) -> str:
    """Write a result as a percentage with its interval."""
    return f"{100 * row['mean']:.{digits}f} ± {100 * row['ci95']:.{digits}f} %"


def table() -> str:
    """Render the measured figures; one that has not been measured is not there."""
    rows: list[tuple[str, str, str]] = []
    if glyphs := read("glyphs"):
        what = "letters of unseen scripts, 5-way 1-shot"
        rows.append(
            (
                f"nearest mean of raw pixels, {what}",
                f"{percent(glyphs[0])} (± over tasks)",
                "glyphs",
            )
        )
        for name in dict.fromkeys(row["learner"] for row in glyphs[1:]):
            mine = [r for r in glyphs if r["learner"] == name and r["bn"] == "batch"]
            seconds = median(r["training_s"] for r in mine)
            means = " / ".join(f"{100 * r['mean']:.1f}" for r in mine)
            widest = max(100 * r["ci95"] for r in mine)
            rows.append((
                f"{name}, {what}, {seconds:.0f} s of training (median), bn=batch, {len(mine)} seeds",
                f"{means} % (each ± {widest:.1f} at most, over tasks)", "glyphs",
            ))  # fmt: skip
    for line in papertable.table(read("omniglot") or []):
        if line["seeds"] and "5w1s" in line["cell"]:
            seeds, over = (
                papertable.seeds(int(line["seeds"])),
                "tasks" if line["seeds"] == "1" else "seeds",
            )
            method = line["cell"].split("-")[0]
            # all cells that the training serves: testing fewer would leave the others without
            ways = preset_for(method, 5, 1).test_ways
            cells = ",".join(papertable.cell_name(method, n, 1) for n in ways)
            command = f"omniglot --cells {cells} --effort {line['effort']} --seeds {line['seeds']}"
            rows.append((
                f"{line['cell']}, Omniglot (Vinyals split), {line['minutes']} min of training, bn={line['bn']}, {seeds}",
                f"{line['here']} % (± over {over})", command.removesuffix(" --seeds 1"),
            ))  # fmt: skip
    if sinusoids := read("sinusoids"):
        ratio, spread = sinusoids["ratio_mean"], sinusoids["ratio_ci95_over_seeds"]
        rows.append((
            f"sinusoids, K = 10, one step: error of joint training over MAML's, {len(sinusoids['seeds'])} seeds",
            f"{ratio:.2f} ± {spread:.2f} times (± over seeds)",
            f"sinusoids --steps {sinusoids['seeds'][0]['steps']}",
        ))  # fmt: skip
    if sampling := read("sampling"):
        for row in sampling:
            rate = row["episodes_per_s"]["minimeta"]
            rows.append((
                f"sampling, {row['tasks']}: episodes a second", f"{rate:,.0f}, {row['ratio']:.0f} x learn2learn", "sampling",
            ))  # fmt: skip
    if gradients := read("meta_gradients"):
        worst = max(row["relative_difference"] for row in gradients)
        peers = " and ".join(dict.fromkeys(row["peer"] for row in gradients))
        rows.append((
            f"MAML's meta-gradients beside {peers}'s, {len(gradients) // 2} settings each: largest difference",
            f"{worst:.0e} (relative, float64)", "meta_gradients",
        ))  # fmt: skip
    lines = ["| what | measured | `python -m benchmarks.` |", "| --- | --- | --- |"]
    return "\n".join(lines + [f"| {a} | {b} | `{c}` |" for a, b, c in rows]) + "\n"


def omniglot() -> str:
    """Render the papers' Omniglot table beside ours."""
    rows = read("omniglot") or []
    lines = [
        "| cell | paper | rerun | here | bn=support | training here |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for line in papertable.table(rows):
        how = ""
        if line["seeds"]:
            seeds = papertable.seeds(int(line["seeds"]))
            how = f"{seeds}, {line['steps']}, {line['minutes']} min, {line['device']}; bn={line['bn']}"
        cells = [line[c] for c in ("cell", "paper", "rerun", "here", "support")]
        lines.append("| " + " | ".join([*cells, how]) + " |")
    return "\n".join(lines) + "\n"


def shortfall() -> str:
    """Show, of every cell below its floor or with trainings of several lengths, what length brings."""
    rows, blocks = read("omniglot") or [], []
    for cell, floor in papertable.FLOOR.items():
        main = papertable.cell_rows(rows, cell)
        every = papertable.cell_rows(rows, cell, every=True)
        if not main or floor is None:
            continue
        score, half = papertable.score([t for _, t in main])
        reached = score >= floor
        verdict = "not reached" if not reached else "reached"
        if reached and score - half < floor:
            verdict += ", though the interval reaches below it"
        if reached and len({papertable.tasks_seen(row) for row, _ in every}) == 1:
            continue
        kind = PRESETS[main[0][0]["preset"].removesuffix("-tuned")]
        lines = [
            f"**{cell}**: the floor is {floor:.1f} %, {verdict}; "
            "our preset of the paper's settings trains on "
            f"{kind.steps * kind.meta_batch:,} tasks of {kind.ways} ways.\n",
            "| training tasks | test, % | seed | val, first look | val, half-way | val, best |",
            "| --- | --- | --- | --- | --- | --- |",
        ]
        for row, test in every:
            looks = [100 * score for _, score in row["val"]]
            shown = [looks[0], looks[(len(looks) - 1) // 2], max(looks)]
            score = percent(test, 2).removesuffix(" %").replace(" ", "\N{NO-BREAK SPACE}")
            cells = [
                f"{papertable.tasks_seen(row):,}",
                score,
                row["seed"],
                *(f"{v:.1f}" for v in shown),
            ]
            lines.append("| " + " | ".join(map(str, cells)) + " |")
        blocks.append("\n".join(lines))
    return "\n\n".join(blocks or ["Every cell that has run is above its floor."]) + "\n"


def splits() -> str:
    """Show the published learners on the characters they were trained on, and on others."""
    rows = read("splits")
    if not rows:
        return "*Not measured yet.*\n"
    lines = ["| weights | training characters, % | val, % | test, % |", "| --- | --- | --- | --- |"]
    for name in dict.fromkeys(row["name"] for row in rows):
        scores = [percent(row) for row in rows if row["name"] == name]
        lines.append(f"| `{name}` | " + " | ".join(s.removesuffix(" %") for s in scores) + " |")
    return "\n".join(lines) + "\n"


def speedrun() -> str:
    """Render how long each method takes from nothing to what it then scores."""
    rows = read("speedrun")
    if not rows:
        return "*Not measured yet.*\n"
    lines = [
        "| method | machine | seconds | steps | seed | test, % | asked for, % |",
        "| --- | --- | --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        where = f"{row['machine']}, {row['processor']}"
        asked = f"{row['target']}, {'reached' if row['reached'] else 'not reached'}"
        score = f"{percent(row, 2).removesuffix(' %')} (bn={row['bn']})"
        cells = [
            row["method"], where, f"{row['seconds']:,.0f}", f"{row['steps']:,}", str(row["seed"]), score, asked,
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


def lake() -> str:
    """Render the error rates on Lake et al.'s one-shot runs."""
    rows = [row for row in read("omniglot") or [] if row["method"] == "lake"]
    if not rows:
        return "*Not measured yet.*\n"
    lines = ["| bn | error, % | training |", "| --- | --- | --- |"]
    for line in papertable.lake_table(rows):
        lines.append(f"| {line['bn']} | {line['error']} | {line['seeds']}, {line['steps']} steps |")
    return "\n".join(lines) + "\n"


def curves() -> str:
    """Render error against gradient steps."""
    rows = read("curves")
    if not rows:
        return "*Not measured yet.*\n"
    shown = (0, 1, 2, 5, 10)
    lines = [
        "| K | start | " + " | ".join(f"{j} step{'s' * (j != 1)}" for j in shown) + " |",
        "| --- " * (len(shown) + 2) + "|",
    ]
    for shots, method in dict.fromkeys((r["shots"], r["method"]) for r in rows):
        mine = {r["inner_steps"]: r for r in rows if (r["shots"], r["method"]) == (shots, method)}
        cells = [f"{mine[j]['mse']:.3f} ± {mine[j]['ci95_over_seeds']:.3f}" for j in shown]
        lines.append(f"| {shots} | {method} | " + " | ".join(cells) + " |")
    chosen = [
        f"{method} {min(found):g} to {max(found):g}"
        for method in ("joint", "scratch")
        for found in [
            [x for r in rows if r["method"] == method and r["inner_steps"] for x in r["rates"]]
        ]
    ]
    return (
        "\n".join(lines)
        + f"\n\nRates chosen, over all seeds and from one step on: {', '.join(chosen)}.\n"
    )


def weights() -> str:
    """Render the trained learners that come with the package."""
    lines = ["| name | trained on | test, % | seed |", "| --- | --- | --- | --- |"]
    for path in sorted((ROOT / "minimeta" / "pretrained").glob("*.json")):
        card = json.loads(path.read_text(encoding="utf8"))
        test, how = card["tests"][0], card["training"]
        lines.append(
            f"| `{card['name']}` | {how['steps']:,} steps of {how['meta_batch']} task{'s' * (how['meta_batch'] != 1)}, {how['ways']}-way "
            f"{how['shots']}-shot | {percent(test)} (bn={test['bn']}) | {how['seed']} |"
        )
    return "\n".join(lines) + "\n"


def speed() -> str:
    """Render how fast minimeta is beside its peers, row by row, with what each row must reach."""
    found = read("speed")
    if not found:
        return "*Not measured yet.*\n"
    lines = [
        "| work | minimeta, ms | times faster | at least | runs before |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in found["rows"]:
        ours, compiled = (row["candidates"].get(w) for w in ("minimeta", "minimeta, compiled"))
        low, high = ours["quartiles"]
        mine, aim = f"{ours['median_ms']:,.2f}", row["aim"] or ""
        ratio = f"{ours['ratio']:.2f} [{low:.2f}, {high:.2f}]"
        reached = ours["ratio"] >= (row["aim"] or 0)
        if compiled:
            mine += f"; compiled {compiled['median_ms']:,.2f}"
            ratio += f"; compiled {compiled['ratio']:.2f}"
            reached &= compiled["ratio"] >= (row.get("aim_compiled") or 0)
            aim = f"{aim}; compiled {row['aim_compiled']}" if row.get("aim_compiled") else aim
        before = ", ".join(f"{r:.2f}" for r in row["earlier"])
        lines.append(
            f"| {row['row']} | {mine} | {ratio}{'' if reached else ', not reached'} | {aim} | {before} |"
        )
    return "\n".join(lines) + "\n"


def peers() -> str:
    """Render the peers' own times, minimeta beside the fastest, and the shares of the machine's limit."""
    lines = [
        "| work | peers, ms | times faster than the fastest | of the limit, % |",
        "| --- | --- | --- | --- |",
    ]
    for row in read("speed")["rows"]:
        cells = row["candidates"].items()
        others = [f"{w} {c['median_ms']:,.1f}" for w, c in cells if not w.startswith("minimeta")]
        fastest = f"{row['candidates']['minimeta']['ratio_to_fastest']:.2f} ({row['fastest']})"
        lines.append(f"| {row['row']} | {', '.join(others)} | {fastest} | {of_limit(row)} |")
    return "\n".join(lines) + "\n"


def of_limit(row: dict[str, Any]) -> str:
    """Say how much of the machine's measured matrix-product rate the base and minimeta reach."""
    if "gflop" not in row:
        return ""
    rates = [
        row["gflop"] / row["candidates"][w]["median_ms"] * 1e3 for w in (row["base"], "minimeta")
    ]
    return " / ".join(f"{100 * rate / row['matmul_gflops']:.1f}" for rate in rates)


def versions() -> str:
    """Name the versions and the processor that the table of speeds is of."""
    file = ROOT / "benchmarks" / "results" / "speed.json"
    found = json.loads(file.read_text(encoding="utf8"))
    machine, peers = found["machine"], found["results"]["versions"]
    libraries = ", ".join(f"{name} {version}" for name, version in peers.items())
    days = sorted({(row["date"], row["processor"]) for row in found["results"]["rows"]})
    where = "; ".join(f"{day}, {processor}" for day, processor in days)
    return (
        f"Measured on {where}; {machine['cpu_cores']} cores; the latest with Python {machine['python']}, "
        f"torch {machine['torch']}; {libraries}.\n"
    )


def spread() -> str:
    """Say how far measurements of one and the same work lie apart."""
    base = {"tasks": 8, "ways": 5, "shots": 1, "steps": 1, "size": 28}
    same = [r["ms"] for r in read("growth") if all(r[k] == v for k, v in base.items())]
    return (
        f"The cell in which all curves meet was measured {len(same)} times and took "
        f"{min(same):,.0f} to {max(same):,.0f} ms: read the curves with that in mind.\n"
    )


def footprint() -> str:
    """Render what installing brings along."""
    found = read("footprint")
    if not found:
        return "*Not measured yet.*\n"
    lines = [
        "| package | packages beside torch's | of these built from source |",
        "| --- | --- | --- |",
    ]
    for row in found["beside_torch"]:
        if "fails" in row:
            lines.append(f"| {row['package']} | does not install | |")
        else:
            built = ", ".join(row["built_from_source"]) or "none"
            lines.append(f"| {row['package']} | {row['packages']} | {built} |")
    return "\n".join(lines) + "\n"


def growth() -> str:
    """Render time and extra memory along the curves of growing work."""
    rows = read("growth")
    if not rows:
        return "*Not measured yet.*\n"
    lines = [
        "| what grows | at | who | time, ms | extra memory, MiB |",
        "| --- | --- | --- | --- | --- |",
    ]
    for row in rows:
        at = row["tasks"] if row["curve"] == "memory" else row[row["curve"]]
        name = "tasks at 10 inner steps" if row["curve"] == "memory" else row["curve"]
        lines.append(
            f"| {name} | {at} | {row['who']} | {row['ms']:,.0f} | {row['extra_mib']:,.0f} |"
        )
    return "\n".join(lines) + "\n"


TABLES = {
    "results": table,
    "speed": speed,
    "peers": peers,
    "versions": versions,
    "growth": growth,
    "spread": spread,
    "footprint": footprint,
    "omniglot": omniglot,
    "shortfall": shortfall,
    "splits": splits,
    "speedrun": speedrun,
    "lake": lake,
    "curves": curves,
    "weights": weights,
}


def synced(text: str) -> str:
    """Return a document with every copy up to date."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf8"))["project"]
    text = ADDRESS.sub(project["urls"]["Repository"], text)
    return TABLE.sub(lambda m: m[1] + TABLES[m[2]]() + m[3], text)


def main(check: bool = False) -> list[str]:
    """Write the documents that are out of date, or only name them."""
    stale = []
    for path in DOCUMENTS:
        old = path.read_text(encoding="utf8")
        new = synced(old)
        if new != old:
            stale.append(str(path.relative_to(ROOT)))
            if not check:
                path.write_text(new, encoding="utf8")
    return stale


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    stale = main(given.check)
    print("\n".join(f"{'out of date' if given.check else 'written'}: {name}" for name in stale))
    sys.exit(bool(stale) and given.check)
