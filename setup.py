"""Builds the package with colcon (ament_python) and with pip alike."""

from pathlib import Path

from setuptools import find_packages, setup

NAME = "fourd_perception"
HERE = Path(__file__).parent
INSTALLED = {".py", ".yaml", ".xml", ".rviz", ".json", ".safetensors"}


def shared(*folders: str) -> list[tuple[str, list[str]]]:
    """Files of `folders`, at any depth, for share/fourd_perception, with their folders kept."""
    found: dict[str, list[str]] = {}
    for folder in folders:
        for path in sorted((HERE / folder).rglob("*")):
            if path.is_file() and path.suffix in INSTALLED:
                relative = path.relative_to(HERE)
                found.setdefault(f"share/{NAME}/{relative.parent}", []).append(str(relative))
    return list(found.items())


setup(
    name=NAME,
    version="0.1.0",
    description="A robot understands point-cloud video: actions and segmentation, for ROS 2",
    license="Apache-2.0",
    maintainer="The fourd_perception maintainers",
    maintainer_email="maintainers@fourd-perception.invalid",
    python_requires=">=3.10",
    packages=find_packages(include=[NAME, f"{NAME}.*"]),
    package_data={NAME: ["*/*.html", "*/*.j2"]},
    data_files=[
        ("share/ament_index/resource_index/packages", [f"resource/{NAME}"]),
        (f"share/{NAME}", ["package.xml"]),
        *shared("launch", "config", "models"),
    ],
    install_requires=[
        "jinja2",
        "matplotlib",
        "numba",
        "numpy>=1.26",
        "pillow",
        "pyyaml",
        "rosbags>=0.10",
        "safetensors",
        "scipy",
        "torch>=2.1",
        "tqdm",
    ],
    extras_require={
        "cluster": ["distributed"],
        "mcap": ["mcap"],
        "studio": ["mujoco>=3.5"],
        "training": ["av", "h5py", "tensorboard"],
        "vlm": ["transformers>=4.50"],
    },
    entry_points={
        "console_scripts": [
            f"recognizer = {NAME}.nodes.recognizer:main",
            f"segmenter = {NAME}.nodes.segmenter:main",
            f"play_bag = {NAME}.nodes.play_bag:main",
            f"demo = {NAME}.nodes.demo:main",
            f"make_bag = {NAME}.tools.make_bag:main",
            f"evaluate_bag = {NAME}.nodes.evaluate_bag:main",
            f"checkpoint = {NAME}.tools.checkpoint:main",
        ],
    },
    zip_safe=True,
)
