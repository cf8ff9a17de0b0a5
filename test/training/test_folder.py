"""A folder of one's own: bags and clips named by a table, as its user would make them."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from rosbags.rosbag1 import Writer as Ros1Writer
from rosbags.typesys import Stores, get_typestore

from fourd_perception.errors import InputError
from fourd_perception.messages import clouds
from fourd_perception.parameters import from_mapping
from fourd_perception.recordings.bag_writer import BagContent, write_bag
from fourd_perception.recordings.recording import Interval, Intrinsics, RecordedFrame, Recording
from fourd_perception.stream.frame import SECOND
from training import datasets
from training.config import DataConfig
from training.datasets.labelled_video import NO_LABEL, NO_POINT_LABEL
from training.datasets.prepared import PreparedVideos, prepare

CAMERA = Intrinsics(width=8, height=6, fx=10.0, fy=12.0, cx=4.0, cy=3.0)
CLOUD = "sensor_msgs/msg/PointCloud2"
HEADER = "file,start,end,label,group,split\n"


def config(root, **values):
    given = {"dataset": "folder", "root": str(root), "prepared": "nowhere"}
    return from_mapping(DataConfig, given | values, "test")


def write_recording(path, frames=20, rate=10.0, streams=("points",)):
    """A bag in whose frame n somebody is 2 m + n cm away."""

    def make():
        for number in range(frames):
            depth = np.zeros((6, 8), np.float32)
            depth[2:4, 3:6] = 2 + number / 100
            yield RecordedFrame(round(number / rate * SECOND), depth, depth > 0)

    end = round(frames / rate * SECOND)
    recording = Recording("a", rate, CAMERA, ("a",), (Interval(0, end, "a"),), frames, make)
    content = BagContent(streams=streams, whole_room=True)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bag(path, recording, start=1_764_000_000 * SECOND, content=content)


def write_ros1_bag(path, frames=12, rate=10.0):
    types = get_typestore(Stores.ROS1_NOETIC)

    def make(kind, **values):
        return types.types[kind](**values)

    with Ros1Writer(path) as bag:
        topic = bag.add_connection("/camera/depth/points", CLOUD, typestore=types)
        for number in range(frames):
            points = np.array([[0.5, 0.25, 2 + number / 100], [np.nan] * 3], np.float32)
            layout = clouds.to_fields(points)
            time = 1_764_000_000 * SECOND + round(number / rate * SECOND)
            stamp = make("builtin_interfaces/msg/Time", sec=time // SECOND, nanosec=time % SECOND)
            header = make("std_msgs/msg/Header", seq=number, stamp=stamp, frame_id="camera")
            values = dataclasses.asdict(layout) | {
                "header": header,
                "fields": [make("sensor_msgs/msg/PointField", **dataclasses.asdict(field))
                           for field in layout.fields],
                "data": np.frombuffer(layout.data, np.uint8),
            }  # fmt: skip
            bag.write(topic, time, types.serialize_ros1(make(CLOUD, **values), CLOUD))


def write_clip(path, frames=6, **arrays):
    points = np.zeros((frames, 4, 3), np.float32)
    points[:, :, 2] = 2 + np.arange(frames)[:, None] / 100
    np.savez(path, **({"points": points, "rate": 10.0} | arrays))


@pytest.fixture
def root(tmp_path):
    folder = tmp_path / "own"
    write_recording(folder / "kitchen" / "monday")
    write_clip(folder / "office.npz")
    return folder


def table(root, text):
    (root / "labels.csv").write_text(HEADER + text)


def prepared(root, folder):
    asked = config(root)
    prepare(datasets.open_data_set(asked), folder, datasets.made_of(asked), workers=1)
    return PreparedVideos(folder)


def depths(videos, video):
    """The number of each frame, as its distance says it."""
    frames = [videos.frame(video, number) for number in range(video.frames)]
    return [round(float(frame.points[:, 2].mean()) * 100 - 200) for frame in frames]


def test_every_line_is_a_video(root, tmp_path):
    table(
        root,
        "kitchen/monday,0.5,0.8,pour,anna,train\n"
        "kitchen/monday,0.7,,wipe,,\n"
        "office.npz,0.2,0.4,pour,ben,test\n"
        "office.npz,,,wave,,\n",
    )
    videos = prepared(root, tmp_path / "prepared")
    assert videos.rate == 10
    assert videos.classes == ("pour", "wave", "wipe")
    assert [(v.group, v.split, videos.classes[v.label]) for v in videos.videos] == [
        ("anna", "train", "pour"),
        ("kitchen/monday", "train", "wipe"),
        ("ben", "test", "pour"),
        ("office.npz", "train", "wave"),
    ]
    assert [depths(videos, video) for video in videos.videos] == [
        [5, 6, 7], list(range(7, 20)), [2, 3], list(range(6)),
    ]  # fmt: skip
    points = videos.frame(videos.videos[0], 0).points
    assert len(points) == 6, "pixels without return are left out"
    # Row 2, column 3 at 2.05 m: x = (3 - 4) / 10 * 2.05, y = (2 - 3) / 12 * 2.05.
    np.testing.assert_allclose(points[0], [-0.205, -2.05 / 12, 2.05], atol=1e-4)


def test_a_ros_1_bag(root, tmp_path):
    write_ros1_bag(root / "old.bag")
    table(root, "old.bag,0.3,0.6,pour,,\n")
    videos = prepared(root, tmp_path / "prepared")
    assert depths(videos, videos.videos[0]) == [3, 4, 5]
    assert videos.frame(videos.videos[0], 0).points.shape == (1, 3), "NaN is left out"


def test_a_table_of_two_columns_as_a_spreadsheet_writes_it(root, tmp_path):
    (root / "labels.csv").write_bytes("\ufefflabel, file\r\nwave,office.npz\r\n".encode())
    (video,) = prepared(root, tmp_path / "prepared").videos
    assert (video.group, video.split, video.frames) == ("office.npz", "train", 6)


def test_a_clip_with_counts_and_labels_of_frames_and_points(root, tmp_path):
    points = np.arange(18, dtype=np.float32).reshape(6, 3)
    points[1] = np.inf
    write_clip(
        root / "a.npz", points=points, counts=[3, 0, 3], frame_labels=[1, -1, 0],
        point_labels=[0, 1, 2, 2, 255, 0],
    )  # fmt: skip
    (root / "classes.txt").write_text("wave\npour\n")
    (root / "point_classes.txt").write_text("floor\nhand\ncup\n")
    table(root, "a.npz,,,,,\noffice.npz,,,pour,,\n")
    videos = prepared(root, tmp_path / "prepared")
    assert (videos.classes, videos.point_classes) == (("wave", "pour"), ("floor", "hand", "cup"))
    both = videos.videos
    assert [video.label for video in both] == [NO_LABEL, 1]
    assert videos.frame_labels(both[0]).tolist() == [1, NO_LABEL, 0]
    frames = [videos.frame(both[0], number) for number in range(3)]
    assert [frame.point_labels.tolist() for frame in frames] == [[0, 2], [], [2, NO_POINT_LABEL, 0]]
    np.testing.assert_allclose(frames[0].points, points[[0, 2]], atol=1e-3)
    np.testing.assert_allclose(frames[2].points, points[3:], atol=1e-3)
    assert set(videos.frame(both[1], 0).point_labels.tolist()) == {NO_POINT_LABEL}


def test_a_changed_table_is_another_data_set_and_an_absent_one_is_believed(root, tmp_path):
    table(root, "office.npz,,,wave,,\n")
    made = prepared(root, tmp_path / "prepared").made_of
    assert datasets.made_of(config(root)) == made
    assert datasets.made_of(config("gone", prepared=str(tmp_path / "prepared"))) == made
    (root / "classes.txt").write_text("nod\nwave\n")
    assert datasets.made_of(config(root)) != made


def test_remarks_say_the_rate_and_who_is_on_both_sides(root):
    table(root, "office.npz,,0.3,wave,anna,\noffice.npz,0.3,,wave,anna,test\n")
    remarks = datasets.open_data_set(config(root)).remarks
    assert [word in line for word, line in zip(("10 Hz", "anna"), remarks)] == [True, True]


@pytest.mark.parametrize(("rate", "becomes"), [(29.9, 30.0), (7.5, 7.5)])
def test_a_bag_has_the_rate_that_its_camera_is_meant_to_have(root, rate, becomes):
    write_recording(root / "fast", rate=rate)
    table(root, "fast,,,wave,,\n")
    assert datasets.open_data_set(config(root)).rate == becomes


@pytest.mark.parametrize(
    ("line", "says"),
    [
        ("nobody.mcap,,,wave,,", "no such file: 'nobody.mcap'"),
        ("office.npz,,,wave,,maybe", "split: expected train or test, got 'maybe'"),
        ("office.npz,3,1,wave,,", "ends at 1 s, not after its start 3 s"),
        ("office.npz,noon,,wave,,", "expected seconds from the file's start, got 'noon'"),
        ("office.npz,-1,,wave,,", "got '-1'"),
        ("kitchen/monday,,,,,", "the label is empty"),
        ("office.npz,,,wave", "as many values as there are columns"),
        ("office.npz,,,wave,to,anna,train", "as many values as there are columns"),
    ],
)
def test_a_line_that_cannot_be_is_named(root, line, says):
    table(root, f"office.npz,,,wave,,\n{line}\n")
    with pytest.raises(InputError, match=rf"labels.csv, line 3: .*{says}"):
        datasets.open_data_set(config(root))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("file;label\n", "line 1: expected the columns file, label"),
        ("file,label,who\na,b,c\n", "line 1: expected the columns"),
        ("label\nwave\n", "line 1: expected the columns"),
        ("", "line 1: expected the columns"),
        ("file,label\n", "no line below its header"),
        ('file,label\n"a', "not a CSV file"),
    ],
)
def test_a_table_that_is_none(root, text, says):
    (root / "labels.csv").write_text(text)
    with pytest.raises(InputError, match=says):
        datasets.open_data_set(config(root))


def test_tables_that_are_missing_or_contradict_each_other(root):
    with pytest.raises(InputError, match="labels.csv: cannot be read"):
        datasets.open_data_set(config(root))
    table(root, "office.npz,,,wave,,\n")
    (root / "classes.txt").write_text("pour\n")
    with pytest.raises(InputError, match="line 2: label 'wave' is not in classes.txt"):
        datasets.open_data_set(config(root))
    (root / "classes.txt").write_text("wave\nwave\n")
    with pytest.raises(InputError, match="names, one a line, each once"):
        datasets.open_data_set(config(root))


def damaged_bag(root):
    path = next((root / "kitchen" / "monday").glob("*.mcap"))
    path.write_bytes(path.read_bytes()[:3000])
    return "kitchen/monday,,,wave,,", "damaged or cut off"


def not_a_bag(root):
    (root / "text.bag").write_text("not a bag")
    return "text.bag,,,wave,,", "not a ROS 1 bag"


def no_cloud(root):
    write_recording(root / "images", streams=("depth",))
    return "images,,,wave,,", "expected one topic of .*PointCloud2, got none"


def too_late(root):
    return "kitchen/monday,50,60,wave,,", "nothing in it from 50 s to 60 s"


def too_late_in_a_clip(root):
    return "office.npz,50,,wave,,", "nothing in it from 50 s to its end"


def another_rate(root):
    write_recording(root / "slow", rate=5.0)
    return "slow,,,wave,,", "slow: 5 frames a second, but the first file has 10"


def another_rate_of_a_clip(root):
    write_clip(root / "a.npz", rate=15)
    return "a.npz,,,wave,,", "15 frames a second"


def a_clip_without_labels(root):
    return "office.npz,,,,,", "no frame_labels in it"


@pytest.mark.parametrize(
    "fault",
    [
        damaged_bag, not_a_bag, no_cloud, too_late, too_late_in_a_clip, another_rate,
        another_rate_of_a_clip, a_clip_without_labels,
    ],
)  # fmt: skip
def test_a_file_that_does_not_fit_is_named_with_its_line(root, tmp_path, fault):
    line, says = fault(root)
    table(root, f"office.npz,,,wave,,\n{line}\n")
    with pytest.raises(InputError, match=rf"labels.csv, line 3: .*{says}"):
        prepared(root, tmp_path / "prepared")


@pytest.mark.parametrize(
    ("arrays", "says"),
    [
        ({"points": np.zeros((4, 2))}, r"points: expected \(P, 3\) or \(T, N, 3\), got \(4, 2\)"),
        ({"points": np.zeros((4, 3))}, r"need counts \(T,\)"),
        ({"points": np.zeros((4, 3)), "counts": [1, 2]}, "counts: 3 points"),
        ({"points": np.zeros((4, 3)), "counts": [5, -1]}, r"need counts \(T,\)"),
        ({"counts": [4] * 6}, "counts: expected none"),
        ({"points": np.array([["a"] * 3])}, "points: expected numbers, got <U1"),
        ({"points": np.array([None, 1])}, "not an .npz of numbers"),
        ({"rate": 0}, "rate: expected frames a second"),
        ({"frame_labels": [0]}, r"frame_labels: expected \(6,\), got \(1,\)"),
        ({"frame_labels": [0.5] * 6}, "frame_labels: expected whole numbers"),
        ({"frame_labels": [0] * 6}, "frame_labels: 0 is not a line of classes.txt, which has 0"),
        ({"point_labels": [[0] * 4] * 5}, r"point_labels: expected \(6, 4\), got \(5, 4\)"),
        ({"point_labels": [[3] * 4] * 6}, "point_labels: 3 is not a line of point_classes.txt"),
    ],
)
def test_a_clip_of_other_arrays_is_refused(root, tmp_path, arrays, says):
    write_clip(root / "a.npz", **arrays)
    table(root, "office.npz,,,wave,,\na.npz,,,wave,,\n")
    with pytest.raises(InputError, match=rf"line 3: .*a.npz: .*{says}"):
        prepared(root, tmp_path / "prepared")


def test_a_clip_cut_short_and_no_rate_at_all(root, tmp_path):
    path = root / "office.npz"
    path.write_bytes(path.read_bytes()[:100])
    table(root, "office.npz,,,wave,,\n")
    with pytest.raises(InputError, match="line 2: .*office.npz: not an .npz"):
        datasets.open_data_set(config(root))
    np.savez(path, points=np.zeros((3, 4, 3)))
    with pytest.raises(InputError, match="tells no rate"):
        datasets.open_data_set(config(root))
