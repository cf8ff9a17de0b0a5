"""config/models: the published sizes, against the textbook's, which was written apart from them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
import yaml
from textbook import p4d_conv, p4transformer, pptr, pstnet

from fourd_perception import models
from fourd_perception.models import upstream
from fourd_perception.models.p4d_conv import P4DConv
from fourd_perception.models.pst_conv import PSTConv

FOLDER = Path(__file__).parents[2] / "config" / "models"

PUBLISHED = {
    "pstnet_ntu": ("pstnet", pstnet.pstnet_ntu, 60),
    "pstnet_msr": ("pstnet", pstnet.pstnet_msr, 20),
    "pstnetpp_ntu": ("pstnetpp", pstnet.pstnetpp_ntu, 60),
    "pstnetpp_msr": ("pstnetpp", pstnet.pstnetpp_msr, 20),
    "p4_transformer_msr": ("p4_transformer", p4transformer.p4transformer_msr, 20),
    "p4_transformer_ntu": ("p4_transformer", p4transformer.p4transformer_ntu, 60),
    "p4_transformer_hoi4d": ("p4_transformer", p4transformer.p4transformer_hoi4d_actions, 19),
    "p4_segmenter_hoi4d": ("p4_segmenter", p4transformer.p4transformer_hoi4d_semantic, 49),
    "pst_transformer_msr_small": ("pst_transformer", p4transformer.pst_transformer_msr_small, 20),
    "pst_transformer_ntu": ("pst_transformer", p4transformer.pst_transformer_ntu, 60),
    "pptr_msr": ("pptr", pptr.pptr_msr, 20),
    "pptr_hoi4d": ("pptr", pptr.pptr_hoi4d_actions, 19),
    "pptr_segmenter_hoi4d": ("pptr_segmenter", pptr.pptr_hoi4d_semantic, 49),
}


def both(name):
    """Ours and theirs, without memory for their weights."""
    architecture, theirs, classes = PUBLISHED[name]
    config = yaml.safe_load((FOLDER / f"{name}.yaml").read_text(encoding="utf-8"))
    with torch.device("meta"):
        return models.build(architecture, config, classes), theirs()


@pytest.mark.parametrize("name", PUBLISHED)
def test_every_weight_has_its_place(name):
    ours, theirs = both(name)
    wanted = ours.state_dict()
    converted = upstream.convert(PUBLISHED[name][0], theirs.state_dict(), wanted)
    assert {key: one.shape for key, one in converted.items()} == {
        key: one.shape for key, one in wanted.items()
    }


@pytest.mark.parametrize("name", PUBLISHED)
def test_neighbours_are_sought_where_the_papers_seek_them(name):
    ours, theirs = both(name)
    rows = [layer.config for layer in ours.modules() if isinstance(layer, (PSTConv, P4DConv))]
    got = [
        (row.radius, row.neighbours, row.spatial_stride, row.temporal_kernel, row.temporal_stride,
         tuple(row.temporal_padding))
        for row in rows
    ]  # fmt: skip
    wanted = []
    for module in theirs.modules():
        if isinstance(module, (pstnet.PSTConv, pstnet.PSTOp)):
            wanted.append(tuple(module.layer.tube))
        elif isinstance(module, p4d_conv.P4DConv):
            wanted.append(tuple(module.shape))
    assert [tuple(row) for row in got] == [
        (pytest.approx(radius), *others) for radius, *others in wanted
    ]


@pytest.mark.parametrize("name", [name for name in PUBLISHED if "pstnet" not in name])
def test_attention_has_as_many_heads(name):
    ours, theirs = both(name)
    got, wanted = (
        [one.heads for one in model.modules() if isinstance(getattr(one, "heads", None), int)]
        for model in (ours, theirs)
    )
    assert got == wanted
    assert wanted
