"""The command line: what it prints, its exit codes, and errors without tracebacks."""

import json
import subprocess
import sys

import pytest

import minimeta as mm
from minimeta import cli, demo

QUICK = ["--ways", "3", "--queries", "2"]


def run(*arguments):
    return cli.main([str(a) for a in arguments])


@pytest.mark.parametrize("learner", ["maml", "protonet", "relationnet"])
def test_train_then_test(learner, tmp_path, capsys):
    path = tmp_path / "learner.safetensors"
    train = ["train", learner, "--steps", 2, "--meta-batch", 1, "--out", path, *QUICK]
    assert run(*train) == 0
    assert f"saved {path}" in capsys.readouterr().out
    assert run(*train, "--json") == 0
    assert json.loads(capsys.readouterr().out)["steps"] == 2
    assert run("test", path, "--episodes", 3, "--json", *QUICK) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["episodes"] == 3 and result["ways"] == 3 and result["bn"] == "batch"
    direct = mm.meta_test(
        mm.load(path), mm.tasks("glyphs", split="test", ways=3, queries=2), episodes=3
    )
    assert result["mean"] == direct.mean


def test_learners_that_come_along_are_tested_by_name(capsys):
    assert run("test", "protonet-omniglot-5w1s", "--episodes", 2, "--json", *QUICK) == 0
    result = json.loads(capsys.readouterr().out)
    tasks = mm.tasks("glyphs", split="test", ways=3, queries=2)
    direct = mm.meta_test(mm.load("protonet-omniglot-5w1s"), tasks, episodes=2)
    assert result["learner"] == "ProtoNet" and result["mean"] == direct.mean
    with pytest.raises(SystemExit):
        run("test", "--help")
    assert "protonet-omniglot-5w1s" in capsys.readouterr().out


def test_regression_on_the_command_line(tmp_path, capsys):
    path = tmp_path / "waves.safetensors"
    shape = ["--data", "sinusoids", "--shots", 10, "--queries", 10]
    assert run("train", "maml", "--inner-lr", 0.01, "--steps", 2, "--out", path, *shape) == 0
    assert run("test", path, "--episodes", 3, *shape) == 0
    assert "mse (3 episodes, sinusoids/test, 10-shot" in capsys.readouterr().out


def test_the_same_seed_gives_the_same_weights(tmp_path):
    paths = [tmp_path / f"{i}.safetensors" for i in range(3)]
    for path, seed in zip(paths, (1, 1, 2), strict=True):
        run("train", "protonet", "--steps", 1, "--seed", seed, "--out", path, *QUICK)
    first, second, third = (mm.load(p).state_dict()["encoder.blocks.0.conv.weight"] for p in paths)
    assert first.equal(second) and not first.equal(third)


def test_refusals_are_one_line_and_exit_code_1(tmp_path, capsys):
    assert run("test", tmp_path / "none.safetensors") == 1
    error = capsys.readouterr().err
    assert error.startswith("minimeta: there is no file") and error.count("\n") == 1
    assert run("train", "protonet", "--ways", 9999, "--out", tmp_path / "x") == 1
    assert "9999 ways were asked for" in capsys.readouterr().err
    assert (
        run("train", "protonet", "--data", "sinusoids", "--steps", 1, "--out", tmp_path / "x") == 1
    )
    assert "regression targets" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_more_refusals(tmp_path, capsys):
    path = tmp_path / "waves.safetensors"
    waves = ["--data", "sinusoids", "--shots", 5, "--queries", 5]
    assert run("train", "maml", "--inner-lr", 0.01, "--steps", 1, "--out", path, *waves) == 0
    capsys.readouterr()
    cases = [
        (["test", path, "--episodes", 2], "an MLP of 1 inputs"),
        (["train", "protonet", "--steps", 1, "--out", tmp_path, *QUICK], "is a folder"),
        (["train", "protonet", "--steps", 1, "--clip", -1, "--out", path, *QUICK], "clip=-1.0"),
        (["data", "list", "--threads", -1], "--threads=-1"),
        (["demo", "--effort", "nan"], "--effort nan"),
        (["demo", "--seed", 10**23], "--seed=1000"),
        (["train", "protonet", "--seed", 10**23, "--out", path], "--seed=1000"),
        (["test", path, "--seed", 10**23], "--seed=1000"),
        (["test", "protonet-omniglot"], "the names are "),
        (
            ["train", "protonet", "--steps", 1, "--out", "/dev/null/x", *QUICK],
            "cannot be kept in /dev/null",
        ),
    ]
    for arguments, message in cases:
        assert run(*arguments) == 1
        error = capsys.readouterr().err
        assert message in error and error.startswith("minimeta: ") and error.count("\n") == 1


