"""Start the recognizer, the segmenter, or both; if asked for, with a recording and RViz.

ros2 launch fourd_perception recognizer.launch.py model:=<file> points:=/camera/points
ros2 launch fourd_perception recognizer.launch.py model:=<file> bag:=<recording> rviz:=true
ros2 launch fourd_perception recognizer.launch.py model:=<file> segmentation:=true \
    segmenter_model:=<file>
"""

from __future__ import annotations

import os
from pathlib import Path

from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    ExecuteProcess,
    OpaqueFunction,
    RegisterEventHandler,
    SetEnvironmentVariable,
)
from launch.event_handlers import OnProcessStart
from launch.events import matches_action
from launch_ros.actions import LifecycleNode, Node
from launch_ros.event_handlers import OnStateTransition
from launch_ros.events.lifecycle import ChangeState
from lifecycle_msgs.msg import Transition

from launch import LaunchContext, LaunchDescription

CONFIG = Path(__file__).resolve().parent.parent / "config"
PROFILE_VARIABLES = ("FASTRTPS_DEFAULT_PROFILES_FILE", "FASTDDS_DEFAULT_PROFILES_FILE")
YES_OR_NO = ["true", "false"]
RESPAWN_DELAY = 0.2


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params_file",
                default_value=str(CONFIG / "recognizer.yaml"),
                description="the recognizer's parameters",
            ),
            DeclareLaunchArgument(
                "model",
                default_value="",
                description="the recognizer's checkpoint; empty: what params_file says",
            ),
            DeclareLaunchArgument(
                "recognition",
                default_value="true",
                choices=YES_OR_NO,
                description="start the recognizer",
            ),
            DeclareLaunchArgument(
                "segmentation",
                default_value="false",
                choices=YES_OR_NO,
                description="start the segmenter",
            ),
            DeclareLaunchArgument(
                "segmenter_params_file",
                default_value=str(CONFIG / "segmenter.yaml"),
                description="the segmenter's parameters",
            ),
            DeclareLaunchArgument(
                "segmenter_model",
                default_value="",
                description="the segmenter's checkpoint for points; empty: what "
                "segmenter_params_file says",
            ),
            DeclareLaunchArgument(
                "segmenter_action_model",
                default_value="",
                description="the segmenter's checkpoint for frames; empty: what "
                "segmenter_params_file says",
            ),
            DeclareLaunchArgument(
                "points", default_value="points", description="topic of the camera's PointCloud2"
            ),
            DeclareLaunchArgument(
                "image", default_value="image", description="topic of the camera's colour Image"
            ),
            DeclareLaunchArgument(
                "namespace", default_value="", description="namespace of the nodes"
            ),
            DeclareLaunchArgument(
                "use_sim_time",
                default_value="false",
                choices=YES_OR_NO,
                description="take the time from /clock; a bag implies it",
            ),
            DeclareLaunchArgument(
                "log_level",
                default_value="info",
                choices=["debug", "info", "warn", "error", "fatal"],
                description="least level of what the nodes log",
            ),
            DeclareLaunchArgument(
                "bag",
                default_value="",
                description="a recording to play once the nodes are active; empty: none",
            ),
            DeclareLaunchArgument(
                "video_text_model",
                default_value="",
                description="the folder of the X-CLIP that the model was aligned with; empty: none",
            ),
            DeclareLaunchArgument(
                "depth",
                default_value="",
                description="depth images to be taken in place of clouds; empty: clouds",
            ),
            DeclareLaunchArgument(
                "camera_info",
                default_value="",
                description="of the depth images; empty: the one beside them",
            ),
            DeclareLaunchArgument(
                "image_transport",
                default_value="",
                choices=["", "raw", "compressed"],
                description="how colour images come; empty: what the params files say",
            ),
            DeclareLaunchArgument(
                "depth_image_transport",
                default_value="",
                choices=["", "raw", "compressedDepth"],
                description="how depth images come; empty: what the params files say",
            ),
            DeclareLaunchArgument(
                "rviz", default_value="false", choices=YES_OR_NO, description="show it in RViz"
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                choices=YES_OR_NO,
                description="configure and activate the nodes; false leaves it to a manager",
            ),
            DeclareLaunchArgument(
                "respawn",
                default_value="false",
                choices=YES_OR_NO,
                description="start a node again that has ended; not with a bag",
            ),
            DeclareLaunchArgument(
                "fastdds_profile",
                default_value=str(CONFIG / "fastdds.xml"),
                description="Fast DDS profile, unless the environment names one; large clouds are "
                "lost without; empty: none",
            ),
            OpaqueFunction(function=start),
        ]
    )


