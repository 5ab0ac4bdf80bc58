"""Small networks that look at drawings: the guide, the judge, that of a held-out brain.

They differ in kernels, activation, training drawings and seed, so that what one of them
can be fooled with need not fool the others.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from neurovis.core.checks import check_option
from neurovis.core.device import exact_float32
from neurovis.core.files import sha256_bytes
from neurovis.core.rng import generator, own_torch_stream
from neurovis.core.tensors import hash_state_dict
from neurovis.core.unit_responses import UnitResponses
from neurovis.fitting.ridge import RidgeCV
from neurovis.fitting.settings import TrainSettings
from neurovis.fitting.train import train

EMBEDDING = 64
"""Values of the embedding that encoders are fitted to."""

_WIDTHS = (16, 32, 48, 64)
_NOISE_SD = 0.1
_ALPHAS = tuple(10.0**k for k in range(-3, 4))


@dataclass(frozen=True)
class SketchLook:
    """What a network is built like, and how it is trained.

    Parameters
    ----------
    kernel : int
        Width of its convolutions, odd.
    activation : {"relu", "gelu", "silu"}
        Its activation.
    noise_sd : float, default 0
        Standard deviation of the noise added to its training pictures, levels of 0..1:
        gradients of networks that know noise look less like noise.
    """

    kernel: int
    activation: str
    noise_sd: float = 0.0

    def __post_init__(self) -> None:
        check_option("activation", self.activation, tuple(_ACTIVATIONS))


_ACTIVATIONS: dict[str, Callable[[Tensor], Tensor]] = {
    "relu": F.relu,
    "gelu": F.gelu,
    "silu": F.silu,
}

LOOKS = {
    "guide": SketchLook(3, "relu", _NOISE_SD),
    "judge": SketchLook(5, "gelu"),
    "brain": SketchLook(5, "silu"),
}
"""The network that guides, the one that judges, and that of the held-out brain."""


class SketchNetwork(nn.Module):
    """Four convolutions, an embedding, and the names of classes.

    Parameters
    ----------
    look : SketchLook
        What it is built like.
    n_classes : int
        Classes.
    """

    def __init__(self, look: SketchLook, n_classes: int) -> None:
        super().__init__()
        pairs = zip((3, *_WIDTHS[:-1]), _WIDTHS, strict=True)
        self.layers = nn.ModuleList(
            nn.Conv2d(a, b, look.kernel, padding=look.kernel // 2) for a, b in pairs
        )
        # Over pictures, not within one: how light and how colourful it is must stay.
        self.norms = nn.ModuleList(nn.BatchNorm2d(width) for width in _WIDTHS)
        self.head = nn.Linear(EMBEDDING, n_classes)
        self.activation = look.activation

    def embed(self, images: Tensor) -> Tensor:
        """Embed images; gradients flow.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 3, 32, 32), 0..1
            Images.

        Returns
        -------
        Tensor of float32, shape (n, 64)
            Embedding.
        """
        x = 2 * images - 1
        for i, (layer, norm) in enumerate(zip(self.layers, self.norms, strict=True)):
            x = _ACTIVATIONS[self.activation](norm(layer(x)))
            if i < len(_WIDTHS) - 1:
                x = F.avg_pool2d(x, 2)
        return x.mean((2, 3))

    def forward(self, images: Tensor) -> Tensor:
        """Name classes; gradients flow.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 3, 32, 32), 0..1
            Images.

        Returns
        -------
        Tensor of float32, shape (n, n_classes)
            Logits.
        """
        logits: Tensor = self.head(self.embed(images))
        return logits


def train_sketch_network(
    role: str,
    pictures: Tensor,
    labels: NDArray[np.int64],
    *,
    epochs: int = 12,
    seed: int = 0,
    device: str | torch.device = "cpu",
    folder: str | Path | None = None,
) -> SketchNetwork:
    """Train a network to name what drawings show.

    Parameters
    ----------
    role : {"guide", "judge", "brain"}
        Which of `LOOKS`.
    pictures : Tensor of uint8, shape (n, 3, 32, 32)
        Drawings.
    labels : ndarray of int64, shape (n,)
        Number of their category.
    epochs : int, default 12
        Times that each is seen.
    seed : int, default 0
        Seed of weights, order, shifts and noise.
    device : str or torch.device, default "cpu"
        Where to train.
    folder : str or Path, optional
        Where checkpoints lie.

    Returns
    -------
    SketchNetwork
        On the CPU, in evaluation mode, without gradients of its weights.

    Raises
    ------
    ValueError
        If the role is unknown or `folder` holds another training.
    """
    look = LOOKS[str(check_option("role", role, tuple(LOOKS)))]
    n_classes = int(labels.max()) + 1
    with own_torch_stream(seed, "sketch network", role):
        network = SketchNetwork(look, n_classes)
    targets = torch.tensor(labels)  # a copy: those of tables cannot be written to

    def batches(epoch: int) -> Sequence[Any]:
        order = generator(seed, "sketch network", role, epoch).permutation(len(labels))
        return np.array_split(order, max(len(order) // 64, 1))

    def loss(module: nn.Module, rows: Any) -> tuple[Tensor, float]:
        place = next(module.parameters()).device
        seen = pictures[rows].float() / 255
        # Generated things need not lie where drawn ones do.
        padded = F.pad(seen, (3, 3, 3, 3), mode="replicate")
        top, left = torch.randint(0, 7, (2,)).tolist()
        size = seen.shape[-1]
        seen = padded[..., top : top + size, left : left + size]
        if look.noise_sd:
            spread = look.noise_sd * torch.rand(len(rows), 1, 1, 1)
            seen = seen + spread * torch.randn(seen.shape)
        found = module(seen.to(place))
        return F.cross_entropy(found, targets[rows].to(place), reduction="sum"), float(
            len(rows)
        )

    settings = TrainSettings(
        max_epochs=epochs,
        patience=None,
        keep="last",
        optimiser="adamw",
        learning_rate=3e-3,
        weight_decay=1e-3,
        schedule="cosine",
        warmup_steps=20,
    )
    done = train(
        network,
        batches,
        loss,
        settings=settings,
        seed=seed,
        device=device,
        folder=folder,
        identity={
            "pictures": sha256_bytes(pictures.numpy().tobytes()),
            "labels": sha256_bytes(labels.tobytes()),
        },
        description=f"{role} network",
    )
    network.load_state_dict(done.state)
    return network.eval().requires_grad_(False)


@torch.no_grad()
def name_classes(
    network: SketchNetwork, images: NDArray[np.uint8]
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Return what a network sees in images.

    Parameters
    ----------
    network : SketchNetwork
        Who judges.
    images : ndarray of uint8, shape (n, 32, 32, 3)
        RGB.

    Returns
    -------
    shares : ndarray of float64, shape (n, n_classes)
        Probabilities of classes; they sum to 1.
    embedding : ndarray of float32, shape (n, 64)
        What they follow from.
    """
    place = next(network.parameters()).device
    shares, embedding = [], []
    with exact_float32():
        for part in torch.split(torch.tensor(images), 256):
            seen = part.permute(0, 3, 1, 2).to(place).float() / 255
            embedded = network.embed(seen)
            shares.append(network.head(embedded).cpu().double().softmax(1))
            embedding.append(embedded.cpu())
    return torch.cat(shares).numpy(), torch.cat(embedding).numpy()


