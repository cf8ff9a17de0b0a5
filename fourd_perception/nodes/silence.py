"""Why a subscription gets nothing, and what to do about it."""

from __future__ import annotations

from rclpy.node import Node
from rclpy.qos import QoSCompatibility, qos_check_compatible
from rclpy.subscription import Subscription

_SHOWN = 4
_TRANSPORTS = {"compressed": "image_transport", "compressedDepth": "depth_image_transport"}
"""Of images, and which parameter sets them."""


def type_name(subscription: Subscription) -> str:
    """'sensor_msgs/msg/PointCloud2', as the graph names it."""
    kind = subscription.msg_type
    return f"{kind.__module__.partition('.')[0]}/msg/{kind.__name__}"


def why_silent(node: Node, subscription: Subscription) -> str:
    """One line on the likeliest cause, from what the graph shows now, and the remedy."""
    topic, wanted = subscription.topic_name, type_name(subscription)
    publishers = node.get_publishers_info_by_topic(topic)
    for publisher in publishers:
        if publisher.topic_type != wanted:
            return f"it carries {publisher.topic_type}, expected {wanted}: remap another topic"
    unfit = misfit(node, subscription)
    if unfit is not None:
        return f"the QoS of {unfit}: {qos_remedy(topic)}"
    if publishers:
        return (
            f"{publishers[0].node_name} is there but nothing of it arrives: is it running? "
            "Messages over 0.5 MB need config/fastdds.xml on both sides"
        )
    advice = _other_transport(node, topic)
    if advice is not None:
        return f"nobody publishes it, but {advice}"
    others = [
        name
        for name, types in node.get_topic_names_and_types()
        if wanted in types and name != topic and _published_by_others(node, name)
    ]
    if not others:
        return f"nobody publishes it, nor any other {wanted}: start the camera"
    more = f" and {len(others) - _SHOWN} more" if len(others) > _SHOWN else ""
    return (
        f"nobody publishes it; {wanted} is on {', '.join(others[:_SHOWN])}{more}: "
        "remap to one of them"
    )


def misfit(node: Node, subscription: Subscription) -> str | None:
    """A publisher whose QoS the subscription cannot hear, and why; None if there is none."""
    for publisher in node.get_publishers_info_by_topic(subscription.topic_name):
        fit, reason = qos_check_compatible(publisher.qos_profile, subscription.qos_profile)
        if fit == QoSCompatibility.ERROR:
            return f"{publisher.node_name} does not fit ({reason.strip()})"
    return None


def _other_transport(node: Node, topic: str) -> str | None:
    """That the same images come in another transport than the one that is waited for."""
    for transport, parameter in _TRANSPORTS.items():
        plain = topic.removesuffix(f"/{transport}")
        if plain != topic and _published_by_others(node, plain):
            return f"{plain} is there: set {parameter} to raw"
        below = f"{topic}/{transport}"
        if _published_by_others(node, below):
            return f"{below} is there: set {parameter} to {transport}"
    return None


def _published_by_others(node: Node, topic: str) -> bool:
    """Whether some other node publishes it; this one's own clouds are no input."""
    own = node.get_name(), node.get_namespace()
    publishers = node.get_publishers_info_by_topic(topic)
    return any((one.node_name, one.node_namespace) != own for one in publishers)


def qos_remedy(topic: str) -> str:
    """How to make a subscription fit every publisher."""
    return (
        f"set qos_overrides.{topic}.subscription.reliability to best_effort and "
        f"qos_overrides.{topic}.subscription.durability to volatile, which fit every publisher"
    )