def start(context: LaunchContext) -> list:
    """The actions for the arguments' values."""
    given = context.launch_configurations
    bag, profile = given["bag"], given["fastdds_profile"]
    autostart, respawn = given["autostart"] == "true", given["respawn"] == "true"
    if respawn and bag:
        raise RuntimeError("respawn, bag: a recording is not played again for a node that ended")
    time = {"use_sim_time": given["use_sim_time"] == "true" or bool(bag)}
    depth, camera_info = given["depth"], given["camera_info"]
    remappings = [("points", given["points"]), ("image", given["image"])]
    if depth:
        beside = depth.rpartition("/")[0] + "/camera_info"
        remappings += [("depth", depth), ("camera_info", camera_info or beside)]

    transports = {
        "image_transport": given["image_transport"],
        "depth_image_transport": given["depth_image_transport"],
    }

    def node(name: str, params_file: str, *, models: dict, **others: bool) -> LifecycleNode:
        # Launch drives the nodes, or nobody: a file is not to make a node drive itself as well. But
        # one that is started again does: what launch asks of it, its dead predecessor would get,
        # whom DDS believes to be alive for some seconds more.
        told = {key: value for key, value in (models | transports).items() if value}
        overrides = time | {"autostart": autostart and respawn} | told | others
        overrides |= {"use_depth": True} if depth else {}
        return LifecycleNode(
            package="fourd_perception",
            executable=name,
            name=name,
            namespace=given["namespace"],
            parameters=[params_file, overrides],
            remappings=remappings,
            ros_arguments=["--log-level", given["log_level"]],
            output="screen",
            respawn=respawn,
            respawn_delay=RESPAWN_DELAY,
        )

    nodes = []
    if given["recognition"] == "true":
        models = {"model": given["model"], "video_text_model": given["video_text_model"]}
        sees = {"use_image": True} if given["video_text_model"] else {}
        nodes.append(node("recognizer", given["params_file"], models=models, **sees))
    if given["segmentation"] == "true":
        models = {
            "model": given["segmenter_model"],
            "action_model": given["segmenter_action_model"],
        }
        drawn = {"markers": True} if given["rviz"] == "true" else {}
        nodes.append(node("segmenter", given["segmenter_params_file"], models=models, **drawn))
    if not nodes:
        raise RuntimeError("recognition, segmentation: nothing to start; set one of them to true")
    play = ExecuteProcess(cmd=["ros2", "bag", "play", bag, "--clock"], output="screen")
    actions: list = []
    if profile and not any(os.environ.get(name) for name in PROFILE_VARIABLES):
        actions += [SetEnvironmentVariable(name, profile) for name in PROFILE_VARIABLES]
    if autostart and not respawn:
        actions += drive(nodes, once_active=[play] if bag else [])
    actions += nodes
    if bag and not autostart:
        actions.append(play)
    if given["rviz"] == "true":
        actions.append(
            Node(
                package="rviz2",
                executable="rviz2",
                namespace=given["namespace"],
                arguments=["-d", str(CONFIG / "recognizer.rviz")],
                parameters=[time],
                remappings=remappings,
            )
        )
    return actions


def drive(nodes: list[LifecycleNode], once_active: list) -> list:
    """Configure each node when it runs, then activate it; start the rest when all are active."""
    waiting = set(range(len(nodes)))

    def is_active(_: LaunchContext, number: int) -> list:
        was_last = waiting == {number}
        waiting.discard(number)
        return once_active if was_last else []

    handlers = []
    for number, node in enumerate(nodes):
        configure, activate = (
            EmitEvent(
                event=ChangeState(
                    lifecycle_node_matcher=matches_action(node), transition_id=transition
                )
            )
            for transition in (Transition.TRANSITION_CONFIGURE, Transition.TRANSITION_ACTIVATE)
        )
        handlers += [
            OnProcessStart(target_action=node, on_start=[configure]),
            OnStateTransition(
                target_lifecycle_node=node,
                start_state="configuring",
                goal_state="inactive",
                entities=[activate],
            ),
        ]
        if once_active:
            handlers.append(
                OnStateTransition(
                    target_lifecycle_node=node,
                    start_state="activating",
                    goal_state="active",
                    entities=[OpaqueFunction(function=is_active, args=[number])],
                )
            )
    return [RegisterEventHandler(handler) for handler in handlers]
