"""The table: every cell is there, those that have not run say so, and intervals are over seeds."""

import pytest

from minimeta import half_width
from minimeta.papertable import CELLS, PAPER, RERUN, cell_name, lake_report, report, table


def row(seed, mean, bn="batch", own=True, **changed):
    test = dict(ways=5, shots=1, bn=bn, own=own, mean=mean, ci95=0.002, episodes=1000)
    return {"method": "maml", "seed": seed, "seconds": 90.0, "device": "cpu", "threads": 2, "steps": 9, "meta_batch": 4,
            "tests": [test | changed]}  # fmt: skip


def test_a_paper_has_a_number_for_each_cell():
    assert set(PAPER) == {cell_name(*c) for c in CELLS} >= set(RERUN)


def test_a_cell_that_has_not_run_says_so():
    assert [line["here"] for line in table([])] == ["not run"] * 12
    assert report([]).count("not run") == 12


def test_one_seed_has_an_interval_over_tasks_and_three_over_seeds():
    one = {line["cell"]: line for line in table([row(0, 0.98)])}["maml-5w1s"]
    assert one["here"] == "98.00 ± 0.20 (tasks)" and one["seeds"] == "1"
    means = [0.97, 0.98, 0.99]
    rows = [row(i, m) for i, m in enumerate(means)]
    three = {line["cell"]: line for line in table(rows)}["maml-5w1s"]
    spread = 100 * half_width(means, over="seeds")
    assert three["here"] == f"98.00 ± {spread:.2f}" and three["seeds"] == "3"
    assert three["minutes"] == "1.5" and three["paper"] == "98.7 ± 0.4"


def test_modes_are_kept_apart():
    rows = [row(0, 0.98), row(0, 0.9, bn="support", own=False)]
    line = {line["cell"]: line for line in table(rows)}["maml-5w1s"]
    assert (line["bn"], line["support"], line["seeds"]) == ("batch", "90.00", "1")


def test_lakes_runs_are_reported_as_errors():
    rows = [row(i, 0.9) for i in range(2)]
    assert lake_report(rows).startswith("bn=batch: error 10.00 ± 0.00 %")


@pytest.mark.parametrize("cell", CELLS)
def test_names_say_method_ways_and_shots(cell):
    method, ways, shots = cell
    assert cell_name(*cell) == f"{method}-{ways}w{shots}s"
