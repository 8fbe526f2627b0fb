"""Options of the recipe that `pipeline.search` and `pipeline.train` share."""

from dataclasses import dataclass, replace

from pipeline.core.config import Precision, RecipeName, TrainConfig, recipe


@dataclass(frozen=True)
class RecipeOptions:
    """How a network is trained, beside how long."""

    recipe: RecipeName = "default"
    """The one that reaches most in the same time; the authors' own (paper); or one whose L2 drives
    filters to zero, so that a network is deployed smaller than it was built (sparse)."""
    learning_rate: float | None = None
    """At its highest, in place of the recipe's."""
    weight_decay: float | None = None
    """In place of the recipe's. In paper and sparse it is L2 on every parameter: the stronger it
    is, and the longer the training, the more filters die."""

    precision: Precision = TrainConfig.precision
    """Of the training step; bfloat16 is meant for GPUs, and gains little on CPUs."""

    def training(self, *, epochs: int, batch_size: int, num_workers: int) -> TrainConfig:
        """Return how a network is trained.

        Raises:
            UsageError: a number is out of its range.
        """
        training = recipe(self.recipe, epochs)
        rate, decay = self.learning_rate, self.weight_decay
        return replace(
            training,
            batch_size=batch_size,
            learning_rate=training.learning_rate if rate is None else rate,
            weight_decay=training.weight_decay if decay is None else decay,
            precision=self.precision,
            num_workers=num_workers,
        )
