"""``minimeta reproduce`` and ``minimeta speedrun`` on the command line."""

import json

import pytest

from minimeta import experiments
from minimeta.cli import main


def test_a_report_of_nothing_says_that_nothing_has_run(tmp_path, capsys):
    assert main(["reproduce", "omniglot", "--report", "--out", str(tmp_path)]) == 0
    assert capsys.readouterr().out.count("not run") == 12


def test_as_json(tmp_path, capsys):
    assert main(["reproduce", "omniglot", "--report", "--json", "--out", str(tmp_path)]) == 0
    assert json.loads(capsys.readouterr().out) == []


def test_options_reach_the_experiment(tmp_path, monkeypatch):
    seen = {}
    monkeypatch.setattr(
        experiments.reproduce, "omniglot", lambda folder, **given: seen.update(given) or []
    )
    arguments = ["--cells", "maml-5w1s, protonet-5w1s", "--seeds", "2", "--effort", "0.5"]
    assert main(["reproduce", "omniglot", *arguments, "--out", str(tmp_path)]) == 0
    assert seen["cells"] == ["maml-5w1s", "protonet-5w1s"] and seen["effort"] == 0.5
    assert list(seen["seeds"]) == [0, 1] and seen["kind"] == "tuned"


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["reproduce", "lake", "--cells", "maml-5w1s"], "are for omniglot, not for lake"),
        (["reproduce", "omniglot", "--seeds", "0"], "--seeds=0"),
        (["reproduce", "omniglot", "--cells", "maml"], "no cell named maml"),
        (["reproduce", "omniglot", "--effort", "-1"], "effort"),
        (["reproduce", "omniglot", "--device", "foo"], "device='foo'"),
        (["reproduce", "lake", "--device", "foo"], "device='foo'"),
        (["reproduce", "lake", "--episodes", "5"], "--episodes is not for lake"),
        (["reproduce", "sinusoids", "--device", "cuda"], "--device is not for sinusoids"),
        (["reproduce", "omniglot", "--report", "--cells", "x"], "no cell named x"),
    ],
)
def test_refusals_are_one_line(arguments, words, tmp_path, capsys):
    assert main([*arguments, "--out", str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert words in error and error.count("\n") == 1


def test_sinusoids_and_lake_are_wired(monkeypatch, capsys, tmp_path):
    monkeypatch.setattr(experiments.curves, "sinusoids", lambda folder, **given: [])
    monkeypatch.setattr(experiments.reproduce, "lake", lambda folder, **given: [])
    assert main(["reproduce", "sinusoids"]) == 0
    assert main(["reproduce", "lake", "--json"]) == 0
    assert capsys.readouterr().out.strip().endswith("[]")


def test_a_speedrun_prints_a_sentence_or_json(monkeypatch, capsys):
    row = dict(method="maml", machine="2 CPU threads", mean=0.5, ci95=0.01, seconds=3.0, steps=4,
               target=98.1, reached=False, episodes=7, bn="batch")  # fmt: skip
    monkeypatch.setattr(experiments.speedrun, "run", lambda method, **given: row)
    assert main(["speedrun", "maml"]) == 0
    assert "98.1 % not reached" in capsys.readouterr().out
    assert main(["speedrun", "maml", "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == row


def test_the_table_of_one_kind_of_presets_holds_no_other(monkeypatch, capsys, tmp_path):
    def trained(kind, mean):
        test = dict(ways=5, shots=1, bn="running", own=True, mean=mean, ci95=0.002, episodes=1000)
        return dict(
            method="protonet", kind=kind, preset=f"p-{kind}", seed=0, seconds=9.0, device="cpu",
            threads=1, steps=9 if kind == "tuned" else 90, meta_batch=1, effort=1.0, tests=[test],
        )  # fmt: skip

    rows = [trained("tuned", 0.98), trained("paper", 0.91)]
    monkeypatch.setattr(experiments.reproduce, "collect", lambda folder: rows)
    monkeypatch.setattr(experiments.reproduce, "omniglot", lambda folder, **given: rows)
    for how in ([], ["--report"]):
        for kind, mean in (("tuned", "98.00"), ("paper", "91.00")):
            main(["reproduce", "omniglot", "--kind", kind, "--out", str(tmp_path), *how])
            assert mean in capsys.readouterr().out