def test_own_pictures_on_the_command_line(tmp_path, capsys):
    from PIL import Image

    for name in "abcdefghij":
        (tmp_path / "mine" / name).mkdir(parents=True)
        for i in range(3):
            Image.new("RGB", (30, 40), (20 * i, 9, 9)).save(tmp_path / "mine" / name / f"{i}.png")
    shape = ["--data", tmp_path / "mine", "--ways", 2, "--queries", 2]
    path = tmp_path / "mine.safetensors"
    assert run("train", "protonet", "--steps", 1, "--out", path, *shape) == 0
    assert run("test", path, "--episodes", 2, *shape) == 0
    assert "mine/test, 2-way 1-shot" in capsys.readouterr().out


def test_a_wrong_option_is_exit_code_2(capsys):
    with pytest.raises(SystemExit) as stopped:
        run("train", "maml", "--no-such-option")
    assert stopped.value.code == 2 and "usage:" in capsys.readouterr().err


def test_an_interruption_is_exit_code_130(monkeypatch, capsys, tmp_path):
    def interrupted(*args, **kwargs):
        raise KeyboardInterrupt

    monkeypatch.setattr(mm, "meta_train", interrupted)
    assert run("train", "protonet", "--out", tmp_path / "x") == 130
    assert "interrupted" in capsys.readouterr().err


def test_data_list_says_what_is_here(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("MINIMETA_DATA", raising=False)
    monkeypatch.setenv("MINIMETA_CACHE", str(tmp_path))
    assert run("data", "list") == 0
    out = capsys.readouterr().out
    assert "glyphs" in out and "minimeta data get omniglot" in out
    assert run("data", "list", "--json") == 0
    assert set(json.loads(capsys.readouterr().out)) == {"glyphs", "sinusoids", "omniglot"}


def test_the_doctor_says_what_is_here(capsys, monkeypatch, tmp_path):
    monkeypatch.delenv("MINIMETA_DATA", raising=False)
    monkeypatch.setenv("MINIMETA_CACHE", str(tmp_path))
    assert run("doctor", "--json") == 0
    found = json.loads(capsys.readouterr().out)
    assert found["versions"]["minimeta"] == mm.__version__
    assert "images_background.zip" in found["data"]["omniglot"]
    monkeypatch.setenv("MINIMETA_DATA", str(tmp_path / "typo"))
    assert run("doctor") == 0
    assert "not a folder" in capsys.readouterr().out


def test_the_demo_compares_three_learners_with_the_pixel_baseline(tmp_path, capsys):
    picture = tmp_path / "demo.png"
    results = demo.run(picture, effort=0.002, episodes=3)
    out = capsys.readouterr().out
    assert [r.learner for r in results] == [
        "nearest mean, pixels",
        "MAML",
        "ProtoNet",
        "RelationNet",
    ]
    assert len({r.protocol().replace("none", "batch") for r in results}) == 1  # the same episodes
    for name in ("nearest mean, pixels", "MAML", "ProtoNet", "RelationNet"):
        assert name in out
    assert out.count("±") == 4 and "3 episodes, glyphs/test, 5-way 1-shot, 15 queries" in out
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_it_is_a_program_and_stops_quietly_when_nobody_reads():
    command = [sys.executable, "-m", "minimeta.cli"]
    version = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True)
    assert version.stdout.strip() == f"minimeta {mm.__version__}"
    closed = subprocess.run(
        [sys.executable, "-c", "import subprocess as s, sys\n"
         "p = s.Popen([sys.executable, '-u', '-m', 'minimeta.cli', 'data', 'list'], stdout=s.PIPE, stderr=s.PIPE)\n"
         "p.stdout.close(); sys.stdout.write(p.stderr.read().decode()); sys.exit(p.wait())"],
        capture_output=True, text=True,
    )  # fmt: skip
    assert closed.returncode == 0 and closed.stdout == ""


def test_what_cannot_be_written_is_refused_before_the_training(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(mm, "meta_train", None)  # nothing may be trained
    monkeypatch.setattr(demo, "train", None)
    (tmp_path / "file").write_text("")
    for arguments in (
        ["train", "protonet", "--out", tmp_path / "file" / "x", *QUICK],
        ["demo", "--out", tmp_path / "file" / "x.png"],
        ["demo", "--out", tmp_path / "picture.foo"],
    ):
        assert run(*arguments) == 1
        assert "minimeta: " in capsys.readouterr().err
    assert demo.picture(tmp_path / "picture").name == "picture.png"


def test_a_folder_does_not_hide_a_data_set_of_its_name(tmp_path, monkeypatch, capsys):
    (tmp_path / "glyphs" / "empty").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert run("train", "protonet", "--steps", 0, "--out", "x.safetensors", *QUICK) == 0
    own = ["--data", "./glyphs", *QUICK]
    assert run("train", "protonet", "--steps", 0, "--out", "y.safetensors", *own) == 1
    assert "glyphs" in capsys.readouterr().err


def test_no_episodes_are_refused_not_replaced(tmp_path, capsys):
    assert run("speedrun", "protonet", "--episodes", 0) == 1
    assert "episodes=0" in capsys.readouterr().err
