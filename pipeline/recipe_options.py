"""Options of the recipe that `pipeline.search` and `pipeline.train` share."""

from dataclasses import dataclass

from pipeline.core.config import TrainConfig


@dataclass(frozen=True)
class RecipeOptions:
    """How a network is trained, beside how long; the defaults are the authors'."""

    learning_rate: float = TrainConfig.learning_rate
    """Of Adam at the first step."""
    weight_decay: float = TrainConfig.weight_decay
    """L2 on every parameter. The stronger it is, and the longer the training, the more filters
    die, and the smaller a network is deployed."""