@dataclass(frozen=True, eq=False)
class EmbeddingEncoder:
    """A linear encoder on the embedding of a network, of length 1.

    Parameters
    ----------
    network : SketchNetwork
        Looks at images.
    coef : Tensor of float32, shape (64, n_units)
        Weights.
    intercept : Tensor of float32, shape (n_units,)
        Constants.
    test_r : ndarray of float64, shape (n_units,)
        Correlation with responses to pictures that it was not fitted to.
    """

    network: SketchNetwork
    coef: Tensor
    intercept: Tensor
    test_r: NDArray[np.float64]

    def __call__(self, images: Tensor) -> Tensor:
        """Predict responses; gradients flow.

        Parameters
        ----------
        images : Tensor of float32, shape (n, 3, 32, 32), 0..1
            Images.

        Returns
        -------
        Tensor of float32, shape (n, n_units)
            In standard deviations.
        """
        embedded = F.normalize(self.network.embed(images), dim=1)
        place = embedded.device
        return embedded @ self.coef.to(place) + self.intercept.to(place)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over all weights."""
        own = {"coef": self.coef, "intercept": self.intercept}
        return hash_state_dict({**self.network.state_dict(), **own})

    def predict(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        """Predict responses.

        Parameters
        ----------
        images : ndarray of uint8, shape (n, 32, 32, 3)
            RGB.

        Returns
        -------
        ndarray of float32, shape (n, n_units)
            In standard deviations.
        """
        _, embedded = name_classes(self.network, images)
        rows = F.normalize(torch.from_numpy(embedded), dim=1)
        return (rows @ self.coef + self.intercept).numpy()


def fit_embedding_encoder(
    network: SketchNetwork,
    responses: UnitResponses,
    pictures: NDArray[np.uint8],
    *,
    n_test: int,
) -> EmbeddingEncoder:
    """Fit responses to the embedding of a network by ridge regression.

    Parameters
    ----------
    network : SketchNetwork
        Looks at the pictures.
    responses : UnitResponses
        One row per picture.
    pictures : ndarray of uint8, shape (n, 32, 32, 3)
        What was shown.
    n_test : int
        The last so many pictures are not fitted; `test_r` is measured on them.

    Returns
    -------
    EmbeddingEncoder
        With one penalty per voxel, by cross-validation within the training pictures.

    Raises
    ------
    ValueError
        If pictures are too few.
    """
    n = len(pictures) - n_test
    if n < 50 or n_test < 10 or len(responses.betas) != len(pictures):
        raise ValueError(
            f"At least 50 pictures to fit and 10 to test are needed, with one row of "
            f"responses each; got {len(pictures)} pictures, {n_test} to test, and "
            f"{len(responses.betas)} rows."
        )
    _, embedded = name_classes(network, pictures)
    rows = F.normalize(torch.from_numpy(embedded), dim=1).numpy()
    model = RidgeCV(_ALPHAS, device="cpu").fit(rows[:n], responses.betas[:n])
    coef = torch.from_numpy(np.asarray(model.coef_, np.float32))
    intercept = torch.from_numpy(np.asarray(model.intercept_, np.float32))
    seen = rows[n:] @ coef.numpy()
    measured = responses.betas[n:]
    r = [
        float(np.corrcoef(a, b)[0, 1]) for a, b in zip(seen.T, measured.T, strict=True)
    ]
    return EmbeddingEncoder(network, coef, intercept, np.array(r))
