"""Run every benchmark: ``python -m benchmarks`` (``make bench``). About an hour on two CPU cores."""

from benchmarks import (
    cheaper,
    footprint,
    glyphs,
    growth,
    meta_gradients,
    omniglot,
    sampling,
    sinusoids,
    speed,
)
from minimeta.errors import MinimetaError

for benchmark in (
    meta_gradients, sampling, speed, growth, footprint, glyphs, cheaper, sinusoids,
    omniglot,
):  # fmt: skip
    print(f"\n== {benchmark.__name__}", flush=True)
    try:
        benchmark.main()
    except MinimetaError as error:  # data that are not here and cannot be fetched now
        print(f"left out: {error}")
