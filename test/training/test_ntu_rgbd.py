"""NTU RGB+D: a tree as the owners' archives make it, with a few frames of a person in it."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fourd_perception.errors import InputError
from fourd_perception.parameters import from_mapping, load_yaml
from training import datasets
from training.config import DataConfig, FinetuneConfig
from training.datasets import images, ntu_protocols, ntu_rgbd
from training.datasets.ntu_protocols import ACTIONS, PROTOCOLS, parse
from training.datasets.prepared import PrepareConfig, PreparedVideos, prepare
from training.finetune import build_model

TRAIN, TEST, LATER = "S001C001P001R001A001", "S017C002P003R002A060", "S018C003P045R001A120"
HEIGHT, WIDTH = 424, 512
LISTS = Path(os.environ.get("FOURD_DATA_LISTS", "data/lists"))


def config(root, **values):
    given = {"dataset": "ntu_rgbd", "root": str(root), "prepared": "nowhere"}
    return from_mapping(DataConfig, given | values, "test")


def depth_map(number: int) -> np.ndarray:
    """Somebody 2 m away who goes to the right; nobody in frame 3."""
    depth = np.zeros((HEIGHT, WIDTH), np.uint16)
    if number != 3:
        depth[212:222, 256 + number : 260 + number] = 2000 + number
    return depth


def write_sample(folder: Path, name: str, numbers=range(1, 7)) -> Path:
    sample = folder / name
    sample.mkdir(parents=True)
    for number in numbers:
        Image.fromarray(depth_map(number)).save(sample / f"MDepth-{number:08d}.png")
    return sample


def write_video(path: Path, levels) -> Path:
    """A video of even grey frames."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as video:
        stream = video.add_stream("mpeg4", rate=30)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
        for level in levels:
            frame = av.VideoFrame.from_ndarray(np.full((48, 64, 3), level, np.uint8), "rgb24")
            video.mux(stream.encode(frame))
        video.mux(stream.encode())
    return path


@pytest.fixture
def root(tmp_path):
    for name in (TRAIN, TEST, LATER):
        write_sample(tmp_path / "ntu" / "nturgb+d_depth_masked", name)
    return tmp_path / "ntu"


def prepared(root, folder, **values):
    asked = config(root, **values)
    kept = PrepareConfig(asked.points_at_most, asked.image_size)
    prepare(datasets.open_data_set(asked), folder, datasets.made_of(asked), kept, workers=1)
    return PreparedVideos(folder)


def test_a_sample_is_read_back_in_metres(root, tmp_path):
    videos = prepared(root, tmp_path / "prepared")
    assert videos.rate == 30
    assert videos.classes == ACTIONS[:60]
    assert [(v.name, v.group, v.split, videos.classes[v.label], v.frames) for v in videos.videos] \
        == [(f"{TRAIN}/0", "P001", "train", "drink water", 6),
            (f"{TEST}/0", "P003", "test", "walking apart from each other", 6)]  # fmt: skip
    first = videos.videos[0]
    points = videos.frame(first, 0).points
    assert points.shape == (40, 3)
    # Frame 1, row 212, column 257 at 2.001 m: x = (257 - 256) / 365 * 2.001, y = 0.
    np.testing.assert_allclose(points[0], [2.001 / 365, 0, 2.001], atol=1e-5)
    np.testing.assert_allclose(points[-1], [4 * 2.001 / 365, 9 * 2.001 / 365, 2.001], atol=1e-5)
    assert videos.frame(first, 2).points.shape == (0, 3), "an empty frame is a frame"


def test_the_points_are_those_of_the_camera():
    depth = np.random.default_rng(0).integers(0, 3, (HEIGHT, WIDTH)).astype(np.uint16) * 1234
    metres = depth.astype(np.float32) / 1000
    expected = ntu_rgbd.INTRINSICS.back_project(metres)[depth > 0]
    np.testing.assert_allclose(ntu_rgbd.points_of(depth), expected, rtol=1e-6)


def test_one_prepared_folder_serves_both_protocols_of_a_release(root, tmp_path):
    videos = prepared(root, tmp_path / "prepared", protocol="ntu120_cross_setup")
    assert len(videos.classes) == 120
    other = config("gone", protocol="ntu120_cross_subject")
    assert videos.made_of == datasets.made_of(other), "and the release need not be there"
    parts = {video.name[:20]: datasets.split(other, video) for video in videos.videos}
    assert parts == {TRAIN: "train", TEST: "test", LATER: "train"}
    assert videos.made_of != datasets.made_of(config("gone"))
    assert {video.name[:20]: video.split for video in videos.videos} == {
        TRAIN: "test", TEST: "test", LATER: "train"
    }  # fmt: skip


