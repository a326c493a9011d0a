"""What benchmarks keep of what they measured before."""

from benchmarks.omniglot import merged


def row(seed, weights, *tests):
    return {
        "method": "protonet", "preset": "p", "seed": seed, "effort": 1.0, "weights": weights,
        "tests": [dict(ways=ways, shots=1, bn="batch", mean=mean) for ways, mean in tests],
    }  # fmt: skip


def test_a_test_of_fewer_ways_does_not_drop_the_others_of_the_same_weights():
    old = [row(0, "a", (5, 0.9), (20, 0.8)), row(1, "b", (5, 0.7))]
    found = merged(old, [row(0, "a", (5, 0.91))])
    assert [r["seed"] for r in found] == [0, 1] and found[1] == old[1]
    assert {t["ways"]: t["mean"] for t in found[0]["tests"]} == {5: 0.91, 20: 0.8}


def test_tests_of_other_weights_do_not_stay():
    (found,) = merged([row(0, "a", (5, 0.9), (20, 0.8))], [row(0, "other", (5, 0.91))])
    assert [(t["ways"], t["mean"]) for t in found["tests"]] == [(5, 0.91)]
