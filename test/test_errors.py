"""One line for a mistake, a traceback for a defect."""

from __future__ import annotations

import pytest

from fourd_perception.errors import InputError, command


class BadFile(InputError):
    """As every room has its own kind of InputError."""


def test_a_mistake_becomes_one_line_and_exit_code_2(capsys: pytest.CaptureFixture[str]) -> None:
    @command
    def main() -> int:
        raise BadFile("a.yaml: no such file")

    assert main() == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err == f"{__name__}: a.yaml: no such file\n"


@pytest.mark.parametrize(
    ("module", "program", "name"),
    [
        ("fourd_perception.tools.make_bag", ".venv/bin/make_bag", "make_bag"),
        ("__main__", "training/finetune.py", "finetune"),
        ("__main__", "fourd_perception/studio/__main__.py", "studio"),
    ],
)
def test_the_line_opens_with_the_tools_own_name(
    module: str,
    program: str,
    name: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def main() -> int:
        raise InputError("what is wrong")

    main.__module__ = module
    monkeypatch.setattr("sys.argv", [program])
    assert command(main)() == 2
    assert capsys.readouterr().err == f"{name}: what is wrong\n"


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (1, 1)])
def test_what_main_returns_is_the_exit_code(returned: int | None, code: int) -> None:
    assert command(lambda: returned)() == code


def test_an_interrupt_ends_quietly(capsys: pytest.CaptureFixture[str]) -> None:
    @command
    def main() -> int:
        raise KeyboardInterrupt

    assert main() == 130
    assert capsys.readouterr().err == ""


def test_a_defect_is_not_hidden() -> None:
    @command
    def main() -> int:
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        main()


def test_exit_requests_pass_through() -> None:
    """argparse ends by SystemExit with a code of its own."""

    @command
    def main() -> int:
        raise SystemExit(0)

    with pytest.raises(SystemExit):
        main()
