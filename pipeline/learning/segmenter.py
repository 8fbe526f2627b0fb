"""A trained network as a function from pictures to labels."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from pipeline.learning.denormals import flush_denormals
from pipeline.learning.normalisation import normalise
from pipeline.learning.weights import Deployment, load_weights


@dataclass(frozen=True)
class Segmenter:
    """A network with the normalisation it was trained with."""

    model: nn.Module
    deployment: Deployment

    @classmethod
    def from_bytes(cls, weights: bytes) -> "Segmenter":
        """Return the network of a weights file.

        Raises:
            DataError: it is not one of ours.
        """
        flush_denormals()
        return cls(*load_weights(weights))

    @torch.inference_mode()
    def label(self, images_BHWC: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """Return the class ids (B, H, W) of RGB pictures (B, H, W, 3) of any size."""
        flush_denormals()  # a server labels in threads of its own
        images_BHWC = np.require(images_BHWC, requirements=["C", "W"])  # as torch takes arrays
        images = torch.from_numpy(images_BHWC).permute(0, 3, 1, 2)
        picture = normalise(images, self.deployment.mean, self.deployment.std)
        logits = self.model(picture.to(memory_format=torch.channels_last))
        labels: NDArray[np.uint8] = logits.argmax(dim=1).to(torch.uint8).numpy()
        return labels
