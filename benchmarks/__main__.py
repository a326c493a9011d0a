"""Run every benchmark: ``python -m benchmarks`` (``make bench``). Hours on two CPU cores."""

import importlib

from minimeta.errors import MinimetaError

NAMES = (
    "meta_gradients", "sampling", "speed", "growth", "footprint", "glyphs", "sinusoids", "curves",
    "reading", "cheaper", "omniglot",
)  # fmt: skip

for name in NAMES:
    print(f"\n== {name}", flush=True)
    try:
        importlib.import_module(f"benchmarks.{name}").main()
    except MinimetaError as error:  # data that are not here and cannot be fetched now
        print(f"left out: {error}")
