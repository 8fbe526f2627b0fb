"""The default space: depth, dilation and reduction of stages 2 and 3, at the paper's widths.

The paper fixed these by hand at M 3, N 21, dilations 2 and 4, reductions 8 and 16. With 11 classes
the smallest network here has 242 k parameters; M3N21 has 494,258.
"""

from pipeline.core.space import SearchSpace

SPACE = SearchSpace(
    name="cgnet",
    choices={
        "num_blocks_2": tuple(range(1, 9)),
        "num_blocks_3": tuple(range(1, 31)),
        "dilations_2": ((1,), (2,), (4,), (1, 2, 4)),
        "dilations_3": ((2,), (4,), (8,), (1, 2, 4), (2, 4, 8)),
        "reduction_2": (4, 8, 16, 32),
        "reduction_3": (4, 8, 16, 32),
    },
)
