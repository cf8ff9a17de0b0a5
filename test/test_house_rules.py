"""What CONTRIBUTING.md asks for and a machine can see, seen in the syntax trees.

A rule takes a file and gives (line, what is wrong). Each is tried on a text that breaks it, so that
a rule that sees nothing is seen.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = "fourd_perception"
LONGEST_FILE = 400

ROS = {
    "action_msgs", "ament_index_python", "builtin_interfaces", "cv_bridge", "diagnostic_msgs",
    "geometry_msgs", "launch", "launch_ros", "lifecycle_msgs", "message_filters", "rcl_interfaces",
    "rclpy", "rosgraph_msgs", "sensor_msgs", "sensor_msgs_py", "std_msgs", "std_srvs", "tf2_msgs",
    "tf2_ros", "vision_msgs", "visualization_msgs",
}  # fmt: skip

# Which rooms a room may import, besides itself and those that all may.
_ALL_MAY = {"errors", "parameters", "whole_file"}
MAY_IMPORT = {
    "ops": "",
    "stream": "",
    "looking": "stream",
    "preprocess": "stream",
    "models": "ops",
    "weights_file": "",
    "checkpoint": "models preprocess stream weights_file",
    "closer_look": "checkpoint looking ops preprocess",
    "answers": "stream",
    "vocabulary": "checkpoint models",
    "image_pipeline": "checkpoint models preprocess stream vocabulary",
    "pipeline_config": "",
    "pipeline": "answers checkpoint closer_look image_pipeline models pipeline_config preprocess "
    "stream vocabulary",
    "people_pipeline": "answers checkpoint models pipeline preprocess stream vocabulary",
    "messages": "answers looking pipeline stream",
    "recordings": "messages stream",
    "studio": "recordings stream",
    "evaluation": "checkpoint image_pipeline looking messages pipeline preprocess recordings "
    "stream vocabulary worker_process",
    "tools": "checkpoint evaluation image_pipeline looking messages models pipeline preprocess "
    "recordings stream studio",
    "nodes": "answers checkpoint evaluation image_pipeline looking messages models people_pipeline "
    "pipeline preprocess recordings stream studio tools vocabulary",
    "whole_file": "",
    "worker_process": "",
    "parameters": "",
    "errors": "",
}

Problem = tuple[int, str]


@dataclass(frozen=True)
class Source:
    """A Python file of the checkout; `path` is relative to it."""

    path: Path
    text: str

    @property
    def tree(self) -> ast.Module:
        """Its syntax tree."""
        return ast.parse(self.text, str(self.path))

    @property
    def room(self) -> str:
        """'ops' of fourd_perception/ops/ball_query.py, 'errors' of fourd_perception/errors.py."""
        return self.path.parts[1].removesuffix(".py")

    def imports(self) -> Iterator[tuple[int, str]]:
        """(line, module) of every import, wherever it stands; relative ones with their dots."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Import):
                yield from ((node.lineno, alias.name) for alias in node.names)
            elif isinstance(node, ast.ImportFrom):
                module = "." * node.level + (node.module or "")
                if module == PACKAGE:
                    yield from ((node.lineno, f"{PACKAGE}.{alias.name}") for alias in node.names)
                else:
                    yield node.lineno, module

    def calls(self) -> Iterator[tuple[ast.Call, str]]:
        """Every call, with the dotted name of what is called."""
        for node in ast.walk(self.tree):
            if isinstance(node, ast.Call):
                yield node, ast.unparse(node.func)


def keyword(call: ast.Call, name: str) -> ast.expr | None:
    """The value of a keyword argument."""
    return next((one.value for one in call.keywords if one.arg == name), None)


def is_constant(value: ast.expr | None, wanted: object) -> bool:
    """Whether the expression is this very constant."""
    return isinstance(value, ast.Constant) and value.value is wanted


