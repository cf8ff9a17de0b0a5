from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("mujoco")

from fourd_perception.studio.actions import ACTIONS, Performance
from fourd_perception.studio.boxes import BOX_ACTIONS
from fourd_perception.studio.motion import stand, track
from fourd_perception.studio.performer import Body, Placement, Prop, draw_body, place
from fourd_perception.studio.pose import blend

SEEDS = range(4)
ON_THE_FLOOR = sorted(set(ACTIONS) - {"jump"})


def someone(seed: int, action: str) -> tuple[Body, Performance]:
    body = draw_body(np.random.default_rng((seed, 0)))
    return body, Performance(action, body, np.random.default_rng((seed, 1)))


def moments(body: Body, performance: Performance, seconds: float = 5.0) -> list[Placement]:
    return [place(body, *performance.at(t)) for t in np.arange(0.0, seconds, 0.1)]


def heights(placed: list[Placement], part: str) -> np.ndarray:
    return np.array([one[part][0][2] for one in placed])


def apart(placed: list[Placement], first: str, second: str) -> np.ndarray:
    return np.array([np.linalg.norm(one[first][0] - one[second][0]) for one in placed])


def test_track_passes_through_its_values_and_repeats() -> None:
    times, values = (0.0, 0.25, 0.75), (1.0, 3.0, -1.0)
    assert [track(time, times, values) for time in times] == pytest.approx(values)
    assert track(0.5, times, values) == pytest.approx(1.0)  # half way, half of the easing
    assert track(3.25, times, values) == pytest.approx(3.0)
    assert track(0.9, times, values) == pytest.approx(-1.0)


@pytest.mark.parametrize("action", ON_THE_FLOOR)
def test_one_foot_at_least_stays_on_the_floor(action: str) -> None:
    for seed in SEEDS:
        body, performance = someone(seed, action)
        placed = moments(body, performance)
        ankles = np.minimum(heights(placed, "left_foot"), heights(placed, "right_foot"))
        np.testing.assert_allclose(ankles, body.ankle, atol=0.005)


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_no_bone_stretches_and_no_limb_leaves_its_joint(action: str) -> None:
    body, performance = someone(3, action)
    for placed in moments(body, performance):
        for side in ("left", "right"):
            for upper, lower, first, second in (
                ("thigh", "shin", body.thigh, body.shin),
                ("upper_arm", "forearm", body.upper_arm, body.forearm),
            ):
                # The lower end of the one is the upper end of the other.
                (a, ra), (b, rb) = placed[f"{side}_{upper}"], placed[f"{side}_{lower}"]
                ends = [a + s * ra[:, 2] * first / 2 for s in (-1, 1)]
                others = [b + s * rb[:, 2] * second / 2 for s in (-1, 1)]
                assert min(np.linalg.norm(e - o) for e in ends for o in others) < 1e-6


@pytest.mark.parametrize("action", sorted(ACTIONS))
def test_movement_is_smooth(action: str) -> None:
    # 15 m/s is a fast hand; a jump in time would be far above it.
    for seed in range(3):
        body, performance = someone(seed, action)
        parts = ("left_hand", "right_hand", "left_foot", "right_foot", "head")
        before = place(body, *performance.at(0.0))
        for t in np.arange(0.02, 4.0, 0.02):
            now = place(body, *performance.at(float(t)))
            assert all(np.linalg.norm(now[p][0] - before[p][0]) < 0.3 for p in parts), (seed, t)
            before = now


def test_idle_does_little() -> None:
    for seed in SEEDS:
        body, performance = someone(seed, "idle")
        placed = moments(body, performance)
        for part in ("left_hand", "right_hand", "head", "pelvis"):
            places = np.array([one[part][0] for one in placed])
            assert np.ptp(places, axis=0).max() < 0.25


def test_drink_brings_the_cup_to_the_mouth_and_away() -> None:
    for seed in SEEDS:
        body, performance = someone(seed, "drink")
        placed = moments(body, performance)
        mouth = np.array([0.07, 0.0, 0.02]) * body.height
        lips = [one["head"][0] + one["head"][1] @ mouth for one in placed]
        distance = [np.linalg.norm(one["cup"][0] - lip) for one, lip in zip(placed, lips)]
        assert min(distance) < 0.12 and max(distance) > 0.3


def test_clap_brings_the_hands_together_and_apart() -> None:
    for seed in SEEDS:
        distance = apart(moments(*someone(seed, "clap")), "left_hand", "right_hand")
        assert distance.min() < 0.1
        assert np.ptp(distance) > 0.06


def test_raised_hands_are_above_the_head() -> None:
    for seed in SEEDS:
        placed = moments(*someone(seed, "raise_arms"))
        both = np.minimum(heights(placed, "left_hand"), heights(placed, "right_hand"))
        assert (both - heights(placed, "head")).max() > 0.1
        assert both.min() < 1.0


