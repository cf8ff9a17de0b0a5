"""A person performs actions in a room, and a depth camera records it. All of it from one seed.

Made up, and meant to be: a stand-in where nobody can be filmed, never to be called real data.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import mujoco
import numpy as np
from numpy.typing import NDArray

from fourd_perception.parameters import ConfigError
from fourd_perception.recordings.recording import (
    Interval,
    Intrinsics,
    OtherPerson,
    RecordedFrame,
    Recording,
)
from fourd_perception.stream.frame import SECOND, UNLABELLED
from fourd_perception.studio.actions import ACTIONS, TRANSITION, Performance, transition
from fourd_perception.studio.boxes import BOX_ACTIONS, draw_boxes
from fourd_perception.studio.camera import (
    MOST_COLOUR_NOISE,
    PERFECT_SENSOR,
    RayCamera,
    Viewpoint,
    grain,
    look_at,
    sense,
)
from fourd_perception.studio.companion import Companion
from fourd_perception.studio.config import StudioConfig
from fourd_perception.studio.passer_by import PasserBy
from fourd_perception.studio.performer import HIDDEN, Body, Prop, draw_body, draw_person, place
from fourd_perception.studio.pose import Array, Pose
from fourd_perception.studio.room import draw_room
from fourd_perception.studio.shapes import (
    PERSON_GROUP,
    POINT_CLASSES,
    ROOM_GROUP,
    Palette,
    build,
)

CLASSES: tuple[str, ...] = tuple(ACTIONS)
"""Names of the actions; the first is `idle`, somebody who stands and does none of the others."""

BOX_CLASSES: tuple[str, ...] = tuple(BOX_ACTIONS)
"""Names of what can be done with a box; an idle class they have none."""

_EVERYTHING = CLASSES + BOX_CLASSES

_NOTHING = np.uint8(96)
"""Grey of a pixel that sees nothing."""
_HANDLED = POINT_CLASSES.index("handled_object")


def perform(
    seed: int, actions: Sequence[str] | None = None, config: StudioConfig | None = None
) -> Recording:
    """A recording of `actions` in order; None: all of CLASSES once, in an order by seed.

    The intervals of its truth lie back to back, after `empty_seconds`. An action starts with a
    transition of TRANSITION seconds out of the one before, which is part of its interval. Stamps
    start at 0. Frames are rendered as they are asked for; the same seed and configuration give the
    same bits.
    Raises ConfigError on an action that is neither in CLASSES nor in BOX_CLASSES.
    """
    config = config or StudioConfig()
    random = _generator(seed, _Stream.PLAN)
    names = _checked(random.permutation(CLASSES).tolist() if actions is None else actions)
    seconds = random.uniform(config.seconds_least, config.seconds_most, len(names))
    counts = [max(1, round(one * config.rate)) for one in seconds.tolist()]
    empty = round(config.empty_seconds * config.rate)
    borders = empty + np.concatenate(([0], np.cumsum(counts, dtype=np.int64)))

    def frames() -> Iterator[RecordedFrame]:
        scene = Scene(seed, config)
        for number in range(empty):
            stamp = _stamp(number, config.rate)
            yield scene.render(None, None, stamp, (seed, _Stream.SENSOR, stamp))
        before: tuple[Performance, float] | None = None
        for index, name in enumerate(names):
            performance = scene.performance(name, index)
            performance.fit(counts[index] / config.rate)
            for number in range(counts[index]):
                pose, prop = transition(performance, number / config.rate, before)
                stamp = _stamp(int(borders[index]) + number, config.rate)
                yield scene.render(pose, prop, stamp, (seed, _Stream.SENSOR, stamp))
            before = performance, counts[index] / config.rate

    _, _, view = _draw_setting(seed, config)
    truth = tuple(
        Interval(_stamp(start, config.rate), _stamp(end, config.rate), name)
        for start, end, name in zip(borders[:-1].tolist(), borders[1:].tolist(), names)
    )
    return Recording(
        name=f"studio-{seed}",
        rate=config.rate,
        intrinsics=config.intrinsics,
        classes=_repertoire(names),
        truth=truth,
        frame_count=int(borders[-1]),
        frames=frames,
        point_classes=POINT_CLASSES,
        viewpoint=np.column_stack((view.rotation, view.position)),
        others=tuple(
            OtherPerson(one.spot, one.truth(empty / config.rate))
            for one in _draw_companions(seed, config)
        ),
    )


def clip(
    seed: int,
    action: str,
    times: Sequence[float],
    config: StudioConfig | None = None,
    scene: Scene | None = None,
    take: int = 0,
) -> Iterator[RecordedFrame]:
    """Just the frames of one action at `times` (seconds after its start, out of standing idle).

    Stamps are those times in nanoseconds. `take` numbers performances of the same person: another
    take, another side, pace and reach. Pass the `Scene(seed, config)` to make several clips of one
    person in one room without setting up the room again. Raises ConfigError on an unknown action.
    """
    _checked([action])
    scene = scene or Scene(seed, config or StudioConfig())
    number = _EVERYTHING.index(action)
    performance = scene.performance(action, len(CLASSES) * (take + 1) + number)
    before = scene.performance("idle", len(CLASSES) * (take + 1) + number), TRANSITION
    for seconds in times:
        pose, prop = transition(performance, seconds, before)
        stamp = round(seconds * SECOND)
        yield scene.render(pose, prop, stamp, (seed, _Stream.SENSOR, stamp, number, take))


class _Stream:
    """Each kind of chance has its own stream of numbers, so that one does not move the others."""

    BODY, CLOTHES, VIEW, ROOM, PLAN, PERFORMANCE, SENSOR, LIGHT, BOXES, PASSER, OTHERS = range(11)


def _checked(actions: Sequence[str]) -> list[str]:
    for name in actions:
        if name not in _EVERYTHING:
            raise ConfigError(f"studio: unknown action '{name}'; known: {', '.join(_EVERYTHING)}")
    if not actions:
        raise ConfigError(f"studio: no action given; known: {', '.join(_EVERYTHING)}")
    return list(actions)


def _repertoire(names: Sequence[str]) -> tuple[str, ...]:
    """The classes of a recording: one of the two sets, where all its actions are of that."""
    for classes in (CLASSES, BOX_CLASSES):
        if set(names) <= set(classes):
            return classes
    return _EVERYTHING


def _generator(seed: int, *stream: int) -> np.random.Generator:
    if seed < 0:
        raise ConfigError(f"studio: seed: expected 0 or more, got {seed}")
    return np.random.default_rng((seed, *stream))


def _stamp(number: int, rate: float) -> int:
    return round(number / rate * SECOND)


class Scene:
    """One person in one room before one camera. Not thread-safe.

    The room does not move, nor does the camera: the room is cast once. For each frame only the
    rays that can meet the person are cast, and the nearer of the two is seen.
    """

    def __init__(self, seed: int, config: StudioConfig | None = None) -> None:
        self.config = config = config or StudioConfig()
        self._seed = seed
        self.body, self._facing, self.viewpoint = _draw_setting(seed, config)
        shapes = draw_person(self.body, self._random(_Stream.CLOTHES))
        shapes += draw_boxes(self._random(_Stream.BOXES))
        if config.room:
            shapes += draw_room(
                self.body, self._facing, self.viewpoint.position, self._random(_Stream.ROOM)
            )
        self._passers_by = [PasserBy(self._random(_Stream.PASSER))] if config.passer_by else []
        self._companions = _draw_companions(seed, config)
        self._begin = round(config.empty_seconds * config.rate) / config.rate
        own = {one.body for one in shapes}
        shapes += [shape for other in self._passers_by for shape in other.shapes]
        shapes += [shape for other in self._companions for shape in other.shapes]
        self._model = build(shapes)
        self._data = mujoco.MjData(self._model.mujoco)
        # Nothing was hit where a geom is -1, which is the last.
        self._labels = np.append(self._model.classes, np.uint16(UNLABELLED))
        self._others = np.array([*(one.body not in own for one in self._model.shapes), False])
        self._palette = Palette(self._model.shapes)
        self._light = _light(self._random(_Stream.LIGHT))
        self._person = np.flatnonzero(self._model.mujoco.geom_group == PERSON_GROUP)
        self.camera = RayCamera(config.intrinsics, self.viewpoint)
        self._background = self._empty_room()

    def _random(self, *stream: int) -> np.random.Generator:
        return _generator(self._seed, *stream)

    def performance(self, action: str, index: int) -> Performance:
        """This person's way of doing an action, the `index`-th time."""
        random = self._random(_Stream.PERFORMANCE, _EVERYTHING.index(action), index)
        return Performance(action, self.body, random)

    def render(
        self, pose: Pose | None, prop: Prop | None, stamp: int, noise: tuple[int, ...]
    ) -> RecordedFrame:
        """The camera's frame of a pose, or of the empty room. noise: the seed of its faults."""
        self._place(pose, prop, stamp)
        view = self._background.copy()
        centres = self._data.geom_xpos[self._person]
        shown = centres[:, 2] > -50.0
        radii = self._model.mujoco.geom_rbound[self._person][shown]
        window = self.camera.window(centres[shown], radii) if shown.any() else None
        if window is not None:
            self._cast(view, PERSON_GROUP, window)
        return self._frame(view, prop, stamp, np.random.default_rng(noise))

    def _place(self, pose: Pose | None, prop: Prop | None, stamp: int) -> None:
        c, s = np.cos(self._facing), np.sin(self._facing)
        world = np.array([[c, -s, 0.0], [s, c, 0.0], [0.0, 0.0, 1.0]])
        self._data.mocap_pos[:] = HIDDEN
        own = place(self.body, pose, prop) if pose is not None else {}
        placed = {name: (world @ spot, world @ turn) for name, (spot, turn) in own.items()}
        if own:
            for passer_by in self._passers_by:
                placed |= passer_by.at(stamp / SECOND)
            for companion in self._companions:
                placed |= companion.at(stamp / SECOND - self._begin)
        for name, (position, rotation) in placed.items():
            index = self._model.bodies[name]
            self._data.mocap_pos[index] = position
            mujoco.mju_mat2Quat(self._data.mocap_quat[index], rotation.ravel())
        mujoco.mj_kinematics(self._model.mujoco, self._data)

    def _empty_room(self) -> _View:
        shape = self.config.height, self.config.width
        view = _View(
            np.full(shape, np.inf, np.float32),
            np.full(shape, -1, np.int32),
            np.ones(shape, np.float32),
            np.full((*shape, 3), _NOTHING, np.uint8),
        )
        if self.config.room:
            mujoco.mj_kinematics(self._model.mujoco, self._data)
            self._cast(view, ROOM_GROUP, (slice(0, shape[0]), slice(0, shape[1])))
        return view

    def _cast(self, view: _View, group: int, window: tuple[slice, slice]) -> None:
        """Put what a geom group shows in a window over what is there and farther."""
        hits = self.camera.cast(self._model.mujoco, self._data, group, window)
        part = view.depth[window]
        nearer = np.flatnonzero(hits.depth < part.ravel())
        rows, columns = np.divmod(nearer, part.shape[1])
        pixels = rows + (window[0].start or 0), columns + (window[1].start or 0)
        depth, geoms, normals = hits.depth[nearer], hits.geoms[nearer], hits.normals[nearer]
        directions = self.camera.directions[pixels]
        view.depth[pixels], view.geoms[pixels] = depth, geoms
        view.facing[pixels] = np.abs(np.einsum("ij,ij->i", normals, directions))
        view.colour[pixels] = self._shade(pixels, depth, geoms, normals)

    def _shade(
        self,
        pixels: tuple[NDArray[np.int64], NDArray[np.int64]],
        depth: NDArray[np.float32],
        geoms: NDArray[np.int32],
        normals: NDArray[np.float32],
    ) -> NDArray[np.uint8]:
        """(K, 3) uint8: paint under one lamp and light from everywhere (Lambert)."""
        camera, view = self.camera.intrinsics, self.viewpoint
        optical = np.stack(
            ((pixels[1] - camera.cx) / camera.fx, (pixels[0] - camera.cy) / camera.fy,
             np.ones(len(depth))), axis=1,
        )  # fmt: skip
        places = view.position + (optical * depth[:, None]) @ view.rotation.T
        frames = self._data.geom_xmat.reshape(-1, 3, 3)
        local = np.einsum("ij,ijk->ik", places - self._data.geom_xpos[geoms], frames[geoms])
        paint = self._palette.colour(geoms, local.astype(np.float32))
        brightness = 0.62 + 0.45 * np.clip(normals @ self._light, -0.4, 1.0)
        return np.clip(
            paint * brightness[:, None] * 255.0, MOST_COLOUR_NOISE, 255 - MOST_COLOUR_NOISE
        ).astype(np.uint8)

    def _frame(
        self, view: _View, prop: Prop | None, stamp: int, random: np.random.Generator
    ) -> RecordedFrame:
        sensor = self.config.sensor if self.config.noise else PERFECT_SENSOR
        depth = sense(view.depth, view.geoms, view.facing, sensor, random)
        labels = self._labels[view.geoms]
        labels[depth <= 0] = UNLABELLED
        held = prop is not None and prop.place is None
        foreground = (labels < _HANDLED + held) & ~self._others[view.geoms]
        return RecordedFrame(
            stamp, depth, foreground, grain(view.colour, sensor.colour_noise, random), labels
        )