def is_text(value: ast.expr | None) -> bool:
    """Whether the expression is a text with something in it."""
    if isinstance(value, ast.JoinedStr):
        return bool(value.values)
    return isinstance(value, ast.Constant) and isinstance(value.value, str) and bool(value.value)


def ros_stays_in_nodes(source: Source) -> Iterator[Problem]:
    """The core runs and is tested without ROS."""
    if source.room == "nodes" or source.path == Path(PACKAGE, "messages", "results.py"):
        return
    for line, module in source.imports():
        if module.split(".")[0] in ROS:
            yield line, f"imports {module}; ROS belongs in nodes/"


def imports_go_one_way(source: Source) -> Iterator[Problem]:
    """As the table above says; nothing that is installed imports what is not."""
    allowed = {source.room, *_ALL_MAY, *MAY_IMPORT.get(source.room, "").split()}
    for line, module in source.imports():
        top, _, rest = module.partition(".")
        if module.startswith("."):
            yield line, f"relative import of {module}; write the whole name"
        elif top in {"training", "benchmarks", "test"}:
            yield line, f"imports {module}, which is not installed"
        elif top == PACKAGE and source.room != "__init__":
            room = rest.split(".")[0]
            if room and room not in allowed and room != "__version__":
                yield line, f"{source.room} imports {module}"


def nothing_dangerous(source: Source) -> Iterator[Problem]:
    """No code is run that comes from a file or an argument."""
    for line, module in source.imports():
        if module.split(".")[0] in {"cloudpickle", "dill", "joblib", "marshal", "shelve"}:
            yield line, f"imports {module}: its files can run code"
    for call, name in source.calls():
        if name.startswith("pickle."):  # that alone, so that pickle.UnpicklingError can be caught
            yield call.lineno, f"calls {name}: its files can run code"
        elif name in {"__import__", "compile", "eval", "exec", "os.system", "os.popen"}:
            yield call.lineno, f"calls {name}"
        elif name in {"yaml.load", "yaml.full_load", "yaml.unsafe_load", "yaml.load_all"}:
            yield call.lineno, f"calls {name}; yaml.safe_load"
        elif name == "torch.load" and not is_constant(keyword(call, "weights_only"), True):
            yield call.lineno, "torch.load without weights_only=True"
        elif keyword(call, "allow_pickle") and not is_constant(
            keyword(call, "allow_pickle"), False
        ):
            yield call.lineno, f"{name} with allow_pickle"
        elif keyword(call, "shell") and not is_constant(keyword(call, "shell"), False):
            yield call.lineno, f"{name} with shell"


def nothing_from_the_network(source: Source) -> Iterator[Problem]:
    """A robot works where there is no network; nothing is fetched, and nobody is told anything."""
    for line, module in source.imports():
        if module.split(".")[0] in {
            "aiohttp", "ftplib", "http", "httpx", "huggingface_hub", "requests", "smtplib",
            "socket", "urllib", "urllib3", "xmlrpc",
        }:  # fmt: skip
            yield line, f"imports {module}"
    for call, name in source.calls():
        last = name.split(".")[-1]
        if last == "from_pretrained" and not is_constant(keyword(call, "local_files_only"), True):
            yield call.lineno, f"{name} without local_files_only=True"
        elif last in {
            "load_state_dict_from_url",
            "snapshot_download",
            "hf_hub_download",
        } or name.startswith("torch.hub."):
            yield call.lineno, f"calls {name}"
        elif keyword(call, "trust_remote_code") is not None:
            yield call.lineno, f"{name} with trust_remote_code"


