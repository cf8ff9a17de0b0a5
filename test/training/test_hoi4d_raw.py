"""HOI4D's raw release, in its own folders and formats, tiny, prepared and read back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from fourd_perception.errors import InputError
from fourd_perception.parameters import from_mapping
from training import datasets
from training.config import DataConfig
from training.datasets import hoi4d_raw
from training.datasets.hoi4d_raw import CLASSES, frame_labels
from training.datasets.labelled_video import NO_LABEL
from training.datasets.prepared import PrepareConfig, PreparedVideos, prepare

av = pytest.importorskip("av")

NAME = "ZY20210800001/H1/C5/N03/S7/s01/T1"
OTHER = "ZY20210800001/H1/C4/N01/S19/s05/T1"
WIDTH, HEIGHT = 32, 24
MATRIX = np.array([[40.0, 0, 16], [0, 50, 12], [0, 0, 1]])


def config(root: Path, **values: Any) -> DataConfig:
    given = {"dataset": "hoi4d_raw", "root": str(root), "prepared": str(root.parent / "prepared"),
             "points_at_most": 1000}  # fmt: skip
    return from_mapping(DataConfig, given | values, "test")


def depth_of(frame: int) -> np.ndarray:
    """(24, 32) uint16 millimetres: a plane that moves away, no return on its left half."""
    depth = np.full((HEIGHT, WIDTH), 1000 + 7 * frame, np.uint16)
    depth[:, : WIDTH // 2] = 0
    return depth


def write_video(
    path: Path, frames: list[np.ndarray], codec: str, form: str, rate: int = 15
) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as file:
        stream = file.add_stream(codec, rate=rate)
        stream.width, stream.height = frames[0].shape[1], frames[0].shape[0]
        stream.pix_fmt = form
        for array in frames:
            given = {2: "gray16le" if array.dtype == np.uint16 else "gray", 3: "rgb24"}
            file.mux(stream.encode(av.VideoFrame.from_ndarray(array, format=given[array.ndim])))
        file.mux(stream.encode())


def write_depth(folder: Path, frames: int = 300) -> None:
    write_video(folder / "align_depth" / "depth_video.avi",
                [depth_of(frame) for frame in range(frames)], "ffv1", "gray16le")  # fmt: skip


def write_colour(folder: Path) -> None:
    """Red half of the time, then blue."""
    frames = [np.zeros((HEIGHT, WIDTH, 3), np.uint8) for _ in range(300)]
    for number, frame in enumerate(frames):
        frame[..., 0 if number < 150 else 2] = 255
    write_video(folder / "align_rgb" / "image.mp4", frames, "mpeg4", "yuv420p")


def write_events(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(document))
    return path


@pytest.fixture
def root(tmp_path: Path) -> Path:
    folder = tmp_path / "HOI4D"
    write_depth(folder / NAME)
    write_events(
        folder / NAME / "action" / "color.json",
        {"info": {"duration": 20.0}, "filePath": "", "events": [
            {"id": 1, "event": "Reachout", "startTime": 0.0, "endTime": 2.0},
            {"id": 2, "event": "Carrywithbothhands", "startTime": 2.0, "endTime": 19.0},
        ]},
    )  # fmt: skip
    (folder / "camera_params" / "ZY20210800001").mkdir(parents=True)
    np.save(folder / "camera_params" / "ZY20210800001" / "intrin.npy", MATRIX)
    (folder / "release.txt").write_text(f"{NAME}\n")
    return folder


def prepared(data: DataConfig) -> PreparedVideos:
    kept = PrepareConfig(data.points_at_most, data.image_size)
    prepare(datasets.open_data_set(data), data.prepared, datasets.made_of(data), kept, workers=1)
    return PreparedVideos(data.prepared)


def test_depth_becomes_points_in_metres(root: Path) -> None:
    videos = prepared(config(root))
    (video,) = videos.videos
    assert (video.name, video.group, video.split) == (f"train/{NAME}/0", "C5/N03", "train")
    assert (videos.rate, video.frames, video.label) == (15.0, 300, NO_LABEL)
    assert len(videos.classes) == 26
    for number in (0, 299):
        points = videos.frame(video, number).points
        z = (1000 + 7 * number) / 1000
        rows, columns = np.nonzero(depth_of(number))
        expected = np.stack(
            ((columns - 16) / 40 * z, (rows - 12) / 50 * z, np.full(len(rows), z)), axis=1
        )
        assert points.shape == (HEIGHT * WIDTH // 2, 3)
        np.testing.assert_allclose(points, expected, atol=2e-4)
    labels = videos.frame_labels(video)
    reach, both = CLASSES.index("reach_out"), CLASSES.index("carry_with_both_hands")
    np.testing.assert_array_equal(labels, [reach] * 30 + [both] * 255 + [NO_LABEL] * 15)


def test_no_more_points_are_kept_than_asked_for_and_all_are_real(root: Path) -> None:
    videos = prepared(config(root, points_at_most=20))
    points = videos.frame(videos.videos[0], 3).points
    assert len(np.unique(points.round(3), axis=0)) == 20
    np.testing.assert_allclose(points[:, 2], 1.021, atol=2e-4)


def test_decoded_frames_are_taken_where_they_are(root: Path) -> None:
    folder = root / NAME / "align_depth"
    for number in range(300):
        Image.fromarray(depth_of(number + 100)).save(folder / f"{number:05d}.png")
    videos = prepared(config(root))
    np.testing.assert_allclose(videos.frame(videos.videos[0], 0).points[:, 2], 1.7, atol=2e-4)


def test_images_are_of_the_same_moment(root: Path) -> None:
    write_colour(root / NAME)
    videos = prepared(config(root, image_size=[12, 16]))
    red, blue = (videos.frame(videos.videos[0], number).image for number in (149, 150))
    assert red is not None
    assert blue is not None
    assert red.shape == (12, 16, 3)
    assert red.mean(axis=(0, 1)).argmax() == 0
    assert blue.mean(axis=(0, 1)).argmax() == 2
    assert red.mean(axis=(0, 1))[0] > 200


def test_the_owners_archives_may_lie_side_by_side(root: Path) -> None:
    for kind, tree in (("align_depth", "HOI4D_depth_video"), ("action", "HOI4D_annotations")):
        (root / tree / NAME).mkdir(parents=True)
        (root / NAME / kind).rename(root / tree / NAME / kind)
    videos = prepared(config(root))
    assert videos.frame_labels(videos.videos[0])[0] == CLASSES.index("reach_out")


def test_what_is_listed_and_absent_is_told(root: Path) -> None:
    (root / "release.txt").write_text(f"{NAME}\n{OTHER}\n")
    (root / "testset.txt").write_text(f"{NAME}\n")
    found = datasets.open_data_set(config(root))
    assert [(one.name, one.split) for one in found.sources] == [
        (f"train_and_test/{NAME}", "train"), (f"test/{NAME}", "test"),
    ]  # fmt: skip
    assert any("1 of 3 listed sequences" in line and OTHER in line for line in found.remarks)


def test_without_lists_all_that_is_there_is_trained_on(root: Path) -> None:
    (root / "release.txt").unlink()
    found = datasets.open_data_set(config(root))
    assert [(one.name, one.split) for one in found.sources] == [(f"train/{NAME}", "train")]
    assert any("no release.txt" in line for line in found.remarks)


def test_a_depth_video_of_8_bits_is_refused(root: Path) -> None:
    frames = [np.full((HEIGHT, WIDTH), 5, np.uint8)] * 300
    write_video(root / NAME / "align_depth" / "depth_video.avi", frames, "ffv1", "gray")
    with pytest.raises(InputError, match="expected 16-bit grey .*got gray, which is no depth"):
        prepared(config(root))


def test_a_depth_video_of_another_rate_is_refused(root: Path) -> None:
    frames = [depth_of(0)] * 300
    write_video(root / NAME / "align_depth" / "depth_video.avi", frames, "ffv1", "gray16le", 30)
    with pytest.raises(InputError, match=r"expected 15 Hz, got 30; decode the videos"):
        prepared(config(root))


def test_a_short_or_cut_off_video_is_refused(root: Path) -> None:
    path = root / NAME / "align_depth" / "depth_video.avi"
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(InputError, match="expected 300 frames|damaged"):
        prepared(config(root))
    write_depth(root / NAME, frames=200)
    with pytest.raises(InputError, match="expected 300 frames, got 200"):
        prepared(config(root))
    path.write_bytes(b"RIFF")
    with pytest.raises(InputError, match=r"depth_video.avi: damaged"):
        prepared(config(root))
    path.unlink()
    with pytest.raises(InputError, match=r"depth_video.avi: no such file"):
        prepared(config(root))


def test_a_decoded_frame_that_lacks_is_named(root: Path) -> None:
    folder = root / NAME / "align_depth"
    for number in (0, 1, 3):
        Image.fromarray(depth_of(number)).save(folder / f"{number:05d}.png")
    with pytest.raises(InputError, match=r"00002.png: not there, though later frames are"):
        prepared(config(root))


@pytest.mark.parametrize("broken", ["missing", "shape", "text", "focal", "size"])
def test_bad_intrinsics_are_refused(root: Path, broken: str) -> None:
    path = root / "camera_params" / "ZY20210800001" / "intrin.npy"
    if broken == "missing":
        path.unlink()
    elif broken == "text":
        path.write_text("1060 0 971")
    else:
        scale = {"shape": 1.0, "focal": -1.0, "size": 100.0}[broken]
        np.save(path, MATRIX[:2] if broken == "shape" else MATRIX * [[scale], [scale], [1]])
    with pytest.raises(InputError, match="intrin.npy"):
        prepared(config(root))


def test_what_does_not_fit_in_memory_is_refused(root: Path) -> None:
    with pytest.raises(InputError, match="data.points_at_most"):
        datasets.open_data_set(config(root, points_at_most=0))


def test_an_absent_release_is_said_to_be_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected sequences such as ZY"):
        datasets.open_data_set(config(tmp_path / "nowhere"))


def mark(event: str, start: float, end: float) -> dict[str, Any]:
    return {"id": 1, "event": event, "hdTimeStart": start, "hdTimeEnd": end}


def test_the_second_form_of_annotation_and_the_10_second_clock(tmp_path: Path) -> None:
    marks = [mark("turn&on&the&switch", 4.0, 10.0), mark("Pick up", 1.0, 4.0)]
    document = {"workload": {}, "info": {"Duration": 10.0}, "markResult": {"marks": marks}}
    labels = frame_labels(write_events(tmp_path / "color.json", document))
    assert 29 not in labels
    assert {labels[frame] for frame in range(30, 120)} == {CLASSES.index("pick_up")}
    assert {labels[frame] for frame in range(120, 300)} == {CLASSES.index("turn_on")}
    del document["info"]  # its clock shows in where the last event ends
    assert frame_labels(write_events(tmp_path / "color.json", document)) == labels


@pytest.mark.parametrize("text", ["", " \n", '{"events": []}'])
def test_an_empty_annotation_labels_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "color.json").write_text(text)
    assert frame_labels(tmp_path / "color.json") == {}
    assert frame_labels(tmp_path / "absent.json") == {}


@pytest.mark.parametrize(
    "document, message",
    [
        ({"info": {"duration": 20}, "markResult": {"marks": [mark("fly", 0, 20)]}},
         "unknown event 'fly'; known: open, carry"),
        ({"info": {"duration": 7}, "markResult": {"marks": [mark("rest", 0, 7)]}},
         "duration of about 10 or 20 s, got 7"),
        ({"info": {}, "markResult": {"marks": [mark("rest", 0, 15)]}}, "got none and a last"),
        ({"info": {"duration": 20}}, "expected events"),
        ({"events": [{"event": "rest", "startTime": "soon", "endTime": 1}]}, "expected events"),
        ([1, 2], "expected events"),
    ],
)  # fmt: skip
def test_a_bad_annotation_is_refused(tmp_path: Path, document: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        frame_labels(write_events(tmp_path / "color.json", document))


def test_an_annotation_that_is_no_json_is_refused(tmp_path: Path) -> None:
    (tmp_path / "color.json").write_text('{"events": [')
    with pytest.raises(InputError, match=r"color.json: not JSON"):
        frame_labels(tmp_path / "color.json")


def test_every_event_has_its_spellings() -> None:
    spoken = ["open", "carry", "close", "smash", "push", "pull", "dump", "pick up", "pickup",
              "put down", "putdown", "turn on", "turnon", "cut", "paper-cut", "carry both hands",
              "carrybothhands", "binding", "dig", "decap", "stop", "press", "grasp", "rest",
              "look around", "read", "go", "sit", "squat", "reach out", "reachout"]  # fmt: skip
    found = {hoi4d_raw._event("x", name) for name in spoken}
    assert found == set(range(26))