def test_jump_leaves_the_floor_in_a_free_fall() -> None:
    for seed in SEEDS:
        body, performance = someone(seed, "jump")
        fine = [place(body, *performance.at(t)) for t in np.arange(0, 2, 0.01)]
        ankles = np.minimum(heights(fine, "left_foot"), heights(fine, "right_foot"))
        assert ankles.max() > body.ankle + 0.08
        assert ankles.min() == pytest.approx(body.ankle, abs=0.005)


def test_sit_down_puts_the_pelvis_on_the_seat() -> None:
    for seed in SEEDS:
        body, performance = someone(seed, "sit_down")
        lowest = heights(moments(body, performance), "pelvis").min()
        assert lowest == pytest.approx(body.seat + 0.055 * body.height * body.girth, abs=0.01)


def test_turn_around_shows_the_back() -> None:
    for seed in SEEDS:
        placed = moments(*someone(seed, "turn_around"))
        assert min(one["chest"][1][0, 0] for one in placed) < -0.9


def test_pick_up_lifts_the_parcel_from_the_floor() -> None:
    for seed in SEEDS:
        placed = moments(*someone(seed, "pick_up"))
        parcel = heights(placed, "parcel")
        assert parcel.min() == pytest.approx(0.12, abs=0.06)
        assert parcel.max() > 0.7
        assert heights(placed, "head").min() < 0.75 * heights(placed, "head").max()


def test_kick_and_punch_reach_out() -> None:
    for seed in SEEDS:
        body, performance = someone(seed, "kick")
        assert apart(moments(body, performance), "left_foot", "right_foot").max() > 0.4
        body, performance = someone(seed, "punch")
        placed = moments(body, performance)
        reach = max(one[hand][0][0] for one in placed for hand in ("left_hand", "right_hand"))
        assert reach > body.arm


def test_a_whole_action_fits_its_time() -> None:
    body, performance = someone(1, "turn_around")
    performance.fit(3.7)
    start, end = (place(body, *performance.at(t))["chest"][1] for t in (0.0, 3.7))
    np.testing.assert_allclose(start[:, 0], end[:, 0], atol=0.15)


def test_a_mirrored_pose_is_the_pose_in_a_mirror() -> None:
    body, performance = someone(2, "throw")
    flip = np.array([1.0, -1.0, 1.0])
    for t in (0.3, 0.8, 1.2):
        pose, _ = performance.at(t)
        plain, mirrored = place(body, pose), place(body, pose.mirrored())
        for part, other in (("left_hand", "right_hand"), ("left_foot", "right_foot")):
            np.testing.assert_allclose(mirrored[other][0], plain[part][0] * flip, atol=1e-9)


def test_blending_ends_at_its_poses() -> None:
    body, performance = someone(2, "point")
    first, (second, _) = stand(body), performance.at(1.0)
    for weight, pose in ((0.0, first), (1.0, second)):
        for part, (position, _) in place(body, blend(first, second, weight)).items():
            np.testing.assert_allclose(position, place(body, pose)[part][0], atol=1e-9)


def test_an_object_that_nobody_handles_is_out_of_sight() -> None:
    body, _ = someone(0, "idle")
    placed = place(body, stand(body), Prop("cup"))
    assert placed["cup"][0][2] > 0.3
    assert placed["ball"][0][2] < -50 and placed["parcel"][0][2] < -50


def wrists(action: str, seed: int, count: int = 80) -> np.ndarray:
    """(count, 3) metres: where the hand with the box is over 4 s, forward, to the left and up."""
    body = draw_body(np.random.default_rng(seed))
    performance = Performance(action, body, np.random.default_rng(seed))
    found = []
    for seconds in np.linspace(0, 4, count):
        pose, prop = performance.at(seconds)
        assert prop is not None and action.endswith(prop.name)
        found.append(place(body, pose, prop)[prop.name][0])
    return np.array(found)


@pytest.mark.parametrize("seed", range(4))
def test_what_is_done_with_a_box_differs_in_the_direction_alone(seed: int) -> None:
    # Forward, sideways, up: how far the box goes, metres.
    ways = {name: np.ptp(wrists(name, seed), axis=0) for name in BOX_ACTIONS if "_red_" in name}
    assert len(ways) == 5
    assert (ways["hold_the_red_box"] < 0.1).all()
    for name, axis in (("push", 0), ("slide", 1), ("lift", 2)):
        way = ways[f"{name}_the_red_box"]
        assert way[axis] > 0.15 and way[axis] > 2 * np.delete(way, axis).max()
    round_about = ways["circle_the_red_box"]
    assert round_about[:2].min() > 0.15 and round_about[2] < 0.15


def test_a_box_goes_no_matter_what_colour_it_has() -> None:
    red, blue = (BOX_ACTIONS[f"push_the_{colour}_box"] for colour in ("red", "blue"))
    body = draw_body(np.random.default_rng(3))
    poses = [one(body, np.random.default_rng(3)).step(0.4)[0] for one in (red, blue)]
    np.testing.assert_array_equal(poses[0].hands, poses[1].hands)
