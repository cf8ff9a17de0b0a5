"""HOI4D's names, lists and parts; against the owners' lists where they are at hand."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from fourd_perception.errors import InputError
from fourd_perception.parameters import from_mapping
from training.config import DataConfig
from training.datasets import hoi4d
from training.datasets.prepared import Video

LISTS = Path(os.environ.get("FOURD_DATA_LISTS", "data/lists"))
NAME = "ZY20210800004/H4/C8/N14/S71/s03/T2"


def config(**values: object) -> DataConfig:
    return from_mapping(
        DataConfig, {"dataset": "hoi4d_actions", "prepared": "nowhere"} | values, "test"
    )


def video(name: str, group: str, split: str) -> Video:
    return Video(name, group, split, -1, "file", 0, 0, 150, 0, 0)


@pytest.fixture
def owners_lists(tmp_path: Path) -> hoi4d.Lists:
    if not (LISTS / "hoi4d_train_2971.txt").is_file():
        pytest.skip("the owners' lists are not here; name their folder in FOURD_DATA_LISTS")
    for here, there in (("hoi4d_train_2971.txt", "release.txt"),
                        ("hoi4d_test_892.txt", "testset.txt")):  # fmt: skip
        (tmp_path / there).write_bytes((LISTS / here).read_bytes())
    return hoi4d.read_lists(tmp_path)


def test_a_name_says_who_and_what() -> None:
    one = hoi4d.parse(NAME, "test")
    assert (one.subject, one.category, one.item) == ("H4", "C8", "C8/N14")
    assert str(one) == NAME


@pytest.mark.parametrize("text", ["", NAME + "/align_rgb", NAME[14:], NAME.replace("/", "_")])
def test_another_name_is_refused_with_its_line(tmp_path: Path, text: str) -> None:
    (tmp_path / "release.txt").write_text(f"{NAME}\n\n{text or 'x'}\n")
    with pytest.raises(InputError, match=r"release.txt, line 3: expected a name like"):
        hoi4d.read_lists(tmp_path)


def test_lists_that_are_not_there_are_empty(tmp_path: Path) -> None:
    assert hoi4d.read_lists(tmp_path) == hoi4d.Lists((), ())


def test_a_list_that_is_no_text_is_refused(tmp_path: Path) -> None:
    (tmp_path / "testset.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="testset.txt: cannot be read"):
        hoi4d.read_lists(tmp_path)


def test_the_newer_test_list_is_remarked_upon(tmp_path: Path) -> None:
    (tmp_path / "testset.txt").write_text(f"{NAME}\n" * 933)
    assert "933 lines; the challenge's test has 892" in hoi4d.read_lists(tmp_path).remarks()[0]


def test_the_owners_counts(owners_lists: hoi4d.Lists) -> None:
    assert len(set(owners_lists.train)) == hoi4d.EXPECTED["train"]
    assert len(set(owners_lists.test)) == hoi4d.EXPECTED["test"]
    assert len(owners_lists.leaked) == 32
    assert owners_lists.remarks()[0].startswith("32 sequences of release.txt")


def test_the_local_validation_cuts_no_object(owners_lists: hoi4d.Lists) -> None:
    chosen = config(protocol="local_validation")
    parts: dict[str, list[str]] = {"train": [], "holdout": []}
    for one in owners_lists.train:
        found = video(owners_lists.source_name(one, "train") + "/0", one.item, "train")
        parts[hoi4d.part(chosen, found)].append(one.item)
    assert {part: len(items) for part, items in parts.items()} == {"train": 2385, "holdout": 586}
    assert {part: len(set(items)) for part, items in parts.items()} == {
        "train": 516,
        "holdout": 130,
    }
    assert not set(parts["train"]) & set(parts["holdout"])
    for part in parts.values():
        assert len({item.partition("/")[0] for item in part}) == 16, "every category"


def test_without_leak_leaves_out_what_is_tested(owners_lists: hoi4d.Lists) -> None:
    chosen = config(protocol="without_leak")
    kept = [
        one
        for one in owners_lists.train
        if hoi4d.part(chosen, video(owners_lists.source_name(one, "train"), one.item, "train"))
    ]
    assert len(kept) == 2971 - 32
    assert not set(kept) & set(owners_lists.test)


def test_the_test_is_the_test_by_every_protocol() -> None:
    for protocol in ("", *hoi4d.PROTOCOLS):
        named = video(f"test/{NAME}/0", "C8/N14", "test")
        assert hoi4d.part(config(protocol=protocol), named) == "test"


def test_rows_without_names_are_parted_by_file() -> None:
    rows = [video(f"train{n}/0001/0", f"train{n}", "train") for n in (1, 4)]
    assert [hoi4d.part(config(), row) for row in rows] == ["train", "train"]
    validation = config(protocol="local_validation")
    assert [hoi4d.part(validation, row) for row in rows] == ["train", "holdout"]
    with pytest.raises(InputError, match="have no names; put release.txt"):
        hoi4d.part(config(protocol="without_leak"), rows[0])


def test_another_protocol_is_refused() -> None:
    with pytest.raises(
        InputError, match="one of official, local_validation, without_leak; got 'x'"
    ):
        hoi4d.part(config(protocol="x"), video("test/a/0", "g", "test"))
