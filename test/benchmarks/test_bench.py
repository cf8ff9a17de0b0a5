"""The harness of the benchmarks: what it does with times, not what they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from benchmarks import bench, bench_memory, bench_scaling
from benchmarks.bench_items import ITEMS
from benchmarks.bench_people import clips, clouds
from benchmarks.bench_report import Measured, figures, met, table
from benchmarks.bench_timing import (
    Contest,
    Disagreement,
    Outcome,
    Patience,
    Spread,
    hold,
    relative_difference,
)

NO_PATIENCE = Patience(seconds=0.0, theirs=2)
CHEAPEST = "ball_query_24x64_in_2048"


def spread(median: float) -> Spread:
    return Spread(median, median / 2, median * 2, 3)


def test_few_repeats_are_spread_from_first_to_last_and_many_without_their_ends() -> None:
    assert Spread.of([3.0, 1.0, 2.0]) == Spread(2.0, 1.0, 3.0, 3)
    eleven = Spread.of([*range(1, 11), 1000.0])
    assert eleven == Spread(6.0, 2.0, 10.0, 11)


def test_theirs_is_called_in_turns_with_ours_and_both_often_enough() -> None:
    calls = []

    def one(name: str) -> torch.Tensor:
        calls.append(name)
        return torch.ones(1)

    contest = Contest(lambda: one("ours"), lambda: one("theirs"), least=4)
    outcome = hold(contest, NO_PATIENCE)
    assert outcome.theirs is not None
    assert (outcome.ours.repeats, outcome.theirs.repeats) >= (3, 1)
    # The first of each is for the answers: what compiles must not be timed.
    assert calls.count("ours") == outcome.ours.repeats + 1
    assert calls.count("theirs") == outcome.theirs.repeats + 1
    assert calls[:2] == ["ours", "theirs"]
    assert "theirs" in calls[3:-1] and "ours" in calls[calls.index("theirs", 2) :]


def test_a_long_first_call_of_theirs_counts() -> None:
    contest = Contest(lambda: torch.ones(1), lambda: torch.ones(1))
    outcome = hold(contest, Patience(seconds=0.0, theirs=1, first=0.0))
    assert outcome.theirs is not None and outcome.theirs.repeats >= 2


def test_ours_alone_is_measured_without_a_ratio() -> None:
    outcome = hold(Contest(lambda: torch.ones(1)), NO_PATIENCE)
    assert outcome.ours.repeats >= 3
    assert outcome.theirs is outcome.ratio is outcome.difference is None


@pytest.mark.parametrize(
    "theirs", [torch.tensor([1.0, 2.01]), torch.ones(3), torch.tensor([1.0, torch.nan])]
)
def test_nothing_wrong_is_timed(theirs: torch.Tensor) -> None:
    ours = torch.tensor([1.0, 2.0])
    calls = []
    contest = Contest(lambda: calls.append(1) or ours, lambda: theirs)
    with pytest.raises(Disagreement, match="differ by"):
        hold(contest, NO_PATIENCE)
    assert len(calls) == 1


def test_differences_are_relative_to_the_largest_number_of_theirs() -> None:
    theirs = torch.tensor([0.0, -200.0])
    assert relative_difference(torch.tensor([0.1, -200.0]), theirs) == pytest.approx(5e-4)
    assert relative_difference(torch.zeros(2), torch.zeros(2)) == 0.0


def test_the_table_says_what_was_asked_for_and_whether_it_is_met() -> None:
    measured = Measured(
        {
            "im_pstnet": Outcome(spread(0.5), spread(6.0), 1e-6),
            "im_pstnet_stream": Outcome(spread(0.25), spread(0.5), 1e-6),
            "im_pstnet_small_train": Outcome(spread(0.2)),
        },
        {"pptr": {"ours": 100.0, "theirs": 250.0}},
        {"frames": {"new frame": [(8, 10.0), (16, 20.0), (32, 40.0)]}},
    )
    forward, stream, alone, memory, curve = table(measured).splitlines()[2:7]
    assert "500 (250 to 1000, 3 x)" in forward and "12.0  10, met " in forward
    assert " 2.0  2.5, not met  whole window" in stream
    assert "200 (100 to 400, 3 x)" in alone and "met" not in alone
    assert memory.split()[-5:] == ["MB", "100", "250", "2.5", "textbook"]
    assert "8: 10, 16: 20, 32: 40; exponent 1.00" in curve


def test_figures_have_a_ratio_of_each_and_are_plain_json() -> None:
    measured = Measured(
        {
            "im_pstnet_train": Outcome(spread(2.0), spread(10.0), 1e-6),
            "im_pstnet_small_train": Outcome(spread(0.2)),
        },
        {"im_pstnet": {"ours": 100.0, "theirs": 250.0}},
        {"points": {"whole window": [(512, 1.0), (1024, 4.0)]}},
    )
    found = json.loads(json.dumps(figures(measured), allow_nan=False))
    assert found["im_pstnet_train_ratio"] == 5.0
    assert found["im_pstnet_forward_memory_ratio"] == 2.5
    assert found["im_pstnet_whole_window_by_points_exponent"] == 2.0
    assert found["items"]["im_pstnet_train"] == {
        "ours_ms": {"median": 2000.0, "low": 1000.0, "high": 4000.0, "repeats": 3},
        "ours_ms_a_clip": 1000.0,
        "theirs": "textbook",
        "theirs_ms": {"median": 10000.0, "low": 5000.0, "high": 20000.0, "repeats": 3},
        "ratio": 5.0,
        "difference": 1e-6,
        "asked_ratio": 8.0,
        "met": False,
    }
    assert set(found["items"]["im_pstnet_small_train"]) == {"ours_ms", "ours_ms_a_clip"}
    assert "im_pstnet_small_train_ratio" not in found


def test_a_ratio_is_held_against_what_is_asked_as_it_is_shown() -> None:
    assert met(10.0, 9.96) and met(10.0, 12.0)
    assert not met(10.0, 9.94)


def test_the_exponent_is_that_of_the_power_law() -> None:
    sizes = (512, 1024, 4096)
    assert bench_scaling.exponent([(n, 3.0 * n**1.5) for n in sizes]) == pytest.approx(1.5)


def test_a_plot_of_what_was_measured(tmp_path: Path) -> None:
    curve = {name: [(7, 10.0), (63, 90.0)] for name in bench_scaling.LINES}
    bench_scaling.plot({"frames": curve}, tmp_path / "one.png")
    assert (tmp_path / "one.png").read_bytes().startswith(b"\x89PNG")


def test_people_are_as_tall_as_people_and_as_dense() -> None:
    cloud = clouds(12, 2048)
    assert cloud.shape == (12, 2048, 3) and cloud.dtype == torch.float32
    assert 1.5 < float(cloud[..., 1].max() - cloud[..., 1].min()) < 2.0
    assert float(cloud[..., 2].min()) > 2.0 and float(cloud[..., 2].max()) < 3.0
    # Within 21 cm of a point of a person are far more than the 2048 / 100 of a uniform cube of
    # 2 m, and it is not the whole person.
    near = (torch.cdist(cloud[0], cloud[0]) < 0.21).float().mean()
    assert 0.05 < float(near) < 0.4


def test_people_move_and_are_the_same_every_time() -> None:
    cloud = clouds(8, 512)
    assert torch.equal(cloud, clouds(8, 512))
    assert not torch.equal(cloud, clouds(8, 512, seed=1))
    assert float((cloud[0].mean(0) - cloud[7].mean(0)).norm()) > 0.02
    torch.testing.assert_close(clouds(2, 64, 3.333), clouds(2, 64) * 3.333)
    assert clips(2, 3, 64).shape == (2, 3, 64, 3)


def test_memory_is_that_of_the_call_at_its_height() -> None:
    kept = []
    grown = bench_memory.added(lambda: kept.append(len(bytes(bytearray(b"x" * 40_000_000)))))
    assert 70 < grown < 140  # up to three of 40 MB at a time, none of them kept


def test_an_unknown_name_is_refused_with_the_known_ones(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for option in ("--only", "--profile"):
        monkeypatch.setattr("sys.argv", ["bench.py", option, "im_pstnt"])
        assert bench.main() == 2
        said = capsys.readouterr().err
        assert f"{option}: unknown 'im_pstnt'" in said and "im_pstnet_stream" in said


def test_what_is_chosen_stands_in_the_tables_order() -> None:
    assert bench.chosen([], False) == list(bench.NAMES)
    assert bench.chosen(["scaling", "pstnet"], True) == ["pstnet", "scaling"]
    quick = bench.chosen([], True)
    assert CHEAPEST in quick and "pptr" not in quick and "memory" not in quick


def test_a_disagreement_names_the_item_and_writes_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    item = bench.ITEMS[CHEAPEST]
    wrong = Contest(lambda: torch.ones(1), lambda: torch.zeros(1))
    monkeypatch.setitem(bench.ITEMS, CHEAPEST, type(item)(lambda _: wrong, "textbook", 1.0))
    monkeypatch.setattr(bench, "OUT", tmp_path)
    monkeypatch.setattr("sys.argv", ["bench.py", "--only", CHEAPEST])
    assert bench.main() == 1
    assert CHEAPEST in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


def test_a_quick_run_of_the_cheapest_item(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(bench, "OUT", tmp_path / "out")
    monkeypatch.setattr(bench, "QUICK", NO_PATIENCE)
    more = tmp_path / "more.json"
    given = ["--quick", "--only", CHEAPEST, "--json", "--results", str(more)]
    monkeypatch.setattr("sys.argv", ["bench.py", *given])
    threads = torch.get_num_threads()
    try:
        assert bench.main() == 0
    finally:
        torch.set_num_threads(threads)
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "out" / "bench.json").read_text())
    assert printed["figures"] == json.loads(more.read_text())["figures"]
    assert printed["command"] == f"python benchmarks/bench.py --quick --only {CHEAPEST}"
    assert printed["figures"][f"{CHEAPEST}_ratio"] > 0
    assert printed["figures"]["items"][CHEAPEST]["difference"] == 0.0


def test_every_item_compared_says_with_what() -> None:
    for name, item in ITEMS.items():
        assert item.seconds > 0
        assert item.against or item.asked is None, name


def test_it_runs_as_a_script(tmp_path: Path) -> None:
    for script in (bench.__file__, bench_memory.__file__):
        done = subprocess.run(
            [sys.executable, str(Path(script).resolve()), "--help"],
            cwd=tmp_path, capture_output=True, text=True,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr
