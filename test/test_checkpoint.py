from __future__ import annotations

import json
import pickle
import sys

import pytest
import small_model
import torch
from safetensors.torch import load_file, save_file

from fourd_perception import checkpoint, models
from fourd_perception.errors import InputError
from fourd_perception.parameters import to_mapping


def test_gives_back_the_card_and_the_model(tmp_path):
    torch.manual_seed(0)
    model = models.build("im_pstnet", small_model.SIZES, 3).eval()
    path = tmp_path / "new" / "a.safetensors"
    checkpoint.save(path, model, small_model.card(), half=False)
    loaded = checkpoint.load(path)
    points = torch.rand(1, 4, 32, 3)
    with torch.no_grad():
        assert torch.equal(loaded.model(points), model(points))
    assert loaded.card == small_model.card() == checkpoint.read_card(path)
    assert not loaded.model.training
    assert [file.name for file in path.parent.iterdir()] == ["a.safetensors"]


def test_half_precision_is_for_matrices(tmp_path):
    state = load_file(small_model.save(tmp_path / "a.safetensors"))
    assert state["head.weight"].dtype == torch.float16
    assert state["layers.0.norm.running_var"].dtype == torch.float32
    model = checkpoint.load(tmp_path / "a.safetensors").model
    assert all(parameter.dtype == torch.float32 for parameter in model.parameters())


def _rewrite(path, change_state=None, change_card=None):
    state = load_file(path)
    card = json.loads(json.dumps(to_mapping(checkpoint.read_card(path))))
    if change_state:
        change_state(state)
    if change_card:
        change_card(card)
    save_file(state, path, {"fourd_perception": json.dumps(card)})


def _truncate(path):
    path.write_bytes(path.read_bytes()[:-100])


class _Trap:
    def __reduce__(self):
        return (exec, ("raise SystemExit('a pickle was loaded')",))


def _claiming(size: int) -> bytes:
    """A file whose header claims a tensor of so many bytes, and that has none of them."""
    tensor = {"dtype": "F32", "shape": [size // 4], "data_offsets": [0, size]}
    header = json.dumps({"a": tensor}).encode()
    return len(header).to_bytes(8, "little") + header


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        (lambda path: path.unlink(), "no such file"),
        (_truncate, "damaged"),
        (lambda path: path.write_bytes(b""), "damaged"),
        (lambda path: path.write_bytes(pickle.dumps(_Trap())), "not a safetensors file"),
        (
            lambda path: save_file({"a": torch.zeros(1)}, path),
            "without 'fourd_perception' metadata",
        ),
        (lambda path: save_file({}, path, {"fourd_perception": "{"}), "not JSON"),
        (lambda path: save_file({}, path, {"fourd_perception": "1" * 5000}), "not JSON"),
        (lambda path: save_file({}, path, {"fourd_perception": "[" * 99999}), "not JSON"),
        (lambda path: path.write_bytes(b"\xff" * 7 + b"\x7f{}"), "damaged"),  # a header of 2^63
        (lambda path: path.write_bytes(_claiming(1 << 40)), "damaged"),
        (lambda path: _rewrite(path, lambda state: state.pop("head.bias")), "'head.bias' is miss"),
        (
            lambda path: _rewrite(path, lambda state: state.update(more=torch.zeros(1))),
            "'more' is unknown",
        ),
        (
            lambda path: _rewrite(path, None, lambda card: card["classes"].append("x")),
            r"\(3, 16\).*wants \(4, 16\)",
        ),
        (
            lambda path: _rewrite(path, None, lambda card: card.update(classes=["a", "a"])),
            "different names",
        ),
        (lambda path: _rewrite(path, None, lambda card: card.update(format=99)), "format 99"),
        (
            lambda path: _rewrite(path, None, lambda card: card.update(architecture="p5")),
            "unknown architecture 'p5'",
        ),
        (
            lambda path: _rewrite(path, None, lambda card: card["clip"].update(frames=10**9)),
            "clip: frames: expected 1 to 512",
        ),
        (lambda path: _rewrite(path, None, lambda card: card.pop("clip")), "'clip' is missing"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_in_one_line(tmp_path, damage, says):
    path = small_model.save(tmp_path / "a.safetensors")
    damage(path)
    with pytest.raises(InputError, match=says) as caught:
        checkpoint.load(path)
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def _enlarge(card):
    card["model"]["layers"][1].update(mid_channels=60000, out_channels=60000)


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_enlarge, "weights and card disagree"),  # and not: out of memory
        (lambda card: card["preprocess"].update(points=1), "4 frames x 1 points is too small"),
        (lambda card: card["model"]["layers"][0].update(out_channels=10**9), "1 to 65536"),
        (lambda card: card["clip"].update(frame_step=10**400), "frame_step: expected 1 to 1000"),
        (lambda card: card.update(classes=["idle", "wave\x1b[2J", "kick"]), "printable characters"),
        (lambda card: card.update(name="n" * 201), "1 to 200 printable characters, got 'nnn"),
    ],
)
def test_a_cards_sizes_are_checked_before_they_are_believed(tmp_path, change, says):
    path = small_model.save(tmp_path / "a.safetensors")
    _rewrite(path, None, change)
    with pytest.raises(InputError, match=says):
        checkpoint.load(path)


def test_weights_that_are_not_finite_are_refused_on_both_ways(tmp_path):
    path = small_model.save(tmp_path / "a.safetensors")
    _rewrite(path, lambda state: state["head.weight"].fill_(float("nan")))
    with pytest.raises(InputError, match="'head.weight' has weights that are not finite"):
        checkpoint.load(path)
    model = models.build("im_pstnet", small_model.SIZES, 3)
    model.head.weight.data[0, 0] = 1e5
    with pytest.raises(InputError, match="float16"):
        checkpoint.save(tmp_path / "b.safetensors", model, small_model.card())
    assert not (tmp_path / "b.safetensors").exists()
    checkpoint.save(tmp_path / "b.safetensors", model, small_model.card(), half=False)


def test_negative_variances_are_refused(tmp_path):
    path = small_model.save(tmp_path / "a.safetensors")
    _rewrite(path, lambda state: state["layers.0.norm.running_var"].fill_(-1.0))
    with pytest.raises(InputError, match=r"running_var' has negative variances"):
        checkpoint.load(path)


def test_a_folder_that_cannot_be_made_is_said_in_a_line(tmp_path):
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(InputError, match=r"file/a.safetensors: cannot be written \(.*exists"):
        small_model.save(tmp_path / "file" / "a.safetensors")


@pytest.mark.skipif(sys.platform != "linux", reason="needs /dev/full")
def test_a_full_disk_leaves_the_checkpoint_that_was_there(tmp_path):
    path = small_model.save(tmp_path / "a.safetensors")
    before = path.read_bytes()
    for write in (small_model.save, lambda path: checkpoint.replace_card(path, small_model.card())):
        (tmp_path / "a.safetensors.part").symlink_to("/dev/full")
        with pytest.raises(InputError, match="No space left.*is untouched") as caught:
            write(path)
        assert "\n" not in str(caught.value)
        assert [file.name for file in tmp_path.iterdir()] == ["a.safetensors"]
    assert path.read_bytes() == before


def test_another_card_leaves_the_weights_as_they_are(tmp_path):
    path = small_model.save(tmp_path / "a.safetensors")
    before = load_file(path)
    checkpoint.replace_card(path, small_model.card(accuracy={"test": 90.0}))
    assert checkpoint.read_card(path).accuracy == {"test": 90.0}
    after = load_file(path)
    assert all(
        torch.equal(before[name], after[name]) and before[name].dtype == after[name].dtype
        for name in before
    )


@pytest.mark.parametrize(
    ("colours", "says"),
    [(("#ff0000",), "1 of 3 classes"), (("#ff0000", "red", "#00ff00"), "got 'red'")],
)
def test_colours_are_of_all_classes_and_are_colours(colours, says):
    with pytest.raises(ValueError, match=says):
        small_model.card(colours=colours)


def test_colours_come_back(tmp_path):
    path = small_model.save(tmp_path / "a.safetensors")
    card = small_model.card(colours=("#ff0000", "#00ff00", "#0000ff"))
    checkpoint.replace_card(path, card)
    assert checkpoint.read_card(path) == card
