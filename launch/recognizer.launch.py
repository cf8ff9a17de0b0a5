"""Start the recognizer, and if asked for, a recording to feed it and RViz to see it.

ros2 launch fourd_perception recognizer.launch.py model:=<file> points:=/camera/points
ros2 launch fourd_perception recognizer.launch.py model:=<file> bag:=<recording> rviz:=true
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


def generate_launch_description() -> LaunchDescription:
    return LaunchDescription(
        [
            DeclareLaunchArgument(
                "params_file",
                default_value=str(CONFIG / "recognizer.yaml"),
                description="the node's parameters",
            ),
            DeclareLaunchArgument(
                "model",
                default_value="",
                description="the checkpoint; empty: what params_file says",
            ),
            DeclareLaunchArgument(
                "points", default_value="points", description="topic of the camera's PointCloud2"
            ),
            DeclareLaunchArgument(
                "image", default_value="image", description="topic of the camera's colour Image"
            ),
            DeclareLaunchArgument(
                "namespace", default_value="", description="namespace of the node"
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
                description="least level of what the node logs",
            ),
            DeclareLaunchArgument(
                "bag",
                default_value="",
                description="a recording to play once the node is active; empty: none",
            ),
            DeclareLaunchArgument(
                "rviz", default_value="false", choices=YES_OR_NO, description="show it in RViz"
            ),
            DeclareLaunchArgument(
                "autostart",
                default_value="true",
                choices=YES_OR_NO,
                description="configure and activate the node; false leaves it to a manager",
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
    bag, model, profile = given["bag"], given["model"], given["fastdds_profile"]
    autostart = given["autostart"] == "true"
    time = {"use_sim_time": given["use_sim_time"] == "true" or bool(bag)}
    # Launch drives the node, or nobody: params_file is not to make the node drive itself as well.
    overrides = time | {"autostart": False} | ({"model": model} if model else {})
    remappings = [("points", given["points"]), ("image", given["image"])]
    node = LifecycleNode(
        package="fourd_perception",
        executable="recognizer",
        name="recognizer",
        namespace=given["namespace"],
        parameters=[given["params_file"], overrides],
        remappings=remappings,
        ros_arguments=["--log-level", given["log_level"]],
        output="screen",
    )
    play = ExecuteProcess(cmd=["ros2", "bag", "play", bag, "--clock"], output="screen")
    actions: list = []
    if profile and not any(os.environ.get(name) for name in PROFILE_VARIABLES):
        actions += [SetEnvironmentVariable(name, profile) for name in PROFILE_VARIABLES]
    if autostart:
        actions += drive(node, once_active=[play] if bag else [])
    actions.append(node)
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


def drive(node: LifecycleNode, once_active: list) -> list:
    """Configure the node when it runs, activate it when that is done, then start the rest."""

    def change(transition: int) -> EmitEvent:
        return EmitEvent(
            event=ChangeState(lifecycle_node_matcher=matches_action(node), transition_id=transition)
        )

    handlers = [
        OnProcessStart(target_action=node, on_start=[change(Transition.TRANSITION_CONFIGURE)]),
        OnStateTransition(
            target_lifecycle_node=node,
            start_state="configuring",
            goal_state="inactive",
            entities=[change(Transition.TRANSITION_ACTIVATE)],
        ),
    ]
    if once_active:
        handlers.append(
            OnStateTransition(
                target_lifecycle_node=node,
                start_state="activating",
                goal_state="active",
                entities=once_active,
            )
        )
    return [RegisterEventHandler(handler) for handler in handlers]
