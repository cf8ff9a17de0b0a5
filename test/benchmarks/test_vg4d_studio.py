"""What the figures of several seeds become."""

from __future__ import annotations

import pytest

from benchmarks import vg4d_studio
from fourd_perception.parameters import load_yaml
from training.align_config import AlignConfig


def one(fused: float, pc: float, rgb_text: float) -> dict[str, float]:
    return {
        "fused": fused, "pc": pc, "pc_text": 20.0, "rgb": 30.0, "rgb_text": rgb_text,
        "pc+rgb": 50.0, "fused_without_cls": 40.0, "calibration_error_fused": 5.0,
        "zero_shot_pc_text": 60.0, "zero_shot_chance": 100 / 3,
    }  # fmt: skip


def test_the_gain_is_over_the_best_score_of_each_seed():
    # 70 - 30 and 60 - 45: the means alone would say 65 - 35.
    found = vg4d_studio.summary([one(70, 30, 25), one(60, 20, 45)])
    assert found["fused"] == 65 and found["fused_by_seed"] == [70, 60]
    assert found["fused_over_best_single"] == pytest.approx((40 + 15) / 2)
    assert found["fused_over_best_single_least"] == 15
    assert found["subsets"] == {"pc+rgb": 50}
    assert found["losses_left_out"] == {"fused_without_cls": 40}
    assert found["zero_shot_chance"] == pytest.approx(33.333, abs=1e-3)
    assert found["calibration_error_fused"] == 5


def test_what_it_says_to_the_recipes_is_understood():
    recipe = vg4d_studio.RECIPES["align_boxes"]
    for weight in vg4d_studio.LOSSES.values():
        run = load_yaml(AlignConfig, recipe, (f"loss.{weight}=0",))
        assert getattr(run.loss, weight) == 0


def test_the_classes_left_out_are_classes_of_the_studio():
    studio = pytest.importorskip("fourd_perception.studio")
    kept = set(studio.BOX_CLASSES) - set(vg4d_studio.LEFT_OUT)
    assert len(kept) == 12
    for name in vg4d_studio.LEFT_OUT:
        verb, colour = name.split("_")[0], name.split("_")[2]
        assert any(other.startswith(verb) for other in kept)
        assert any(f"_{colour}_" in other for other in kept)
