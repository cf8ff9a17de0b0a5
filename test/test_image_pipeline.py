"""The images' branch on a stream, and its part in the fusion."""

from __future__ import annotations

import numpy as np
import pytest
import small_model
import tiny_folders
import torch

from fourd_perception import checkpoint, models
from fourd_perception.errors import InputError
from fourd_perception.image_pipeline import ImagePipeline
from fourd_perception.models.fusion import ScoreFusion
from fourd_perception.models.xclip import XClipScorer
from fourd_perception.parameters import from_mapping, to_mapping
from fourd_perception.pipeline import ActionPipeline, PipelineConfig
from fourd_perception.preprocess import PreprocessConfig, preprocess_image
from fourd_perception.stream.frame import SECOND, Frame
from fourd_perception.stream.window import ClipConfig
from fourd_perception.vocabulary import OpenVocabulary

CLIP = ClipConfig(frames=8, frame_step=1, rate=10.0)
"""Of clouds: 0.8 s, so that the four images are 0.2 s apart."""
NO_POINTS = np.empty((0, 3), np.float32)


@pytest.fixture(scope="module")
def scorer(tmp_path_factory) -> XClipScorer:
    return XClipScorer.load(tiny_folders.make(tmp_path_factory.mktemp("tiny")))


@pytest.fixture(scope="module")
def loaded(scorer) -> checkpoint.Checkpoint:
    """A model that is aligned with the scorer."""
    config = models.ALIGNED_ARCHITECTURES["aligned"].config
    sizes = {
        "encoder": "im_pstnet", "encoder_sizes": small_model.card().model,
        "embed_dim": scorer.embed_dim, "prompts": tiny_folders.TEXTS, "text_model": "tiny",
        "image_frames": scorer.frames,
    }  # fmt: skip
    sizes = to_mapping(from_mapping(config, sizes, "test"))
    torch.manual_seed(0)
    model = models.build("aligned", sizes, len(tiny_folders.TEXTS))
    model.set_texts(scorer.text_features(tiny_folders.TEXTS))
    card = small_model.card(
        architecture="aligned", model=sizes, clip=CLIP,
        preprocess=PreprocessConfig(points=32, image_size=scorer.image_size),
    )  # fmt: skip
    return checkpoint.Checkpoint(card, model.eval())


def stream(count: int, *, images: bool = True) -> list[Frame]:
    random = np.random.default_rng(0)
    return [
        Frame(
            number * SECOND // 10, "camera", random.random((64, 3), np.float32),
            random.integers(0, 255, (48, 64, 3), np.uint8) if images else None,
        )
        for number in range(count)
    ]  # fmt: skip


def scores_of(pipeline: ImagePipeline, frames) -> list:
    return [pipeline.score(clip) for clip in map(pipeline.offer, frames) if clip]


def test_it_says_what_the_model_says_of_an_image_in_each_segment(loaded, scorer):
    frames = stream(8)
    (said,) = scores_of(ImagePipeline(loaded, scorer, CLIP, rate=1.0), frames)
    taken = [frames[number] for number in (0, 2, 4, 6)]
    assert said.stamp == taken[-1].stamp
    pixels = [preprocess_image(one.image, loaded.card.preprocess) for one in taken]
    with torch.no_grad():
        video = scorer.video_features(torch.from_numpy(np.stack(pixels))[None])
        # Of the texts as the text model gives them, as training has them: X-CLIP changes a text by
        # what it sees, so that another length of it is another text.
        texts = scorer.logits(video, scorer.text_features(tiny_folders.TEXTS))[0]
        torch.testing.assert_close(said.logits["rgb"], loaded.model.rgb_logits(video)[0])
        torch.testing.assert_close(said.logits["rgb_text"], texts)


def test_its_rate_is_its_own(loaded, scorer):
    # Images 0.2 s apart: the window is full after 0.6 s; from then on a score every 0.4 s.
    stamps = [one.stamp for one in scores_of(ImagePipeline(loaded, scorer, CLIP, 2.5), stream(20))]
    assert [round(one / SECOND, 1) for one in stamps] == [0.6, 1.0, 1.4, 1.8]


def test_where_images_stop_scores_stop_and_come_back_with_them(loaded, scorer):
    pipeline, frames = ImagePipeline(loaded, scorer, CLIP, rate=10.0), stream(60)
    dark = [Frame(one.stamp, "camera", one.points) for one in frames[20:40]]
    stamps = [one.stamp / SECOND for one in scores_of(pipeline, frames[:20] + dark + frames[40:])]
    assert max(one for one in stamps if one < 2.0) <= 1.9
    back = min(one for one in stamps if one > 2.0)
    assert 4.5 <= back <= 4.7  # a whole window of new images, none of the old
    assert pipeline.window.resets == 1


def test_the_images_take_part_in_the_fusion_while_they_are_fresh(loaded, scorer):
    (said,) = scores_of(ImagePipeline(loaded, scorer, CLIP, rate=1.0), stream(8))
    pipeline = ActionPipeline(loaded, PipelineConfig(stride=1), image_max_age=0.5)
    clouds = ActionPipeline(loaded, PipelineConfig(stride=1))
    pipeline.images = said
    fusion = ScoreFusion(loaded.model.config.fusion)
    for frame in stream(16):
        answer, alone = pipeline.push(frame), clouds.push(frame)
        if answer is None:
            continue
        fresh = frame.stamp - said.stamp <= SECOND // 2
        assert set(answer.by_source) == {"pc", "pc_text", *(("rgb", "rgb_text") if fresh else ())}
        if fresh:
            own = fusion.scores(said.logits)
            mean = np.mean([*alone.by_source.values(), *(one.numpy() for one in own.values())], 0)
            np.testing.assert_allclose(answer.scores, mean, atol=1e-6)
        else:
            np.testing.assert_array_equal(answer.scores, alone.scores)
    assert not fresh  # both were seen


