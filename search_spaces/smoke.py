"""Eight narrow networks that train in seconds: for tests and for trying a new installation."""

from pipeline.core.space import SearchSpace

SPACE = SearchSpace(
    name="smoke",
    choices={
        "num_blocks_2": (1, 2),
        "num_blocks_3": (1, 3),
        "dilations_3": ((2,), (4,)),
        "widths": ((8, 16, 32),),
    },
)