@dataclass(eq=False)
class _View:
    """What is really there, pixel by pixel: depth, shape, cosine of the ray's angle, colour."""

    depth: NDArray[np.float32]
    geoms: NDArray[np.int32]
    facing: NDArray[np.float32]
    colour: NDArray[np.uint8]

    def copy(self) -> _View:
        return _View(self.depth.copy(), self.geoms.copy(), self.facing.copy(), self.colour.copy())


def _draw_companions(seed: int, config: StudioConfig) -> list[Companion]:
    """Who else is there: for twice as many actions as there are, longer than the person needs."""
    companions = []
    for number in range(config.companions):
        random = _generator(seed, _Stream.OTHERS, number)
        seconds = random.uniform(config.seconds_least, config.seconds_most, 2 * len(CLASSES))

        def performances(index: int, number: int = number) -> np.random.Generator:
            return _generator(seed, _Stream.OTHERS, number, index)

        companions.append(Companion(number, random, performances, seconds.tolist()))
    return companions


def _draw_setting(seed: int, config: StudioConfig) -> tuple[Body, float, Viewpoint]:
    """Who it is, where they look to (radians), and from where they are seen."""
    body, random = draw_body(_generator(seed, _Stream.BODY)), _generator(seed, _Stream.VIEW)
    facing = float(np.radians(random.uniform(-config.facing, config.facing)))
    return body, facing, draw_viewpoint(body, config, random)


