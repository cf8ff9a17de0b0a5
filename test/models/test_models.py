"""What every model keeps to, whatever it computes."""

from __future__ import annotations

import copy

import model_cases
import pytest
import torch
from model_cases import CASES, CLASSES, Case

from fourd_perception import models
from fourd_perception.errors import InputError
from fourd_perception.models import batch_norm, p4d_conv, pst_conv
from fourd_perception.ops import (
    displacement_max,
    interpolate,
    neighbour_max,
    neighbour_moments,
)
from fourd_perception.parameters import load_yaml, to_mapping

each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def test_every_architecture_is_among_the_cases():
    assert {case.architecture for case in CASES} == models.ARCHITECTURES.keys()


@each
def test_gives_logits_for_what_its_task_labels(case: Case):
    out = case.build()(case.clip())
    assert out.shape == (2, *case.output, CLASSES)
    assert out.dtype == torch.float32 and out.isfinite().all()


@each
def test_features_are_of_the_video_its_frames_and_its_points(case: Case):
    features = case.build().encode(case.clip())
    assert features.video.shape == features.frames[:, 0].shape
    assert features.video.isfinite().all()
    if len(case.output) == 2:
        assert features.points is not None
        assert features.points.shape[:3] == (2, *case.output)


@each
def test_every_weight_gets_a_gradient_in_training(case: Case):
    model = case.build().train()
    model(case.clip(batch=3)).square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert parameter.grad.isfinite().all(), name
    whole = sum(float(p.grad.abs().sum()) for p in model.parameters() if p.grad is not None)
    assert whole > 0


@each
def test_trains_alike_without_the_kernels_of_the_cpu(case: Case, monkeypatch):
    """On other devices plain PyTorch does what the kernels do here."""
    model, clip = case.build().train(), case.clip(batch=3)
    other = copy.deepcopy(model)
    torch.manual_seed(7)  # dropout
    model(clip).square().sum().backward()

    def summed(values, frames, index):
        return values[frames[:, :, None, None], index].sum(dim=3).transpose(1, 2)

    monkeypatch.setattr(pst_conv, "neighbour_max", neighbour_max._grouped)
    monkeypatch.setattr(batch_norm, "neighbour_moments", neighbour_moments._moments)
    for user in (pst_conv, neighbour_moments):
        monkeypatch.setattr(user, "neighbour_sum", summed)
    for user in (pst_conv, p4d_conv):
        monkeypatch.setattr(user, "displacement_max", displacement_max._in_chunks)
    monkeypatch.setattr(p4d_conv, "interpolate", plain_interpolation)
    torch.manual_seed(7)
    other(clip).square().sum().backward()
    largest = max(float(one.grad.abs().max()) for one in model.parameters())
    for (name, one), two in zip(model.named_parameters(), other.parameters()):
        difference = float((two.grad - one.grad).abs().max())
        assert difference <= 1e-2 * float(one.grad.abs().max()) + 1e-5 * largest, name


@each
def test_trains_under_autocast_nearly_as_in_float32(case: Case):
    """bfloat16 has 8 bits, and which of two close neighbours is the maximum hangs on the last."""
    losses, gradients = [], []
    for rounded in (False, True):
        model = case.build().train()
        torch.manual_seed(7)  # dropout
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=rounded):
            logits = model(case.clip(batch=3)).flatten(0, -2)
            labels = torch.arange(len(logits)) % CLASSES
            loss = torch.nn.functional.cross_entropy(logits, labels)
        loss.backward()
        losses.append(loss.detach())
        gradients.append(
            torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])
        )
    assert gradients[1].isfinite().all()
    torch.testing.assert_close(losses[1], losses[0], rtol=1e-2, atol=0.0)
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.9


def plain_interpolation(values, points, targets):
    distance, index = interpolate.k_nearest(points, targets, min(3, points.shape[1]))
    weight = 1 / (distance + 1e-8)
    return interpolate._weighted_sum(values, weight / weight.sum(2, keepdim=True), index)


