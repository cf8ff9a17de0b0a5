"""config/sros2_policy.xml says what the nodes really do, neither less nor more."""

from __future__ import annotations

import importlib.util
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
import small_model
from rclpy.parameter import Parameter

from fourd_perception.models.fusion import SOURCES
from fourd_perception.nodes.recognizer import Recognizer
from fourd_perception.nodes.segmenter import Segmenter

pytestmark = pytest.mark.usefixtures("ros")

POLICY = Path(__file__).resolve().parents[2] / "config" / "sros2_policy.xml"
NOT_EVERYWHERE = {"get_type_description"}
"""Services that distributions before Jazzy do not have."""


def allowed(node: str) -> dict[str, set[str]]:
    """Full names by what the policy lets the node do with them: publish, subscribe, reply."""
    (profile,) = ElementTree.parse(POLICY).findall(f".//enclave[@path='/{node}']/profiles/profile")
    assert profile.attrib == {"ns": "/", "node": node}
    found: dict[str, set[str]] = {}
    for rule in profile:
        ((verb, permission),) = rule.attrib.items()
        assert permission == "ALLOW"
        names = {(one.text or "").replace("~", f"/{node}") for one in rule}
        found.setdefault(verb, set()).update("/" + name.lstrip("/") for name in names)
    return found


def done(kind, parameters) -> dict[str, set[str]]:
    """What a node that is active has in the graph, under the names of `allowed`."""
    node = kind(
        parameter_overrides=[Parameter(name, value=one) for name, one in parameters.items()]
    )
    try:
        assert node.start()
        who = node.get_name(), node.get_namespace()
        assert not node.get_client_names_and_types_by_node(*who)
        graph = {
            "publish": node.get_publisher_names_and_types_by_node(*who),
            "subscribe": node.get_subscriber_names_and_types_by_node(*who),
            "reply": node.get_service_names_and_types_by_node(*who),
        }
        return {verb: {name for name, _ in one} for verb, one in graph.items()}
    finally:
        node.trigger_shutdown()
        node.destroy_node()


def together(*some: dict[str, set[str]]) -> dict[str, set[str]]:
    return {verb: set().union(*(one[verb] for one in some)) for verb in some[0]}


def looking(kind, name, models) -> dict[str, set[str]]:
    """Of a node that looks into a box of a tf frame; without tf2_msgs, the transforms by name."""
    box = {"crop_box": [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]}
    if importlib.util.find_spec("tf2_msgs"):
        return done(kind, {**models, **box, "crop_frame": "base"})
    found = done(kind, {**models, **box})
    return {**found, "subscribe": found["subscribe"] | {"/tf", "/tf_static"}}


@pytest.mark.parametrize("name", ["recognizer", "segmenter"])
def test_the_policy_allows_what_the_node_does_and_nothing_else(name, tmp_path):
    if name == "recognizer":
        models = {"model": str(small_model.save(tmp_path / "a.safetensors"))}
        kind, others = Recognizer, {f"/recognizer/scores/{source}" for source in SOURCES}
    else:
        models = {
            "model": str(small_model.save_segmenter(tmp_path / "a.safetensors")),
            "action_model": str(small_model.save_frame_model(tmp_path / "b.safetensors")),
        }
        kind, others = Segmenter, set()
    clouds = done(kind, {**models, "use_image": True, "use_sim_time": True})
    depth = done(kind, {**models, "use_depth": True})
    small = {"depth_image_transport": "compressedDepth", "image_transport": "compressed"}
    compressed = done(kind, {**models, "use_depth": True, "use_image": True, **small})
    found = together(clouds, depth, compressed, looking(kind, name, models))
    if name == "recognizer":
        found = together(found, done(kind, {**models, "person": "nearest", "people": 2}))
    found["publish"] |= others  # of a model that is aligned with texts
    policy = allowed(name)
    missing = {f"/{name}/{service}" for service in NOT_EVERYWHERE} - found["reply"]
    assert {**policy, "reply": policy["reply"] - missing} == found


def test_sros2_reads_it():
    policy = pytest.importorskip("sros2.policy")
    etree = pytest.importorskip("lxml.etree")
    try:
        loaded = policy.load_policy(POLICY)  # against sros2's own schema
    except etree.XMLSchemaParseError as error:  # it takes a part of it from w3.org
        pytest.skip(f"sros2's schema cannot be read here: {error}")
    template = policy.get_transport_template("dds", "permissions.xsl")
    permissions = etree.XSLT(etree.parse(str(template)))(loaded)
    topics = {one.text for one in permissions.iter("topic")}
    assert {"rt/points", "rt/recognizer/action", "rt/clock"} <= topics
    assert "rr/segmenter/get_stateReply" in topics