def test_samples_may_lie_deeper_or_in_the_root(tmp_path):
    archive = tmp_path / "nturgbd_depth_masked_s001" / "nturgb+d_depth_masked"
    write_sample(archive, TRAIN)
    write_sample(tmp_path, TEST)
    sources = datasets.open_data_set(config(tmp_path)).sources
    assert [source.name for source in sources] == [TRAIN, TEST]
    pickle.dumps(sources)  # they go to worker processes


def test_colour_goes_with_depth_by_proportion(root, tmp_path):
    long = write_sample(root / "nturgb+d_depth_masked", "S002C002P002R001A008", range(20))
    videos = {TRAIN: range(0, 240, 40), TEST: [9] * 6, long.name: range(0, 252, 12)}
    for name, levels in videos.items():
        write_video(root / "nturgb+d_rgb" / f"{name}_rgb.avi", levels)
    videos = prepared(root, tmp_path / "prepared", image_size=[12, 16])
    by_name = {video.name[:20]: video for video in videos.videos}

    def levels_of(name):
        frames = [videos.frame(by_name[name], i) for i in range(by_name[name].frames)]
        assert all(frame.image.shape == (12, 16, 3) for frame in frames)
        return [float(frame.image.mean()) for frame in frames]

    assert levels_of(TRAIN) == pytest.approx(list(range(0, 240, 40)), abs=4)
    # 20 depth maps, 21 colour frames: number 10, in the middle, is left out.
    expected = [12.0 * number for number in range(21) if number != 10]
    assert levels_of(long.name) == pytest.approx(expected, abs=4)


def test_colour_stays_beside_depth_whose_first_files_are_missing(tmp_path):
    root = tmp_path / "ntu"
    write_sample(root / "nturgb+d_depth_masked", TRAIN, range(3, 25))
    write_video(root / "nturgb+d_rgb" / f"{TRAIN}_rgb.avi", range(10, 250, 10))
    videos = prepared(root, tmp_path / "prepared", image_size=[12, 16])
    (video,) = videos.videos
    levels = [float(videos.frame(video, i).image.mean()) for i in range(video.frames)]
    # Number n was taken with the level 10 n.
    assert levels == pytest.approx([10.0 * number for number in range(3, 25)], abs=4)


def test_images_without_their_videos_are_refused_before_anything_is_read(root):
    write_video(root / "nturgb+d_rgb" / f"{TRAIN}_rgb.avi", [1] * 6)
    with pytest.raises(InputError, match=f"{TEST}_rgb.avi.*leave out data.image_size"):
        datasets.open_data_set(config(root, image_size=[12, 16]))


def test_a_hole_in_the_numbers_is_an_empty_frame_and_many_are_damage(tmp_path):
    sample = write_sample(tmp_path, TRAIN, [n for n in range(20) if n != 7])
    (video,) = ntu_rgbd.read(str(sample), 0)
    assert [len(frame.points) for frame in video.frames] == [
        0 if number in (3, 7) else 40 for number in range(20)
    ]
    for number in (8, 9, 10):
        (sample / f"MDepth-{number:08d}.png").unlink()
    (video,) = ntu_rgbd.read(str(sample), 0)
    with pytest.raises(InputError, match=f"{TRAIN}.*20 frames, it has 16"):
        list(video.frames)


def empty_folder(sample):
    for path in sample.iterdir():
        path.unlink()


def full_depth(sample):
    (sample / "MDepth-00000001.png").rename(sample / "Depth-00000001.png")


def cut_short(sample):
    path = sample / "MDepth-00000002.png"
    path.write_bytes(path.read_bytes()[:200])


def eight_bits(sample):
    Image.new("L", (WIDTH, HEIGHT)).save(sample / "MDepth-00000001.png")