def yaml_is_plain(source: Source) -> Iterator[Problem]:
    """A loader of our own is a SafeLoader: it makes no objects."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.ClassDef):
            for base in map(ast.unparse, node.bases):
                if base.startswith("yaml.") and base not in {"yaml.SafeLoader", "yaml.CSafeLoader"}:
                    yield node.lineno, f"{node.name} is a {base}; yaml.SafeLoader"


def assert_only_narrows(source: Source) -> Iterator[Problem]:
    """`python -O` drops assertions: they may tell mypy what we know, and check nothing given."""
    for function in ast.walk(source.tree):
        if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Module)):
            continue
        arguments = set()
        if not isinstance(function, ast.Module):
            arguments = {argument.arg for argument in ast.walk(function.args)
                         if isinstance(argument, ast.arg)}  # fmt: skip
        for node in own_statements(function):
            if isinstance(node, ast.Assert):
                parts = node.test.values if isinstance(node.test, ast.BoolOp) else [node.test]
                if not all(is_narrowing(part, arguments) for part in parts):
                    yield node.lineno, "assert; raise an InputError or ValueError instead"


def own_statements(scope: ast.AST) -> Iterator[ast.AST]:
    """What stands in a function, without the functions in it."""
    for child in ast.iter_child_nodes(scope):
        if not isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
            yield child
            yield from own_statements(child)


def is_narrowing(test: ast.expr, arguments: set[str]) -> bool:
    """`x is not None` or `isinstance(x, ...)` of something that is not an argument."""
    subject: ast.expr | None = None
    if isinstance(test, ast.Compare) and isinstance(test.ops[0], ast.IsNot):
        subject = test.left
    elif isinstance(test, ast.Call) and ast.unparse(test.func) == "isinstance":
        subject = test.args[0]
    return subject is not None and ast.unparse(subject) not in arguments


def parameters_are_described(source: Source) -> Iterator[Problem]:
    """What `param` makes is shown by `ros2 param describe`, `--help` and the README."""
    for call, name in source.calls():
        if name.split(".")[-1] == "param":
            given = call.args[1] if len(call.args) > 1 else keyword(call, "description")
            if not is_text(given):
                yield call.lineno, "param without a description"


def no_drawer_for_everything(source: Source) -> Iterator[Problem]:
    """A module is named after what it does."""
    if source.path.stem.strip("_") in {"util", "utils", "helper", "helpers", "common", "misc"}:
        yield 1, f"{source.path.name}: name it after what it does"


def files_are_short(source: Source) -> Iterator[Problem]:
    """One purpose fits a few screens."""
    lines = source.text.count("\n")
    if lines >= LONGEST_FILE:
        yield lines, f"{lines} lines; fewer than {LONGEST_FILE}"


def shapes_are_said(source: Source) -> Iterator[Problem]:
    """Who calls an operation or a model must not have to read it to learn a shape."""
    if source.room not in {"ops", "models"}:
        return
    for node in source.tree.body:
        if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
            signature = f"{ast.unparse(node.args)} -> {node.returns and ast.unparse(node.returns)}"
            if re.search(r"\b(Tensor|NDArray|ndarray)\b", signature) and not has_shape(node):
                yield node.lineno, f"{node.name}: no shape in its docstring"
        elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            forward = [one for one in node.body if getattr(one, "name", "") == "forward"]
            if forward and not any(has_shape(one) for one in (node, *forward)):
                yield node.lineno, f"{node.name}: no shape in its or forward's docstring"


def has_shape(node: ast.AST) -> bool:
    """Whether its docstring has something like (B, N, 3) or (N,)."""
    if not isinstance(node, (ast.FunctionDef, ast.ClassDef)):
        return False
    shape = r"\((\.\.\.|[A-Z0-9][\w']*)[^()]*,[^()]*\)"
    return re.search(shape, ast.get_docstring(node) or "") is not None


def no_paths_of_one_machine(source: Source) -> Iterator[Problem]:
    """What is found only on its author's machine is not found."""
    for node in ast.walk(source.tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            found = re.search(r"(?<![\w.:/])/(?:home|root|work|Users|mnt)/\S*", node.value)
            if found:
                yield node.lineno, f"names {found[0]}"


def launch_arguments_are_seen(source: Source) -> Iterator[Problem]:
    """`ros2 launch --show-args` sees only what is declared before anything runs."""
    for function in ast.walk(source.tree):
        if isinstance(function, (ast.FunctionDef, ast.Lambda)):
            if getattr(function, "name", "") == "generate_launch_description":
                continue
            for call in ast.walk(function):
                if isinstance(call, ast.Call) and is_declaration(call):
                    yield call.lineno, "declared where --show-args does not look"
    for call, _ in source.calls():
        if is_declaration(call) and not is_text(keyword(call, "description")):
            yield call.lineno, f"no description: {ast.unparse(call.args[0])}"


def is_declaration(call: ast.Call) -> bool:
    """Whether it declares a launch argument."""
    return ast.unparse(call.func).split(".")[-1] == "DeclareLaunchArgument"


def launch_starts_nothing_itself(source: Source) -> Iterator[Problem]:
    """A launch file describes; it installs nothing and runs nothing while it is read."""
    for line, module in source.imports():
        if module.split(".")[0] in {"subprocess", "pip", "urllib", "requests"}:
            yield line, f"imports {module}"


EVERYWHERE = (nothing_dangerous, yaml_is_plain, no_drawer_for_everything, no_paths_of_one_machine)
IN_PACKAGE = (
    *EVERYWHERE,
    nothing_from_the_network,
    ros_stays_in_nodes,
    imports_go_one_way,
    assert_only_narrows,
    parameters_are_described,
    files_are_short,
    shapes_are_said,
)
IN_TRAINING = (*EVERYWHERE, parameters_are_described, files_are_short)
IN_LAUNCH = (*EVERYWHERE, launch_arguments_are_seen, launch_starts_nothing_itself)
RULES = {
    PACKAGE: IN_PACKAGE,
    "training": IN_TRAINING,
    "benchmarks": EVERYWHERE,
    "launch": IN_LAUNCH,
}

Rule = Callable[[Source], Iterator[Problem]]


def sources(folder: str) -> list[Source]:
    """The Python files of a folder of the checkout."""
    return [
        Source(path.relative_to(ROOT), path.read_text(encoding="utf-8"))
        for path in sorted((ROOT / folder).rglob("*.py"))
    ]


@pytest.mark.parametrize(
    ("folder", "rule"),
    [
        pytest.param(folder, rule, id=f"{folder}-{rule.__name__}")
        for folder, rules in RULES.items()
        for rule in rules
    ],
)
def test_the_house_keeps_its_rules(folder: str, rule: Rule) -> None:
    found = [f"{source.path}:{line}: {what}"
             for source in sources(folder) for line, what in rule(source)]  # fmt: skip
    assert not found, f"{rule.__doc__}\n" + "\n".join(found)


def test_there_is_something_to_look_at() -> None:
    assert len(sources(PACKAGE)) > 30
    assert {source.room for source in sources(PACKAGE)} - {"__init__"} == set(MAY_IMPORT)


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (ros_stays_in_nodes, "pipeline.py", "def f():\n    import rclpy.node"),
        (ros_stays_in_nodes, "messages/clouds.py", "from sensor_msgs.msg import PointCloud2"),
        (imports_go_one_way, "ops/a.py", "from fourd_perception.models import im_pstnet"),
        (imports_go_one_way, "ops/a.py", "from fourd_perception import models"),
        (imports_go_one_way, "models/a.py", "import fourd_perception.nodes.recognizer"),
        (imports_go_one_way, "evaluation/a.py", "from fourd_perception.nodes import demo"),
        (imports_go_one_way, "nodes/a.py", "from training import trainer"),
        (imports_go_one_way, "nodes/a.py", "from . import recognizer"),
        (nothing_dangerous, "a.py", "import dill"),
        (nothing_dangerous, "a.py", "import pickle\npickle.load(file)"),
        (nothing_dangerous, "a.py", "eval('1')"),
        (nothing_dangerous, "a.py", "exec(text)"),
        (nothing_dangerous, "a.py", "yaml.load(text, Loader=yaml.Loader)"),
        (nothing_dangerous, "a.py", "torch.load(path)"),
        (nothing_dangerous, "a.py", "torch.load(path, weights_only=False)"),
        (nothing_dangerous, "a.py", "np.load(path, allow_pickle=True)"),
        (nothing_dangerous, "a.py", "subprocess.run(line, shell=True)"),
        (nothing_dangerous, "a.py", "__import__(name)"),
        (yaml_is_plain, "a.py", "class A(yaml.FullLoader): ..."),
        (nothing_from_the_network, "a.py", "import urllib.request"),
        (nothing_from_the_network, "a.py", "def f():\n    from huggingface_hub import x"),
        (nothing_from_the_network, "a.py", "CLIPTokenizer.from_pretrained(path)"),
        (nothing_from_the_network, "a.py", "torch.hub.load('a/b', 'c')"),
        (nothing_from_the_network, "a.py", "f(path, trust_remote_code=True)"),
        (assert_only_narrows, "a.py", "def f(x):\n    assert x > 0"),
        (assert_only_narrows, "a.py", "def f(x):\n    assert x is not None"),
        (assert_only_narrows, "a.py", "def f(x):\n    if x:\n        assert isinstance(x, int)"),
        (parameters_are_described, "a.py", "x: int = param(3)"),
        (parameters_are_described, "a.py", "x: int = parameters.param(3, '')"),
        (no_drawer_for_everything, "models/utils.py", ""),
        (files_are_short, "a.py", "\n" * LONGEST_FILE),
        (
            shapes_are_said,
            "ops/a.py",
            "def f(x: Tensor) -> int:\n    '''Of points (all of them).'''",
        ),
        (shapes_are_said, "models/a.py", "class A(nn.Module):\n    def forward(self, x): ..."),
        (no_paths_of_one_machine, "a.py", "open('/home/me/data')"),
        (
            launch_arguments_are_seen,
            "a.launch.py",
            "def later(context):\n    DeclareLaunchArgument('x', description='y')",
        ),
        (
            launch_arguments_are_seen,
            "a.launch.py",
            "def generate_launch_description():\n    DeclareLaunchArgument('x')",
        ),
        (launch_starts_nothing_itself, "a.launch.py", "import subprocess"),
    ],
)
def test_a_rule_sees_what_breaks_it(rule: Rule, path: str, text: str) -> None:
    assert list(rule(Source(Path(PACKAGE) / path, text)))


