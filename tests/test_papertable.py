"""The table: every cell is there, those that have not run say so, and intervals are over seeds."""

import pytest

from minimeta import half_width
from minimeta.papertable import (
    CELLS,
    PAPER,
    RERUN,
    cell_name,
    cell_rows,
    lake_report,
    report,
    table,
    tasks_seen,
)


def row(seed, mean, bn="batch", own=True, **changed):
    test = dict(ways=5, shots=1, bn=bn, own=own, mean=mean, ci95=0.002, episodes=1000)
    return {"method": "maml", "preset": "maml-tuned", "seed": seed, "seconds": 90.0, "device": "cpu", "threads": 2, "steps": 9, "meta_batch": 4, "effort": 0.5,
            "tests": [test | changed]}  # fmt: skip


def test_a_paper_has_a_number_for_each_cell():
    assert set(PAPER) == {cell_name(*c) for c in CELLS} >= set(RERUN)


def test_a_cell_that_has_not_run_says_so():
    assert [line["here"] for line in table([])] == ["not run"] * 12
    assert report([]).count("not run") == 12


def test_one_seed_has_an_interval_over_tasks_and_three_over_seeds():
    one = {line["cell"]: line for line in table([row(0, 0.98)])}["maml-5w1s"]
    assert one["here"] == "98.00 ± 0.20" and one["seeds"] == "1"
    means = [0.97, 0.98, 0.99]
    rows = [row(i, m) for i, m in enumerate(means)]
    three = {line["cell"]: line for line in table(rows)}["maml-5w1s"]
    spread = 100 * half_width(means, over="seeds")
    assert three["here"] == f"98.00 ± {spread:.2f}" and three["seeds"] == "3"
    assert three["minutes"] == "1.5" and three["paper"] == "98.7 ± 0.4"


def test_modes_are_kept_apart():
    rows = [row(0, 0.98)]
    rows[0]["tests"] += row(0, 0.9, bn="support", own=False)["tests"]
    line = {line["cell"]: line for line in table(rows)}["maml-5w1s"]
    assert (line["bn"], line["support"], line["seeds"]) == ("batch", "90.00 ± 0.20", "1")


def test_the_longest_training_stands_in_the_table_whatever_it_scored():
    rows = [row(0, 0.97), row(0, 0.99) | {"steps": 3}, row(1, 0.95)]
    line = {line["cell"]: line for line in table(rows)}["maml-5w1s"]
    assert line["here"].startswith("96.00") and line["steps"] == "9 x 4"
    every = [(tasks_seen(r), t["mean"]) for r, t in cell_rows(rows, "maml-5w1s", every=True)]
    assert every == [(12, 0.99), (36, 0.97), (36, 0.95)]


def test_three_seeds_come_before_a_longer_training_of_fewer():
    short = [row(seed, 0.95) | {"steps": 3} for seed in range(3)]
    line = {line["cell"]: line for line in table([row(0, 0.97), *short])}["maml-5w1s"]
    assert (line["here"][:5], line["seeds"], line["steps"]) == ("95.00", "3", "3 x 4")
    line = {line["cell"]: line for line in table([row(0, 0.97), *short[:2]])}["maml-5w1s"]
    assert (line["here"][:5], line["seeds"], line["steps"]) == ("97.00", "1", "9 x 4")


def test_what_is_not_alike_is_never_averaged():
    def here(*rows):
        line = {line["cell"]: line for line in table(rows)}["maml-5w1s"]
        return line["here"], line["seeds"]

    one = here(row(0, 0.98))
    assert here(row(0, 0.98), row(0, 0.90)) == one  # a seed counts once
    assert here(row(0, 0.98), row(1, 0.5, episodes=2)) == one  # a test of two tasks is another test
    assert here(row(0, 0.98), row(1, 0.5) | {"preset": "maml"}) == one  # as are other settings
    late = row(0, 0.99) | {"steps": 3}
    late["tests"] += row(0, 0.5, bn="support", own=False)["tests"]
    line = {line["cell"]: line for line in table([row(0, 0.98), late])}["maml-5w1s"]
    assert line["support"] == "not run"  # the longest training has no such test yet
    early = row(2, 0.9)
    early["tests"] += row(2, 0.5, bn="support", own=False)["tests"]
    (line,) = table([row(1, 0.9), early], ["maml-5w1s"])
    assert line["seeds"] == "2" and line["support"].endswith("(1 seed)")


def test_some_cells_or_all():
    assert [line["cell"] for line in table([], ["maml-5w1s"])] == ["maml-5w1s"]
    assert report([], ["maml-5w1s"]).count("not run") == 1


def test_lakes_runs_are_reported_as_errors():
    rows = [row(i, 0.9) for i in range(2)]
    assert lake_report(rows).startswith("bn=batch: error 10.00 ± 0.00 % (2 seeds")
    longer = row(0, 0.95) | {"steps": 90}  # beside the shorter ones, and never averaged with them
    assert lake_report([*rows, longer]).startswith("bn=batch: error 5.00 ± 0.20 (runs) % (1 seed,")
    assert lake_report([]) == ""


@pytest.mark.parametrize("cell", CELLS)
def test_names_say_method_ways_and_shots(cell):
    method, ways, shots = cell
    assert cell_name(*cell) == f"{method}-{ways}w{shots}s"


def test_the_report_says_how_long_the_training_was():
    line = report([row(0, 0.98)], ["maml-5w1s"]).splitlines()[1]
    assert "9 x 4" in line and " 0.5 " in line
