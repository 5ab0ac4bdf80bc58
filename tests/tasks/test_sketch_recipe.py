"""The committed recipe of the small generators, run again in short."""

import pytest

from tasks.sketch_training import SketchRecipe, train_generator

# 2048 drawings, four epochs, with their own fall of the learning rate: measured on
# 2026-11-22 (torch 2.15, one thread of an AMD EPYC). Other machines round otherwise.
LOSSES = {"latent": (0.4774, 0.4529), "pixel": (0.3809, 0.3749)}
PSNR_DB = 20.73


@pytest.mark.slow
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", LOSSES)
def test_the_recipe_of_the_shipped_generators_is_reproduced_in_short(kind, tmp_path):
    trained = train_generator(
        tmp_path / "again",
        recipe=SketchRecipe(kind).shortened(2048, 4),
        seed=0,
        device="cpu",
    )
    curves = trained.curves
    assert len(curves) == 4
    found = (curves["loss"].iloc[-1], trained.card["val_loss"])
    assert found == pytest.approx(LOSSES[kind], rel=0.03)
    assert (curves["loss"].diff().dropna() < 0).all()
    if kind == "latent":
        assert trained.card["psnr_db"] == pytest.approx(PSNR_DB, abs=0.7)