@pytest.mark.parametrize(
    ("rule", "path", "text"),
    [
        (ros_stays_in_nodes, "nodes/a.py", "import rclpy"),
        (ros_stays_in_nodes, "messages/results.py", "from vision_msgs.msg import LabelInfo"),
        (imports_go_one_way, "models/a.py", "from fourd_perception.ops.ball_query import f"),
        (imports_go_one_way, "ops/a.py", "from fourd_perception.errors import InputError"),
        (nothing_dangerous, "a.py", "model.eval()\ntorch.load(path, weights_only=True)"),
        (yaml_is_plain, "a.py", "class A(yaml.SafeLoader): ..."),
        (nothing_from_the_network, "a.py", "A.from_pretrained(path, local_files_only=True)"),
        (assert_only_narrows, "a.py", "def f(self):\n    assert self.x is not None"),
        (parameters_are_described, "a.py", "x: int = param(3, 'frames in a clip')"),
        (shapes_are_said, "ops/a.py", "def f(x: Tensor) -> Tensor:\n    '''(B, N, 3) to (B,).'''"),
        (shapes_are_said, "ops/a.py", "def f() -> None:\n    '''No tensor.'''"),
        (no_paths_of_one_machine, "a.py", "'and/or', 'ros2://home/x', '/camera/points'"),
    ],
)
def test_a_rule_lets_pass_what_keeps_it(rule: Rule, path: str, text: str) -> None:
    assert not list(rule(Source(Path(PACKAGE) / path, text)))