def draw_viewpoint(body: Body, config: StudioConfig, random: np.random.Generator) -> Viewpoint:
    """A camera on the +x side of a person at the origin, who is in its view from head to toe.

    It stands back until raised arms are in view too.
    """
    distance = random.uniform(config.camera_nearest, config.camera_farthest)
    height = random.uniform(config.camera_lowest, config.camera_highest)
    pan, tilt = random.uniform(-0.5, 0.5), random.uniform(-0.15, 0.15)
    corners = np.array(
        [(x, y, z) for x in (-0.35, 0.35) for y in (-0.45, 0.45) for z in (0.0, 1.24 * body.height)]
    )
    while True:
        target = np.array([0.0, pan, 0.58 * body.height + tilt])
        viewpoint = look_at(np.array([distance, 0.0, height]), target)
        if _in_view(viewpoint, config.intrinsics, corners):
            return viewpoint
        distance, pan, tilt = distance * 1.03, pan * 0.9, tilt * 0.9


def _in_view(viewpoint: Viewpoint, camera: Intrinsics, points: Array) -> bool:
    x, y, z = ((points - viewpoint.position) @ viewpoint.rotation).T
    u, v = camera.fx * x / z + camera.cx, camera.fy * y / z + camera.cy
    inside = (z > 0) & (u >= 0) & (u < camera.width) & (v >= 0) & (v < camera.height)
    return bool(inside.all())


def _light(random: np.random.Generator) -> NDArray[np.float32]:
    """(3,) unit vector towards the lamp: above, and on the camera's side."""
    angle, high = random.uniform(-1.2, 1.2), random.uniform(0.5, 1.1)
    return np.array(
        [np.cos(angle) * np.cos(high), np.sin(angle) * np.cos(high), np.sin(high)], np.float32
    )
