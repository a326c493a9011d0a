"""Write the two Omniglot split files of the package from a prepared copy of the data.

``python tools/make_omniglot_splits.py PATH/omniglot_105.npz [FOLDER]`` writes ``omniglot.tsv``
(one line a character) and ``omniglot_runs.tsv`` (one line a trial) into FOLDER, by default the
package's own ``minimeta/data/splits``. The files are shipped, so that nobody's split depends on
the order in which a disk lists its folders.
"""

import sys
from collections.abc import Iterable
from pathlib import Path

import numpy as np

SPLITS = Path(__file__).parent.parent / "minimeta" / "data" / "splits"

CHARACTERS = """\
# The 1,623 characters of Omniglot (Lake, Salakhutdinov and Tenenbaum, Science 350, 2015).
# vinyals: the split of Vinyals et al. (NeurIPS 2016), as released with the Prototypical Networks
# code, https://github.com/jakesnell/prototypical-networks (MIT).
# set: the official archive that holds the character, images_background or images_evaluation.
"""
RUNS = """\
# The 20 official within-alphabet 20-way one-shot runs (one-shot-classification/all_runs.zip) of
# https://github.com/brendenlake/omniglot (MIT, copyright 2015 Brenden Lake).
# label: the item of the same run whose training picture shows the character of the test picture.
"""


def character_lines(data: dict[str, np.ndarray]) -> Iterable[tuple[object, ...]]:
    """Yield (alphabet, character, char_id, set, vinyals), in the order of the data."""
    for i, alphabet in enumerate(data["alphabet"]):
        yield (
            data["alphabets"][alphabet],
            f"{data['character'][i]:02d}",
            f"{data['char_id'][i]:04d}",
            ("background", "evaluation")[data["split"][i]],
            ("train", "val", "test")[data["vinyals_split"][i]],
        )


def run_lines(data: dict[str, np.ndarray]) -> Iterable[tuple[object, ...]]:
    """Yield one trial a line; runs, items and drawers count from 1, labels from 0 as in an episode."""
    train, test, labels = data["oneshot_train"], data["oneshot_test"], data["oneshot_label"]
    for run, item in np.ndindex(labels.shape):
        pair = []
        for character, drawer in (train[run, item], test[run, item]):
            pair += [f"{data['char_id'][character]:04d}", f"{drawer + 1:02d}"]
        yield (run + 1, item + 1, *pair, labels[run, item])


def write(path: Path, comment: str, columns: str, lines: Iterable[tuple[object, ...]]) -> None:
    """Write a table: comment lines with #, one line of column names, tab-separated values."""
    rows = ["\t".join(columns.split()), *("\t".join(map(str, line)) for line in lines)]
    path.write_text(comment + "\n".join(rows) + "\n", encoding="utf-8", newline="\n")


def main(source: str, folder: str | Path = SPLITS) -> None:
    """Write both files from the prepared copy ``source``."""
    with np.load(source) as file:
        data = {name: file[name] for name in file.files if name != "images"}
    columns = "alphabet character char_id set vinyals"
    write(Path(folder) / "omniglot.tsv", CHARACTERS, columns, character_lines(data))
    columns = "run item train_id train_drawer test_id test_drawer label"
    write(Path(folder) / "omniglot_runs.tsv", RUNS, columns, run_lines(data))


if __name__ == "__main__":
    main(*sys.argv[1:])
