"""On a GPU the encoders say what they say on a CPU, and learn the same."""

from __future__ import annotations

import copy

import pytest
import torch
from model_cases import CASES, Case

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
each = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


@each
def test_the_logits_are_those_of_a_cpu(case: Case):
    model, clip = case.build(), case.clip()
    with torch.inference_mode():
        expected = model(clip)
        got = copy.deepcopy(model).cuda()(clip.cuda()).cpu()
    torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)


@each
def test_the_gradients_are_those_of_a_cpu(case: Case):
    model, clip = case.build().train(), case.clip(batch=3)
    for module in model.modules():
        if isinstance(module, torch.nn.Dropout):
            module.p = 0.0  # a GPU draws other numbers
    on_gpu = copy.deepcopy(model).cuda()
    model(clip).square().sum().backward()
    on_gpu(clip.cuda()).square().sum().backward()
    largest = max(float(one.grad.abs().max()) for one in model.parameters())
    for (name, one), two in zip(model.named_parameters(), on_gpu.parameters()):
        difference = float((two.grad.cpu() - one.grad).abs().max())
        assert difference <= 1e-2 * float(one.grad.abs().max()) + 1e-5 * largest, name


@each
def test_every_window_of_a_stream_equals_the_full_forward(case: Case):
    model = case.build().cuda()
    stream, frames = model.stream(case.frames), []
    random = torch.Generator().manual_seed(5)
    for _ in range(case.frames + 4):
        frames.append(torch.rand(case.points, 3, generator=random).cuda())
        features = stream.push(frames[-1])
        if features is None:
            continue
        with torch.inference_mode():
            expected = model(torch.stack(frames[-case.frames :])[None])
            got = model.classify(features)
        torch.testing.assert_close(got, expected, rtol=1e-3, atol=1e-4)
