from __future__ import annotations

from pathlib import Path

import pytest

from fourd_perception import checkpoint
from fourd_perception.looking.config import LookConfig
from fourd_perception.recordings import studio_seeds

ROOT = Path(__file__).parents[2]
where_to_look = pytest.importorskip("benchmarks.where_to_look", reason="no MuJoCo")


def test_percentages_are_of_all_bags_together():
    counts = where_to_look.Counts()
    counts.add("windows_box", 1, 2)
    counts.add("windows_box", 5, 6)
    assert counts.figures() == {"windows_box": 75.0, "windows_box_judged": 8}


def test_a_room_without_a_background_is_seen_as_the_person_alone_is(tmp_path, monkeypatch):
    """The test seeds are the benchmark's; this is one of those that its defaults were tried on."""
    perform = where_to_look.studio.perform
    monkeypatch.setattr(
        where_to_look.studio, "perform",
        lambda seed, _, config: perform(seed, ["wave_hand", "kick"], config),
    )  # fmt: skip
    bag = where_to_look.film(tmp_path, 900_004, where_to_look.SETTINGS["_passer_by"])
    model = checkpoint.load(ROOT / "models" / "studio.safetensors")
    cut_out = where_to_look.judge(bag, model, LookConfig(), cut_out=True)
    methods = where_to_look.METHODS
    found = where_to_look.judge(bag, model, methods["background_nearest"], cut_out=False)
    nothing = where_to_look.judge(bag, model, methods["nothing"], cut_out=False)
    assert found[0] == found[1] > 5 and found[0] / found[1] == cut_out[0] / cut_out[1]
    assert nothing[0] < 0.5 * nothing[1]
    assert studio_seeds.TEST > 900_020


def test_every_frame_of_every_method_has_its_cost():
    found = where_to_look.milliseconds(900_004, frames=2)
    assert len(found) == 10 and all(value > 0 for value in found.values())
