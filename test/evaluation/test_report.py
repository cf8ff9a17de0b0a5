"""The page: whole, self-contained, and careful with what it is given."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest

from fourd_perception.evaluation import charts
from fourd_perception.evaluation.report import render, write_report
from fourd_perception.evaluation.session import Answer, Picture, Session
from fourd_perception.recordings.recording import Interval
from fourd_perception.stream.frame import SECOND


def session(**changes: object) -> Session:
    truth = (Interval(0, 2 * SECOND, "side_kick"), Interval(2 * SECOND, 4 * SECOND, "bend"))
    image = np.full((6, 8, 3), 200, np.uint8)
    cloud = np.random.default_rng(0).normal((0, 0, 2), 0.3, (50, 3)).astype(np.float32)
    given: dict = {
        "title": "A clip",
        "command": "demo --seed 1",
        "classes": ("bend", "side_kick", "wave"),
        "truth": truth,
        "clouds": tuple(range(0, 4 * SECOND, SECOND // 10)),
        "windows_expected": 4,
        "answers": (
            Answer(SECOND, 0, (("side_kick", 0.8), ("bend", 0.2)), 31.0, "side_kick"),
            Answer(2 * SECOND, SECOND, (("bend", 0.6),), None, None),
            Answer(3 * SECOND, 2 * SECOND, (), 47.0, "bend"),
        ),
        "facts": {"model": "a model"},
        "pictures": (Picture(SECOND, image, cloud),),
    }
    return Session(**{**given, **changes})


class Tags(HTMLParser):
    """All tags, and those that were not closed in their order."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "img", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag


def test_the_page_stands_alone() -> None:
    page = render(session())
    tags = Tags(page)
    assert tags.open == [], "every tag is closed"
    assert sum(tag == "svg" for tag, _ in tags.seen) == 3
    assert not {tag for tag, _ in tags.seen} & {"script", "link", "iframe"}
    sources = [attrs["src"] for tag, attrs in tags.seen if tag == "img"]
    assert len(sources) == 2 and all(
        str(one).startswith("data:image/png;base64,") for one in sources
    )
    assert not re.search(r"(?:url\(|@import|src=.)\s*[\"']?https?:", page)


def test_the_page_says_what_was_measured() -> None:
    page = render(session())
    # One of the two windows inside an action is right, three of four were answered, 39 ms median.
    for text in ("50.0 %", "3 / 4", "39 ms", "1 dropped", "demo --seed 1", "a model"):
        assert text in page
    assert "<b>side kick</b>" in page


def test_names_are_shown_and_not_obeyed() -> None:
    name = "<script>alert(1)</script>"
    page = render(
        session(
            classes=("bend", name),
            title=name,
            command=name,
            truth=(Interval(0, 4 * SECOND, name),),
            answers=(Answer(SECOND, 0, ((name, 0.5),), 3.0, name),),
            facts={name: name},
        )
    )
    assert name not in page
    assert page.count("&lt;script&gt;") >= 5


def test_a_session_without_answers_or_pictures_has_a_page() -> None:
    page = render(session(answers=(), pictures=()))
    assert "<svg" not in page and "<img" not in page
    assert "0 / 4" in page and "4 dropped" in page


def test_the_same_session_gives_the_same_page(tmp_path: Path) -> None:
    write_report(tmp_path / "deep" / "a.html", session())
    write_report(tmp_path / "deep" / "b.html", session())
    first, second = (tmp_path / "deep" / name for name in ("a.html", "b.html"))
    assert first.read_bytes() == second.read_bytes()
    assert len(list(first.parent.iterdir())) == 2, "nothing temporary is left"


def test_charts_take_the_colour_of_the_page() -> None:
    svg = charts.latency_histogram([3.0, 4.0, 5.0])
    assert svg.startswith("<svg") and "currentColor" in svg and "#010203" not in svg


@pytest.mark.parametrize(
    "points",
    [
        np.empty((0, 3), np.float32),
        np.full((5, 3), np.nan, np.float32),
        np.ones((1, 3), np.float32),
        np.ones((7, 3), np.float32),
    ],
)
def test_poor_clouds_have_a_picture(points: np.ndarray) -> None:
    assert charts.render_cloud(points).shape == (240, 320, 3)


def test_a_cloud_is_seen_upright_and_from_its_side() -> None:
    # A post along the optical y (down) stays upright; a beam along z (away) turns into sight.
    line = np.linspace(-1, 1, 400, dtype=np.float32)[:, None]
    post = charts.render_cloud(line * np.float32([0, 1, 0]) + np.float32([0, 0, 3]))
    drawn = np.argwhere((post != post[0, 0]).any(axis=2))
    assert np.ptp(drawn[:, 0]) > 200 and np.ptp(drawn[:, 1]) <= 2
    beam = charts.render_cloud(line * np.float32([0, 0, 1]) + np.float32([0, 0, 3]))
    drawn = np.argwhere((beam != beam[0, 0]).any(axis=2))
    assert np.ptp(drawn[:, 1]) > 200 and np.ptp(drawn[:, 0]) <= 2


def test_depth_is_shaded_near_to_far() -> None:
    depth = np.array([[0.0, 1.0, 2.0, 3.0]], np.float32)
    brightness = charts.shade_depth(depth).astype(int).sum(axis=2)[0]
    assert brightness[1] > brightness[2] > brightness[3] > brightness[0]
    assert charts.shade_depth(np.zeros((2, 2), np.float32)).max() < 50
