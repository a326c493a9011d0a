"""The command line: ``minimeta demo``, ``train``, ``test``, ``reproduce``, ``speedrun``, ``data``, ``doctor``."""

import argparse
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

import minimeta as mm
from minimeta import catalog, demo, doctor, experiments, rows
from minimeta.data import omniglot
from minimeta.errors import MinimetaError, check_count, check_seed
from minimeta.norm import BN_MODES

EXAMPLES = """examples:
  minimeta demo                                       three learners on letters, under 4 minutes
  minimeta train protonet --steps 500 --out proto.safetensors
  minimeta test proto.safetensors --data glyphs --episodes 600
  minimeta test protonet-omniglot-5w1s --data omniglot
  minimeta reproduce omniglot --cells protonet-5w1s --seeds 1
  minimeta speedrun protonet --device cuda
  minimeta data get omniglot
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line; return the exit code: 0 done, 1 refused with a sentence, 130 interrupted."""
    arguments = parser().parse_args(argv)
    try:
        if arguments.threads is not None:
            torch.set_num_threads(check_count("--threads", arguments.threads))
        if "seed" in arguments:
            check_seed("--seed", arguments.seed)
        arguments.run(arguments)
    except MinimetaError as error:
        print(f"minimeta: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("minimeta: interrupted.", file=sys.stderr)
        return 130
    except BrokenPipeError:  # the reader, such as head, has gone
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except OSError as error:  # a file that cannot be written, a full disk
        print(f"minimeta: {error.filename or 'a file'}: {error.strerror}.", file=sys.stderr)
        return 1
    return 0


def parser() -> argparse.ArgumentParser:
    """Build the parser; every option says its default."""
    shape = argparse.ArgumentDefaultsHelpFormatter
    top = argparse.ArgumentParser(
        prog="minimeta", description="Meta-learning for few-shot learning.", epilog=EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    top.add_argument("--version", action="version", version=f"minimeta {mm.__version__}")
    commands = top.add_subparsers(required=True, metavar="command")

    one = commands.add_parser(
        "demo", help="train three learners on letters and compare them", formatter_class=shape
    )
    one.add_argument(
        "--out", type=Path, default=Path("minimeta_demo.png"), help="where the picture goes"
    )
    one.add_argument("--effort", type=float, default=1.0, help="fraction of the training steps")
    one.add_argument("--seed", type=int, default=0, help="of the networks' start and the tasks")
    one.set_defaults(run=_demo)

    one = commands.add_parser(
        "train", help="meta-train a learner and save it", formatter_class=shape
    )
    one.add_argument("learner", choices=sorted(LEARNERS), help="what to train")
    _task_options(one, ways=5, shots=1, queries=5)
    one.add_argument("--out", type=Path, required=True, help="file for the weights (.safetensors)")
    one.add_argument("--steps", type=int, default=1000, help="outer steps")
    one.add_argument("--meta-batch", type=int, default=4, help="tasks a step")
    one.add_argument("--lr", type=float, default=1e-3, help="Adam's rate")
    one.add_argument("--inner-lr", type=float, default=0.4, help="MAML: rate of the inner steps")
    one.add_argument("--inner-steps", type=int, default=1, help="MAML: inner steps")
    one.add_argument(
        "--first-order", action="store_true", help="MAML: the first-order approximation"
    )
    one.add_argument("--bn", choices=BN_MODES, default="batch", help="normalisation mode")
    one.add_argument("--clip", type=float, help="largest gradient norm; left out: no clipping")
    one.add_argument("--checkpoint", type=Path, help="file to save progress in and go on from")
    one.add_argument("--json", action="store_true", help="print the outcome as JSON")
    one.set_defaults(run=_train)

    one = commands.add_parser("test", help="score saved weights", formatter_class=shape)
    one.add_argument(
        "weights",
        help=f"file written by minimeta train, or one of {', '.join(mm.weights.pretrained())}",
    )
    _task_options(one, ways=5, shots=1, queries=15)
    one.add_argument(
        "--split", choices=("train", "val", "test"), default="test", help="which classes"
    )
    one.add_argument("--episodes", type=int, default=600, help="how many tasks")
    one.add_argument(
        "--bn", choices=BN_MODES, help="normalisation mode; left out: the network's own"
    )
    one.add_argument("--json", action="store_true", help="print the result as JSON")
    one.set_defaults(run=_test)

    experiments.add_commands(commands)

    data = commands.add_parser("data", help="list and fetch data sets")
    actions = data.add_subparsers(required=True, metavar="action")
    one = actions.add_parser("list", help="say which data sets are here")
    one.add_argument("--json", action="store_true", help="print it as JSON")
    one.set_defaults(run=_data_list)
    get = actions.add_parser("get", help="download and prepare a data set")
    get.add_argument("name", choices=["omniglot"], help="which one")
    get.set_defaults(run=_data_get)

    one = commands.add_parser("doctor", help="say what is installed and where the data are")
    one.add_argument("--json", action="store_true", help="print it as JSON")
    one.set_defaults(run=_doctor)

    for each in (*commands.choices.values(), *actions.choices.values()):
        each.add_argument("--threads", type=int, help="CPU threads; left out: torch's choice")
    return top


def _task_options(one: argparse.ArgumentParser, *, ways: int, shots: int, queries: int) -> None:
    one.add_argument(
        "--data",
        default="glyphs",
        help="glyphs, omniglot, sinusoids, or a folder or zip of pictures (made grey, 28x28); a folder of "
        "such a name is ./glyphs",
    )
    one.add_argument("--ways", type=int, default=ways, help="classes a task")
    one.add_argument("--shots", type=int, default=shots, help="support examples a class")
    one.add_argument("--queries", type=int, default=queries, help="query examples a class")
    one.add_argument(
        "--seed", type=int, default=0, help="of the tasks (and of the network's start)"
    )


def _tasks(given: argparse.Namespace, split: str) -> mm.sources.Tasks:
    ways = None if given.data == "sinusoids" else given.ways
    named = given.data in catalog.NAMES
    own = Path(given.data) if not named and os.path.exists(given.data) else None
    # pictures are made what the networks below are made for
    options: dict[str, Any] = {"size": 28, "grey": True} if own else {}
    return mm.tasks(
        own or given.data,
        split=split,
        ways=ways,
        shots=given.shots,
        queries=given.queries,
        **options,
    )


def _maml(given: argparse.Namespace) -> nn.Module:
    if given.data == "sinusoids":
        network: nn.Module = mm.MLP(1, 1)
    else:
        network = mm.Conv4(ways=given.ways, bn=given.bn, filters=32)
    return mm.MAML(
        network,
        inner_lr=given.inner_lr,
        inner_steps=given.inner_steps,
        first_order=given.first_order,
    )


LEARNERS = {
    "maml": _maml,
    "protonet": lambda given: mm.ProtoNet(mm.Conv4(bn=given.bn)),
    "relationnet": lambda given: mm.RelationNet(mm.Conv4(layout="maps", bn=given.bn)),
}


def _train(given: argparse.Namespace) -> None:
    tasks = _tasks(given, "train")
    if given.out.is_dir():
        raise MinimetaError(f"--out {given.out} is a folder; give the name of a file to write.")
    rows.opened(given.out.parent)
    torch.manual_seed(given.seed)
    learner = LEARNERS[given.learner](given)
    record = mm.meta_train(
        learner, tasks, steps=given.steps, meta_batch=given.meta_batch, lr=given.lr, seed=given.seed,
        clip=given.clip, checkpoint=given.checkpoint,
    )  # fmt: skip
    path = mm.save(learner, given.out, note=f"{record}; trained on {tasks}")
    outcome = {
        "weights": str(path), "steps": len(record.losses), "seconds": round(record.seconds, 1),
        "last_loss": record.losses[-1] if record.losses else None,
    }  # fmt: skip
    print(json.dumps(outcome) if given.json else f"{record}\nsaved {path}")


def _test(given: argparse.Namespace) -> None:
    learner = mm.load(given.weights)
    result = mm.meta_test(
        learner, _tasks(given, given.split), episodes=given.episodes, seed=given.seed, bn=given.bn
    )
    print(json.dumps(result.to_json()) if given.json else result)


def _demo(given: argparse.Namespace) -> None:
    if not 0 < given.effort < 100:
        raise MinimetaError(
            f"--effort {given.effort} was given; it is a number above 0, usually 1."
        )
    demo.run(demo.picture(given.out), effort=given.effort, seed=given.seed)


def _data_list(given: argparse.Namespace) -> None:
    where = omniglot.available()
    found = {
        "glyphs": "in the package: letters of five scripts, 24 drawings each",
        "sinusoids": "made on the fly: the MAML paper's regression tasks",
        "omniglot": f"prepared: {where}" if where else "not here; minimeta data get omniglot",
    }
    text = "\n".join(f"{name:<11}{state}" for name, state in found.items())
    print(json.dumps(found) if given.json else text)


def _data_get(given: argparse.Namespace) -> None:
    print(f"prepared: {omniglot.get()}")


def _doctor(given: argparse.Namespace) -> None:
    print(json.dumps(doctor.examine(), indent=1) if given.json else doctor.report())


if __name__ == "__main__":
    sys.exit(main())
