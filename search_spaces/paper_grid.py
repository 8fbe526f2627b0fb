"""The seven depths (M, N) that the paper compares, from M3N9 to M3N21; all else is the paper's.

With 11 classes they have 349 k to 494 k parameters. ``--sampler grid --trials 7 --stopping none``
trains every one.
"""

from pipeline.core.space import SearchSpace

SPACE = SearchSpace(
    name="paper_grid",
    choices={"num_blocks_2": (3, 6), "num_blocks_3": (9, 12, 15, 18, 21)},
    only={
        ("num_blocks_2", "num_blocks_3"): (
            *((3, 9), (3, 12), (6, 12), (3, 15), (6, 15), (3, 18), (3, 21)),
        )
    },
)
