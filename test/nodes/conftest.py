from __future__ import annotations

import importlib.util
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import small_model

# Without ROS there is nothing to test here; so nothing of ROS is imported at the top either.
collect_ignore_glob = [] if importlib.util.find_spec("rclpy") else ["test_*.py"]


@pytest.fixture(scope="session")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint that wants `FRAMES` frames at `RATE`."""
    from node_bench import FRAMES, RATE

    clip = small_model.ClipConfig(frames=FRAMES, frame_step=1, rate=RATE)
    return small_model.save(tmp_path_factory.mktemp("nodes") / "small.safetensors", clip=clip)


@pytest.fixture(scope="session")
def ros() -> Iterator[None]:
    """rclpy, initialised for this process."""
    import rclpy

    rclpy.init(args=[])
    yield
    rclpy.try_shutdown()


@pytest.fixture
def make_bench(model: Path, ros: None) -> Iterator[Callable[..., Any]]:
    """Benches with the parameters that are given; the model is, unless one of them says other."""
    from node_bench import Bench
    from rclpy.parameter import Parameter

    from fourd_perception.nodes.recognizer import Recognizer

    made: list[Bench] = []

    def make(**parameters: Any) -> Bench:
        given = {"model": str(model), "stride": 1, **parameters}
        overrides = [
            Parameter(name.replace("__", "."), value=value) for name, value in given.items()
        ]
        made.append(Bench(Recognizer(parameter_overrides=overrides)))
        return made[-1]

    yield make
    for bench in made:
        bench.close()
