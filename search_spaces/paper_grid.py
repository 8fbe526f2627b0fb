"""The seven depths (M, N) that the paper compares, from M3N9 to M3N21; all else is the paper's.

With 11 classes they have 349 k to 494 k parameters. ``--sampler grid --trials 7 --stopping none``
trains every one.
"""

from pipeline.core.space import SearchSpace

DEPTHS = ((3, 9), (3, 12), (6, 12), (3, 15), (6, 15), (3, 18), (3, 21))

SPACE = SearchSpace(
    name="paper_grid",
    choices={
        "depth": {f"M{m}N{n}": {"num_blocks_2": m, "num_blocks_3": n} for m, n in DEPTHS},
    },
)
