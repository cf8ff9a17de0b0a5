from __future__ import annotations

from itertools import pairwise

import pytest

from fourd_perception.errors import InputError
from training import ladder
from training.finetune import build_model


@pytest.mark.parametrize("name", ladder.STEPS)
def test_every_step_can_be_trained(name):
    config = ladder.recipe(name, 3, ("data.root=somewhere",))
    model, _ = build_model(config, 20)
    assert model.task == "action_recognition"
    assert (config.seed, config.name, config.data.root) == (3, f"{name}_3", "somewhere")


def test_one_thing_changes_from_step_to_step():
    def told(name):
        config = ladder.recipe(name, 0)
        sizes = build_model(config, 20)[1]
        switches = {key: sizes[key] for key in ("norm", "normalise_displacement", "centre_feature")}
        return {
            **switches,
            "schedule": config.optimiser.schedule,
            "random_frames": config.sampling.window_share < 1,
            "table": str(sizes["layers"]),
            "rest": (sizes["head_norm"], sizes["dropout"], sizes["padding_mode"]),
        }

    steps = [told(name) for name in ladder.STEPS]
    changed = [
        {key for key in before if before[key] != after[key]} for before, after in pairwise(steps)
    ]
    assert changed == [
        {"norm"}, {"random_frames"}, {"schedule"}, {"normalise_displacement"}, {"centre_feature"},
    ]  # fmt: skip


def test_a_step_that_would_learn_something_else_is_refused():
    with pytest.raises(InputError, match=r"msr_action3d.yaml: task action_segmentation; what is"):
        ladder.recipe("im_pstnet", 0, ("task=action_segmentation",))
