"""Run every benchmark: ``python -m benchmarks`` (``make bench``). About an hour on two CPU cores."""

from benchmarks import (
    footprint,
    glyphs,
    growth,
    meta_gradients,
    omniglot,
    reading,
    sampling,
    sinusoids,
    speed,
)
from minimeta.errors import MinimetaError

for benchmark in (
    meta_gradients, sampling, speed, growth, footprint, glyphs, reading, sinusoids, omniglot,
):  # fmt: skip
    print(f"\n== {benchmark.__name__}", flush=True)
    try:
        benchmark.main()
    except MinimetaError as error:  # data that are not here and cannot be fetched now
        print(f"left out: {error}")