@each
def test_evaluation_is_deterministic_and_the_same_with_and_without_gradients(case: Case):
    model, clip = case.build(), case.clip()
    with torch.no_grad():
        first, second = model(clip), model(clip)
    assert torch.equal(first, second)
    torch.testing.assert_close(model(clip), first, rtol=1e-4, atol=1e-5)


@each
def test_a_state_dict_brings_everything(case: Case):
    model, other = case.build(0), case.build(1)
    other.load_state_dict(model.state_dict())
    with torch.no_grad():
        assert torch.equal(other(case.clip()), model(case.clip()))
    assert len(model.state_dict()) == len(dict(model.named_parameters())) + len(
        dict(model.named_buffers())
    )


@each
def test_a_clip_does_not_see_the_others_of_its_batch(case: Case):
    model, clips = case.build(), case.clip(batch=3)
    with torch.no_grad():
        together = model(clips)
        alone = torch.cat([model(clip[None]) for clip in clips])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "case", [case for case in CASES if not case.order_counts], ids=lambda case: case.name
)
def test_the_order_of_points_does_not_count_but_for_the_first_of_a_frame(case: Case):
    model, clip = case.with_all_neighbours(), case.clip()
    order = torch.cat((torch.zeros(1, dtype=torch.int64), torch.randperm(case.points - 1) + 1))
    with torch.no_grad():
        first, shuffled = model(clip), model(clip[:, :, order])
    if len(case.output) == 2:
        first = first[:, :, order]
    torch.testing.assert_close(shuffled, first, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "case",
    [case for case in CASES if case.name.endswith("_normalised")],
    ids=lambda case: case.name,
)
def test_with_centred_places_the_answer_does_not_depend_on_where_the_camera_stands(case: Case):
    model, clip = case.build(), case.clip()
    moved = clip + torch.tensor([0.5, -0.25, 2.0])
    torch.testing.assert_close(model(moved), model(clip), rtol=1e-3, atol=1e-3)
    absolute = next(one for one in CASES if one.name == case.name.removesuffix("_normalised"))
    model = absolute.build()
    assert (model(moved) - model(clip)).abs().max() > 0.1


@each
def test_non_contiguous_clips_are_the_same_clips(case: Case):
    model, clip = case.build(), case.clip()
    strided = torch.stack((clip, clip), -1)[..., 0]
    assert not strided.is_contiguous()
    with torch.no_grad():
        assert torch.equal(model(strided), model(clip))


@each
def test_coinciding_points_and_huge_places_give_numbers(case: Case):
    model = case.build()
    with torch.no_grad():
        assert model(torch.zeros_like(case.clip())).isfinite().all()
        assert model(case.clip() + 1000).isfinite().all()


@each
def test_refuses_what_does_not_fit(case: Case):
    model, clip = case.build(), case.clip()
    for wrong in (clip[0], clip.double(), clip.half(), clip[..., :2]):
        with pytest.raises(ValueError, match=r"expected \(B, L, N, 3\) float32, got \("):
            model(wrong)
    with pytest.raises(InputError):
        model(clip[:, :, :1])
    with pytest.raises(InputError):
        model(clip[:, :0])


@pytest.mark.parametrize(
    "name",
    sorted(  # test_image_video.py has those of images
        path.stem
        for path in model_cases.PUBLISHED.glob("*.yaml")
        if not path.stem.startswith(("image_video", "xclip_video"))
    ),
)
def test_the_published_sizes_can_be_built(name):
    architecture = max((known for known in models.ARCHITECTURES if name.startswith(known)), key=len)
    config = load_yaml(
        models.architecture(architecture).config, model_cases.PUBLISHED / f"{name}.yaml"
    )
    with torch.device("meta"):
        model = models.build(architecture, to_mapping(config), 60)
    frames, points = model_cases.CLIPS[name]
    model.check_input(frames, points)