def test_warm_up_leaves_no_trace(loaded, scorer):
    pipeline = ImagePipeline(loaded, scorer, CLIP, rate=1.0)
    assert pipeline.warm_up() > 0 and pipeline.window.filled == 0


def test_what_was_not_aligned_is_refused(loaded, scorer, tmp_path):
    plain = checkpoint.load(small_model.save(tmp_path / "a.safetensors"))
    with pytest.raises(InputError, match="was not aligned with images and texts"):
        ImagePipeline(plain, scorer, CLIP, 1.0)
    other = XClipScorer.load(
        tiny_folders.make(tmp_path, sizes=tiny_folders.TinyConfig(
            image_size=16, patch_size=8, frames=4, width=16, depth=2, heads=2, embed_dim=8, seed=5,
        ))
    )  # fmt: skip
    with pytest.raises(InputError, match="has other features of 'wave hand'"):
        ImagePipeline(loaded, other, CLIP, 1.0)


# Other classes than the checkpoint's, put into words.

PROMPTS = ("push the box", "sit down")


def test_prompts_are_scored_by_their_texts_alone(loaded, scorer):
    words = OpenVocabulary(loaded, scorer)
    images, clouds = ImagePipeline(loaded, scorer, CLIP, 1.0), ActionPipeline(loaded)
    images.vocabulary = clouds.vocabulary = words.learn(PROMPTS)
    (clouds.images,) = scores_of(images, stream(8))
    answer = next(filter(None, map(clouds.push, stream(9))))
    assert (answer.classes, answer.scores.shape) == (PROMPTS, (2,))
    assert set(answer.by_source) == {"pc_text", "rgb_text"}
    raw = scorer.text_features(PROMPTS)
    sampled = torch.stack(clouds._sample(next(filter(None, map(clouds.offer, stream(9))))))
    with torch.no_grad():
        said = loaded.model.text_logits(loaded.model.encode(sampled[None]), raw)[0]
    np.testing.assert_allclose(answer.by_source["pc_text"], said.softmax(0), atol=1e-5)
    assert answer.scores.sum() == pytest.approx(1.0, abs=1e-5)


def test_the_images_scores_of_other_classes_are_left_out(loaded, scorer):
    words = OpenVocabulary(loaded, scorer)
    (own,) = scores_of(ImagePipeline(loaded, scorer, CLIP, 1.0), stream(8))
    clouds = ActionPipeline(loaded, PipelineConfig(stride=1))
    clouds.images = own
    answers = []
    for number, frame in enumerate(stream(14)):
        if number == 10:
            clouds.vocabulary = words.learn(PROMPTS)
        if number == 12:
            clouds.vocabulary = words.learn([""])
        answers.append(clouds.push(frame))
    assert set(answers[9].by_source) == {"pc", "pc_text", "rgb", "rgb_text"}
    assert set(answers[10].by_source) == {"pc_text"} and answers[10].classes == PROMPTS
    assert answers[12].by_source.keys() == answers[9].by_source.keys()
    assert answers[12].classes == loaded.card.classes


def test_what_the_model_was_not_aligned_with_is_zero_shot(loaded, scorer):
    found = OpenVocabulary(loaded, scorer).learn(PROMPTS)
    assert found.prompted and found.unseen == ("push the box",)  # 'sit down' is one of its texts


@pytest.mark.parametrize("nothing", [(), ("",)])
def test_no_prompts_are_the_checkpoints_own_classes(loaded, nothing):
    words = OpenVocabulary(loaded, None)
    words.check(nothing)
    found = words.learn(nothing)
    assert (found.classes, found.texts, found.prompted) == (loaded.card.classes, None, False)


@pytest.mark.parametrize(
    ("prompts", "line"),
    [
        (("a", ""), "prompts: number 2 of 2 is empty; say what is done"),
        (("", ""), "prompts: number 1 of 2 is empty; say what is done"),
        (("a", "b", "a"), r"prompts: 'a' stands twice \(numbers 1 and 3\)"),
        (("wave",), "prompts: 'wave' alone would always score 1: give two at least"),
        (("a", "b" * 76), "has 78 tokens, the model reads 77, its begin and end among them"),
    ],
)
def test_bad_prompts_are_refused_in_one_line_before_they_are_encoded(
    loaded, scorer, monkeypatch, prompts, line
):
    words = OpenVocabulary(loaded, scorer)
    monkeypatch.setattr(scorer, "text_features", lambda texts: pytest.fail("encoded"))
    for refused in (words.check, words.learn):
        with pytest.raises(InputError, match=line) as error:
            refused(prompts)
        assert "\n" not in str(error.value)


def test_prompts_want_a_text_encoder_and_a_model_with_text_scores(loaded, scorer, tmp_path):
    with pytest.raises(InputError, match="need the text encoder .* set video_text_model"):
        OpenVocabulary(loaded, None).check(PROMPTS)
    plain = checkpoint.load(small_model.save(tmp_path / "a.safetensors"))
    with pytest.raises(InputError, match=r"small \(im_pstnet\) has no scores against texts"):
        OpenVocabulary(plain, None).check(PROMPTS)
