"""One HTML page that shows a session: no network, no other file."""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

import jinja2
from markupsafe import Markup

from fourd_perception.evaluation import charts
from fourd_perception.evaluation.metrics import window_truth
from fourd_perception.evaluation.session import Figures, Picture, Session, confusion, figures
from fourd_perception.stream.frame import SECOND
from fourd_perception.whole_file import written

_TEMPLATE = "report.html.j2"


@dataclass(frozen=True)
class _Scene:
    """A picture as the page shows it."""

    image: str
    cloud: str
    seconds: float
    truth: str | None
    answer: str | None
    right: bool | None


def write_report(path: str | Path, session: Session) -> None:
    """Write the page, whole or not at all."""
    text = render(session)
    with written(path) as part:
        part.write_text(text, encoding="utf-8")


def render(session: Session) -> str:
    """The page as text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fourd_perception", "evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = lambda name: name.replace("_", " ")
    counts = confusion(session)
    return environment.get_template(_TEMPLATE).render(
        session=session,
        tiles=tiles(figures(session)),
        scenes=[_scene(session, picture) for picture in session.pictures],
        timeline=Markup(charts.timeline(session)) if session.answers else "",
        confusion=Markup(charts.confusion_heatmap(counts, session.classes)) if counts.any() else "",
        latency=Markup(charts.latency_histogram(session.latencies_ms))
        if session.latencies_ms
        else "",
        colours={
            "right": charts.RIGHT,
            "wrong": charts.WRONG,
            "transition": charts.TRANSITION,
            "truth": charts.TRUTH,
        },
    )


def percent(value: float | None) -> str:
    """'91.2 %', or a dash where nothing was measured."""
    return "–" if value is None else f"{value:.1f} %"


def milliseconds(value: float | None) -> str:
    """'42 ms', or a dash where nothing was measured."""
    return "–" if value is None else f"{value:.0f} ms"


def tiles(measured: Figures) -> list[tuple[str, str, str]]:
    """(figure, what it is, what it is over) of the summary."""
    return [
        (
            percent(measured.window_accuracy),
            "windows named right",
            f"of {measured.windows_judged} that lie inside one action",
        ),
        (
            percent(measured.action_accuracy),
            "actions named right",
            f"of {measured.actions_judged}, by all their windows",
        ),
        (
            f"{measured.windows_answered} / {measured.windows_expected}",
            "windows answered",
            f"{measured.windows_dropped} dropped in {measured.seconds:.0f} s, "
            f"{measured.clouds_sent} clouds",
        ),
        (
            milliseconds(measured.latency_p50_ms),
            "median latency",
            f"99 of 100 within {milliseconds(measured.latency_p99_ms)}",
        ),
    ]


def _scene(session: Session, picture: Picture) -> _Scene:
    """A picture with the truth at its moment and the answer that was the newest one by then."""
    answer = next((one for one in reversed(session.answers) if one.stamp <= picture.stamp), None)
    return _Scene(
        image=_data_uri(charts.png(picture.image)),
        cloud=_data_uri(charts.png(charts.render_cloud(picture.points))),
        seconds=(picture.stamp - session.clouds[0]) / SECOND,
        truth=window_truth(picture.stamp, picture.stamp, session.truth),
        answer=answer.label if answer else None,
        right=answer.right if answer else None,
    )


def _data_uri(data: bytes) -> str:
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")
