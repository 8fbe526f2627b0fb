"""The default space with the widths of the three stages as a further choice.

Narrow networks reach below 100 k parameters, where depth alone cannot go. Of the widths, 24-64-112
keeps the second stage and saves in the others: with 11 classes M6N2 of it has 235,918 parameters.
"""

from pipeline.core.space import SearchSpace
from search_spaces.cgnet import SPACE as CGNET

SPACE = SearchSpace(
    name="cgnet_wide",
    choices={
        **CGNET.choices,
        "widths": ((16, 32, 64), (24, 48, 96), (24, 64, 112), (32, 64, 128), (40, 80, 160)),
    },
)
