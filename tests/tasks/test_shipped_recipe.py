"""The committed recipe, run again on the photographs, gives what was shipped."""

import pytest

from tasks.backbone_recipe import compact_recipe
from tasks.backbone_training import train_backbone

# The first 100 of the 1000 steps, with their own fall of the learning rate: measured
# on 2026-11-22 (torch 2.15, one thread of an AMD EPYC). Other machines round otherwise.
LOSS = [14.58, 12.38]
VALIDATION = {"loss": 10.52, "accuracy": 0.229}


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_the_shipped_recipe_is_reproduced_in_short(data_folder, tmp_path):
    trained = train_backbone(
        data_folder / "osie" / "stimuli",
        tmp_path / "again",
        recipe=compact_recipe().shortened(2),
        name="OSIE",
        licence="MIT (Xu et al. 2014)",
        seed=0,
        device="cpu",
    )
    assert trained.card["n_training"] == 630
    assert trained.curves["loss"].tolist() == pytest.approx(LOSS, abs=0.15)
    found = trained.card["validation"]
    assert found["loss"] == pytest.approx(VALIDATION["loss"], abs=0.3)
    assert found["accuracy"] == pytest.approx(VALIDATION["accuracy"], abs=0.08)