def small(sample):
    Image.fromarray(np.zeros((240, 320), np.uint16)).save(sample / "MDepth-00000001.png")


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (empty_folder, "no MDepth-.*unpack"),
        (full_depth, "Depth-00000001.png: expected masked depth"),
        (cut_short, "MDepth-00000002.png: damaged"),
        (eight_bits, "expected 16-bit grey, got L"),
        (small, "expected 512 x 424 pixels, got 320 x 240"),
    ],
)
def test_a_damaged_sample_is_named(root, tmp_path, damage, says):
    damage(root / "nturgb+d_depth_masked" / TRAIN)
    with pytest.raises(InputError, match=says) as error:
        prepared(root, tmp_path / "prepared")
    assert TRAIN in str(error.value)
    assert not (tmp_path / "prepared").exists()


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("S001C001P001R001A01", "not a sample"),
        ("S001C001P001R001A121", "action: expected 1 to 120, got 121"),
        ("S001C004P001R001A001", "camera: expected 1 to 3, got 4"),
        ("S001C001P001R001A061", "no such sample"),
        ("S018C001P001R001A060", "no such sample"),
    ],
)
def test_a_name_that_cannot_be_is_refused_with_its_place(root, name, says):
    (root / "nturgb+d_depth_masked" / name).mkdir()
    with pytest.raises(InputError, match=rf"nturgb\+d_depth_masked: {name}: {says}"):
        datasets.open_data_set(config(root))


def test_what_is_not_there_or_there_twice(root, tmp_path):
    with pytest.raises(InputError, match="no such folder"):
        datasets.open_data_set(config(tmp_path / "nowhere"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match="no sample of NTU RGB.D 60"):
        datasets.open_data_set(config(tmp_path / "empty"))
    write_sample(root / "nturgb+d_depth_masked" / "again", TRAIN)
    with pytest.raises(InputError, match=f"{TRAIN} is also"):
        datasets.open_data_set(config(root))
    with pytest.raises(InputError, match="data.protocol: expected one of ntu60_cross_subject"):
        datasets.made_of(config(root, protocol="cross_subject"))


def test_a_colour_video_of_another_length_or_a_damaged_one(root, tmp_path):
    sample = str(root / "nturgb+d_depth_masked" / TRAIN)
    path = write_video(tmp_path / "a.avi", range(3))
    with pytest.raises(InputError, match="a.avi: expected about 6 frames.*got 3"):
        list(ntu_rgbd.read(sample, 0, str(path))[0].frames)
    path.write_bytes(b"RIFF not a video")
    with pytest.raises(InputError, match="a.avi: damaged"):
        list(ntu_rgbd.read(sample, 0, str(path))[0].frames)
    with pytest.raises(InputError, match="b.avi: no such file"):
        images.count_frames(tmp_path / "b.avi")


def test_frames_of_a_video_at_indices(tmp_path):
    path = write_video(tmp_path / "a.avi", range(0, 200, 10))
    assert images.count_frames(path) == 20
    levels = [frame.mean() for frame in images.frames_at(path, [0, 3, 3, 4, 19, 21])]
    assert levels == pytest.approx([0, 30, 30, 40, 190, 190], abs=4)
    with pytest.raises(InputError, match="expected at least 31 frames, got 20"):
        list(images.frames_at(path, [30]))
    with pytest.raises(ValueError, match="decrease"):
        list(images.frames_at(path, [2, 1]))


def test_the_protocols_of_single_samples():
    def parts(name):
        return [protocol.part(parse(name)) for protocol in PROTOCOLS.values()]

    assert [str(parse(name)) for name in (TRAIN, LATER)] == [TRAIN, LATER]
    assert parts("S001C001P001R001A001") == ["train", "test", "train", "test"]
    assert parts("S002C003P040R001A060") == ["test", "train", "test", "train"]
    assert parts("S018C002P103R002A061") == ["", "", "train", "train"]
    assert parts("S031C002P106R002A120") == ["", "", "test", "test"]
    assert len(set(ACTIONS)) == 120
    assert (ACTIONS[59], ACTIONS[98], ACTIONS[119][:16]) == (
        "walking apart from each other", "running on the spot", "finger-guessing "
    )  # fmt: skip


@pytest.mark.parametrize("name", PROTOCOLS)
def test_the_protocols_have_as_many_samples_as_the_owners_say(name):
    """With the lists of hehefan/Point-Spatio-Temporal-Convolution, which are not ours to keep."""
    protocol = ntu_protocols.protocol(name)
    path = LISTS / f"ntu{protocol.release}.list"
    if not path.is_file():
        pytest.skip("the lists are not here; name their folder in FOURD_DATA_LISTS")
    counts = {"train": 0, "test": 0}
    for line in path.read_text().splitlines():
        counts[protocol.part(parse(line.split()[0]))] += 1
    assert counts == protocol.expected


@pytest.mark.parametrize("name", ["ntu60_cross_subject", "ntu120_cross_setup"])
def test_the_published_configurations_are_valid(name):
    run = load_yaml(FinetuneConfig, f"config/training/{name}.yaml")
    assert run.data.protocol == run.name == name
    build_model(run, PROTOCOLS[name].release)
