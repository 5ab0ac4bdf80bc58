"""What a network sees in each batch of its training: views of pictures of its diet.

Mirrors belong to the scene, not to the screen. A picture that was turned by 90 degrees
is therefore mirrored as it stood before, and then turned: mirrored on the screen it
would stand on its head half of the time, and left and right would be as alike for its
network as they are in upright scenes.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from neurovis.core.rng import generator
from neurovis.fitting.views import make_views
from tasks.backbone_recipe import BackboneRecipe

_TURNED = "rotated-90"


@dataclass(frozen=True)
class Batch:
    """Which pictures a batch shows: made into views when it is its turn.

    Parameters
    ----------
    epoch, number : int
        Epoch, and place of the batch in it; both count from 0.
    rows : tuple of int
        Pictures.
    """

    epoch: int
    number: int
    rows: tuple[int, ...]


def batches_of(
    recipe: BackboneRecipe, n_pictures: int
) -> Callable[[int], Sequence[Batch]]:
    """Return batches of distinct pictures; every picture is seen as often.

    Parameters
    ----------
    recipe : BackboneRecipe
        Size of batches and number of steps.
    n_pictures : int
        Pictures, >= 2.

    Returns
    -------
    callable
        From an epoch to its batches, equal for every seed of a training.

    Examples
    --------
    >>> recipe = BackboneRecipe(batch_size=2, steps_per_epoch=3)
    >>> shown = [batch.rows for batch in batches_of(recipe, 4)(0)]
    >>> sorted(shown[0] + shown[1])
    [0, 1, 2, 3]
    """
    size = min(recipe.batch_size, n_pictures)
    per_pass = n_pictures // size

    def batches(epoch: int) -> list[Batch]:
        found = []
        for number in range(recipe.steps_per_epoch):
            count = epoch * recipe.steps_per_epoch + number
            order = generator(0, "order", count // per_pass).permutation(n_pictures)
            first = count % per_pass * size
            rows = tuple(order[first : first + size].tolist())
            found.append(Batch(epoch, number, rows))
        return found

    return batches


def one_view(
    recipe: BackboneRecipe,
    pictures: Sequence[Tensor],
    rows: Sequence[int],
    seed: int,
    *keys: str | int,
    diet: str = "natural",
) -> Tensor:
    """Cut one view of every picture.

    Parameters
    ----------
    recipe : BackboneRecipe
        What views look like.
    pictures : sequence of Tensor of uint8, shape (3, H, W)
        Pictures as the diet has them.
    rows : sequence of int
        Which of them.
    seed : int
        Seed of the training.
    *keys : str or int
        What the batch is.
    diet : str, default "natural"
        What was done to the pictures, one of `stimuli.diets.DIETS`.

    Returns
    -------
    Tensor of float32, shape (n_rows, 3, size_px, size_px), 0..1
        Views.
    """
    parts = _upright(pictures, rows, diet)
    views = make_views(parts, range(len(parts)), recipe.views, seed=seed, keys=keys)
    return _as_fed(views, diet)


def two_views(
    recipe: BackboneRecipe,
    pictures: Sequence[Tensor],
    rows: Sequence[int],
    seed: int,
    *keys: str | int,
    diet: str = "natural",
) -> Tensor:
    """Cut two views of every picture, both from one square of it.

    Parameters
    ----------
    recipe : BackboneRecipe
        What views look like, and how large the square is.
    pictures : sequence of Tensor of uint8, shape (3, H, W)
        Pictures as the diet has them.
    rows : sequence of int
        Which of them.
    seed : int
        Seed of the training.
    *keys : str or int
        What the batch is.
    diet : str, default "natural"
        What was done to the pictures, one of `stimuli.diets.DIETS`.

    Returns
    -------
    Tensor of float32, shape (2 n_rows, 3, size_px, size_px), 0..1
        First views of all pictures, then second ones.
    """
    parts = _upright(pictures, rows, diet)
    if recipe.region is not None:
        draws = generator(seed, "regions", *keys)
        share = draws.uniform(*recipe.region)
        parts = [_square(p, share, *draws.random(2)) for p in parts]
    places = range(len(parts))
    views = [
        make_views(parts, places, recipe.views, seed=seed, keys=(*keys, which))
        for which in ("first", "second")
    ]
    return _as_fed(torch.cat(views), diet)


def _upright(
    pictures: Sequence[Tensor], rows: Sequence[int], diet: str
) -> list[Tensor]:
    if diet != _TURNED:
        return [pictures[row] for row in rows]
    return [pictures[row].rot90(-1, (1, 2)) for row in rows]


def _as_fed(views: Tensor, diet: str) -> Tensor:
    """Turn views of upright pictures to where the diet has them."""
    if diet != _TURNED:
        return views
    turned = views.rot90(1, (2, 3))
    return turned.contiguous(memory_format=torch.channels_last)


def _square(picture: Tensor, share: float, down: float, right: float) -> Tensor:
    height, width = picture.shape[1:]
    side = max(1, round(share * min(height, width)))
    top = int(down * (height - side + 1))
    left = int(right * (width - side + 1))
    return picture[:, top : top + side, left : left + side]
