"""Times of the trained networks: one crop, and the two optimisations side by side."""

import numpy as np
import torch
from timing import Row, interleaved

from idhand.assets.nets import shipped_networks
from idhand.nets.files import load_regressor


def networks(repeats: int) -> list[Row]:
    """From a 224×224 crop to pose and shape with the shipped default, and its heads alone."""
    net = load_regressor(shipped_networks() / "identity_film.safetensors")
    image = torch.from_numpy(np.random.default_rng(0).random((1, 3, 224, 224), np.float32))
    betas = torch.zeros(1, net.config.num_betas)
    with torch.inference_mode():
        features = net.features(image)
        seconds = interleaved(
            {
                "one crop, anonymous": lambda: net(image),
                "one crop, known person": lambda: net(image, betas),
                "heads alone": lambda: net.from_features(features, betas),
            },
            repeats,
        )
    targets = {"one crop, anonymous": 15.0, "one crop, known person": 15.0}
    return [
        Row(name=f"network, {name}", value=1e3 * value, unit="ms", target=targets.get(name))
        for name, value in seconds.items()
    ]
