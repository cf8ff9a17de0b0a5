"""One HTML page that shows how a model answered: no network, no other file."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
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
class Scene:
    """A picture as the page shows it. image: a data URI, or empty."""

    image: str
    cloud: str
    caption: str
    truth: str
    answer: str | None
    right: bool | None


@dataclass(frozen=True)
class SceneGroup:
    """Pictures under a heading. legend: (name, CSS colour) of what they are drawn in."""

    title: str
    text: str
    scenes: Sequence[Scene]
    legend: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True)
class Chart:
    """A drawing with its heading. svg: as `charts` makes them. wide: has a line to itself.

    legend: whether its colours are those of right and wrong answers, to be explained.
    """

    title: str
    text: str
    svg: str
    wide: bool = False
    legend: bool = False


@dataclass(frozen=True)
class Table:
    """Rows of text under a heading; the first row names the columns."""

    title: str
    text: str
    rows: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Page:
    """What a report shows, in its order. tiles: (figure, what it is, what it is over)."""

    title: str
    command: str
    tiles: Sequence[tuple[str, str, str]]
    scenes: Sequence[SceneGroup]
    charts: Sequence[Chart]
    tables: Sequence[Table]
    notes: Sequence[str]
    facts: Mapping[str, str]


def write_report(path: str | Path, session: Session) -> None:
    """Write the page of a session, whole or not at all."""
    write_page(path, session_page(session))


def write_page(path: str | Path, page: Page) -> None:
    """Write a page, whole or not at all."""
    text = render_page(page)
    with written(path) as part:
        part.write_text(text, encoding="utf-8")


def render(session: Session) -> str:
    """The page of a session as text."""
    return render_page(session_page(session))


def render_page(page: Page) -> str:
    """A page as text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("fourd_perception", "evaluation"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["words"] = lambda name: name.replace("_", " ")
    environment.filters["drawn"] = Markup
    return environment.get_template(_TEMPLATE).render(
        page=page,
        colours={
            "right": charts.RIGHT,
            "wrong": charts.WRONG,
            "transition": charts.TRANSITION,
            "truth": charts.TRUTH,
        },
    )


def session_page(session: Session) -> Page:
    """What the page of a session shows."""
    return Page(
        title=session.title,
        command=session.command,
        tiles=tiles(figures(session)),
        scenes=[
            SceneGroup(
                "What the camera saw",
                "Left the camera's picture, right the cloud that was sent, seen from the side.",
                [scene(session, picture) for picture in session.pictures],
            )
        ],
        charts=[*timeline_charts(session), *_session_charts(session)],
        tables=[],
        notes=[],
        facts=session.facts,
    )


def timeline_charts(
    session: Session,
    title: str = "Answers in time",
    text: str = "Every dot is one answer, at the time of the newest cloud of its window.",
) -> list[Chart]:
    """The answers against the truth; none without answers."""
    if not session.answers:
        return []
    return [Chart(title, text, charts.timeline(session), wide=True, legend=True)]


def confusion_charts(*sessions: Session, what: str = "Windows inside one action") -> list[Chart]:
    """The truth against the answers, of all sessions; none without a judged window."""
    counts = confusion(*sessions)
    if not counts.any():
        return []
    text = f"{what}: the truth by row, the answer by column."
    return [Chart("Confusion", text, charts.confusion_heatmap(counts, sessions[0].classes))]


def _session_charts(session: Session) -> list[Chart]:
    found = confusion_charts(session)
    if session.latencies_ms:
        text = (
            "From the moment a window's newest cloud was sent to the moment its answer was "
            "received."
        )
        found.append(Chart("Latency", text, charts.latency_histogram(session.latencies_ms)))
    return found


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


def scene(session: Session, picture: Picture, where: str = "", truth: str = "") -> Scene:
    """A picture with the truth at its moment and the answer that was the newest one by then.

    where: before the time. truth: what to say in place of the action.
    """
    answer = next((one for one in reversed(session.answers) if one.stamp <= picture.stamp), None)
    seconds = (picture.stamp - session.clouds[0]) / SECOND
    return Scene(
        image="" if picture.image is None else data_uri(charts.png(picture.image)),
        cloud=data_uri(charts.png(charts.render_cloud(picture.points))),
        caption=f"{where}{seconds:.1f} s",
        truth=truth
        or window_truth(picture.stamp, picture.stamp, session.truth)
        or ("between actions" if session.truth else "no truth"),
        answer=answer.label if answer else None,
        right=answer.right if answer else None,
    )


def data_uri(data: bytes) -> str:
    """A PNG as an address that holds it."""
    return "data:image/png;base64," + base64.b64encode(data).decode("ascii")
