"""What every perception node is: parameters, lifecycle, input, workers, diagnostics.

The executor's thread receives: it checks a message, pairs it, puts it into the sliding window of
each of the node's models, and leaves a complete window in a mailbox of one. The model's worker, a
thread, infers and publishes. So a slow model skips windows and never holds up the input. The node
must be spun by a single-threaded executor: then lifecycle transitions and messages do not run at
the same time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Generic, Protocol, TypeVar

from rclpy.clock import Clock, ClockType
from rclpy.lifecycle import LifecycleNode, LifecycleState, TransitionCallbackReturn
from rclpy.publisher import Publisher
from rclpy.qos import DurabilityPolicy, QoSProfile
from vision_msgs.msg import LabelInfo

from fourd_perception.checkpoint import ModelCard
from fourd_perception.errors import InputError
from fourd_perception.nodes.debug_times import DebugTimes
from fourd_perception.nodes.diagnostics import Diagnostics
from fourd_perception.nodes.faults import Faults
from fourd_perception.nodes.health import Health
from fourd_perception.nodes.inputs import SensorInput
from fourd_perception.nodes.looking import Looker
from fourd_perception.nodes.mailbox import NewestWins
from fourd_perception.nodes.memory import give_back, is_out_of_memory
from fourd_perception.nodes.node_parameters import NodeParameters
from fourd_perception.nodes.ros_parameters import RosParameters
from fourd_perception.stream.frame import SECOND, Frame
from fourd_perception.stream.window import Clip, SlidingWindow

_LATCHED = QoSProfile(depth=1, durability=DurabilityPolicy.TRANSIENT_LOCAL)
_REPORT_PERIOD = 1.0


class Result(Protocol):
    """What the node needs of an answer: the stamp it speaks of, and how long it took."""

    @property
    def stamp(self) -> int:
        """Nanoseconds, the window's newest frame."""

    @property
    def processing_ms(self) -> float:
        """From the clip to the answer."""


class Pipeline(Protocol):
    """What the node needs of a pipeline besides its verb, which the subclass calls."""

    card: ModelCard
    window: SlidingWindow

    def offer(self, frame: Frame) -> Clip | None:
        """Put a frame into the window; a clip comes back if it completes one."""

    def warm_up(self) -> float:
        """Run the model once; milliseconds it took."""

    def forget(self) -> None:
        """Drop what was kept of windows for those to come; their answers stay the same."""


Parameters = TypeVar("Parameters", bound=NodeParameters)
PipelineType = TypeVar("PipelineType", bound=Pipeline)
ResultType = TypeVar("ResultType", bound=Result)


class _Lane(Generic[PipelineType]):
    """One of the node's pipelines, its class table if it has one of its own, and its worker while
    the node is active."""

    def __init__(
        self, pipeline: PipelineType, label_info: Publisher | None, times: DebugTimes | None
    ) -> None:
        self.pipeline = pipeline
        self.label_info = label_info
        self.times = times
        self.worker: NewestWins[tuple[Clip, float]] | None = None
        self.resets_seen = 0
        self.reset_told = False
        self.filling_told = False

    def start(self, work: Callable[[tuple[Clip, float]], None]) -> None:
        """An empty window, and a worker."""
        self.pipeline.window.clear()
        self.reset_told = self.filling_told = False
        if self.times is not None:
            self.times.restart()
        self.worker = NewestWins(work, "inference")

    def stop(self, timeout: float | None = None) -> bool:
        """Let the window in work end; False if it is still busy after `timeout` s."""
        worker, self.worker = self.worker, None
        return worker is None or worker.stop(timeout)


class PerceptionNode(LifecycleNode, Generic[Parameters, PipelineType, ResultType]):
    """A lifecycle node around pipelines: class tables, /diagnostics, and what a subclass adds."""

    def __init__(self, name: str, parameters_class: type[Parameters], **node_options: Any) -> None:
        """Raises ConfigError on a parameter that is refused."""
        super().__init__(name, automatically_declare_parameters_from_overrides=True, **node_options)
        self._state = "unconfigured"
        self._lanes: list[_Lane[PipelineType]] = []
        self._input: SensorInput | None = None
        self._looker: Looker | None = None
        self.parameters: RosParameters[Parameters] = RosParameters(
            self, parameters_class, self._changed, self._refuse
        )
        self._start_counting()
        self._diagnostics = Diagnostics(self)
        # Steady time: health is due under a paused simulation as well.
        self.create_timer(
            _REPORT_PERIOD, self._report, clock=Clock(clock_type=ClockType.STEADY_TIME)
        )

    # What a subclass gives.

    def _load(self, parameters: Parameters) -> Sequence[PipelineType]:
        """The pipelines, their models loaded; one at least.

        Raises InputError if the parameters do not allow it.
        """
        raise NotImplementedError

    def _label_topic(self, pipeline: PipelineType) -> str | None:
        """Where the class table goes, each pipeline's to its own; None: it has none to publish."""
        return "~/label_info"

    def _labels(self, pipeline: PipelineType, parameters: Parameters, stamp: int) -> LabelInfo:
        """The classes that the results speak of, as known at `stamp`."""
        raise NotImplementedError

    def _create_outputs(self) -> None:
        """Create the lifecycle publishers."""
        raise NotImplementedError

    def _destroy_outputs(self) -> None:
        """Destroy them, if they were created."""
        raise NotImplementedError

    def _wanted(self, pipeline: PipelineType) -> bool:
        """Whether anybody subscribes to a pipeline's result."""
        raise NotImplementedError

    def _infer(self, pipeline: PipelineType, clip: Clip) -> ResultType | None:
        """The pipeline's verb; None if it has nothing to say. Runs in the worker's thread."""
        raise NotImplementedError

    def _publish(self, pipeline: PipelineType, result: ResultType) -> bool:
        """Translate and publish; whether it was an answer. Runs in the worker's thread."""
        raise NotImplementedError

    def _refuse(self, parameters: Parameters) -> None:
        """Raises InputError where a change of parameters cannot be taken as things are."""

    def _changed(self) -> None:
        """A parameter has changed."""
        self._publish_label_info()

    def _values(self) -> dict[str, str]:
        """What a report on health says besides what all nodes say."""
        return {}

    # Lifecycle, in the executor's thread.

    def start(self) -> bool:
        """Configure and activate; False where one of them was refused (the log says why)."""
        success = TransitionCallbackReturn.SUCCESS
        return self.trigger_configure() == success and self.trigger_activate() == success

    def on_configure(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Load the models, run each once, and create the interfaces.

        FAILURE: the parameters do not allow it, the node stays unconfigured. ERROR: a defect.
        They are run here so that a model that cannot run fails early, and whoever sees the
        subscription can rely on a node that is about to listen.
        """
        return self._transition("configure", self._configure, "inactive")

    def on_activate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Warm up, so that the first answer is as fast as the hundredth, and accept messages."""
        super().on_activate(state)
        return self._transition("activate", self._activate, "active")

    def on_deactivate(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Accept no more messages, and let the window in work end."""
        done = self._transition("deactivate", self._deactivate, "inactive")
        super().on_deactivate(state)
        return done

    def on_cleanup(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free the model and the interfaces."""
        return self._transition("cleanup", self._release, "unconfigured")

    def on_shutdown(self, state: LifecycleState) -> TransitionCallbackReturn:
        """Free everything, from whichever state."""
        return self._transition("shutdown", self._release, "finalized")

    def on_error(self, state: LifecycleState) -> TransitionCallbackReturn:
        """After a defect in a transition: free everything, and be configurable again."""
        return self._transition("recover", self._release, "unconfigured")

    def close(self, timeout: float) -> bool:
        """Stop the workers before the process ends; False if one is busy for `timeout` s more."""
        if self._input is not None:
            self._input.listening = False
        end = time.monotonic() + timeout
        stopped = [lane.stop(max(0.0, end - time.monotonic())) for lane in self._lanes]
        return all(stopped)

    def destroy_node(self) -> None:
        """As rclpy's, and leave DDS.

        rclpy leaves the life cycle's state machine alone, which holds the node, so that its shared
        memory (64 MiB with config/fastdds.xml) would stay for as long as the machine runs.
        """
        super().destroy_node()
        machine = getattr(self, "_state_machine", None)
        if machine is not None:
            machine.destroy_when_not_in_use()

    def _transition(
        self, name: str, step: Callable[[], None], reached: str
    ) -> TransitionCallbackReturn:
        try:
            step()
        except InputError as error:
            self.get_logger().error(f"{name}: {error}")
            return TransitionCallbackReturn.FAILURE
        except Exception as error:  # noqa: BLE001 - rclpy would go to error processing in silence
            self._faults.tell(f"{name} failed", error)
            return TransitionCallbackReturn.ERROR
        self._state = reached
        return TransitionCallbackReturn.SUCCESS

    def _configure(self) -> None:
        self._start_counting()
        try:
            self._create(self.parameters.value)
        except InputError:
            self._release()
            raise
        self.parameters.locked = True

    def _create(self, parameters: Parameters) -> None:
        self.parameters.refuse_unknown(besides="qos_overrides.")
        pipelines = self._load(parameters)
        for pipeline in pipelines:
            pipeline.warm_up()
        self._create_outputs()
        self._lanes = [self._create_lane(one) for one in pipelines]
        self._publish_label_info()
        deliver = self._take
        if parameters.looks:
            self._looker = Looker(self, parameters, self._health, self._take)
            deliver = self._looker.take
        self._input = SensorInput(self, parameters, self._health, deliver)
        self.parameters.refuse_unknown()
        for pipeline in pipelines:
            card, clip = pipeline.card, pipeline.window.clip
            self.get_logger().info(
                f"{card.name} ({card.architecture}, {len(card.classes)} classes) wants "
                f"{clip.frames} frames at {SECOND / clip.period:g} Hz"
            )

    def _create_lane(self, pipeline: PipelineType) -> _Lane[PipelineType]:
        topic = self._label_topic(pipeline)
        if topic is None:
            return _Lane(pipeline, None, None)
        times = DebugTimes(self, f"{topic.rpartition('/')[0]}/debug")
        return _Lane(pipeline, self.create_publisher(LabelInfo, topic, _LATCHED), times)

    def _activate(self) -> None:
        assert self._input is not None
        warm_up_ms = sum(lane.pipeline.warm_up() for lane in self._lanes)
        for lane in self._lanes:
            lane.start(partial(self._work, lane))
        self._health.listen()
        if self._looker is not None:
            self._looker.listen()
        self._input.listen()
        self.get_logger().info(
            f"active, listening on {self._input.points.topic_name}; "
            f"a window takes {warm_up_ms:.0f} ms"
        )

    def _deactivate(self) -> None:
        # The subscriptions stay: on Humble, destroying one under a spinning executor is a race.
        if self._input is not None:
            self._input.listening = False
        for lane in self._lanes:
            lane.stop()

    def _release(self) -> None:
        self._destroy()
        give_back()  # once nothing refers to a model any more; others may want the GPU

    def _destroy(self) -> None:
        self._deactivate()
        if self._input is not None:
            self._input.destroy()
        if self._looker is not None:
            self._looker.destroy()
        for lane in self._lanes:
            if lane.label_info is not None:
                self.destroy_publisher(lane.label_info)
            if lane.times is not None:
                lane.times.destroy()
        self._destroy_outputs()
        self._input, self._looker, self._lanes = None, None, []
        self.parameters.locked = False

    def _publish_label_info(self) -> None:
        now = self.get_clock().now().nanoseconds
        for lane in self._lanes:
            if lane.label_info is not None:
                lane.label_info.publish(self._labels(lane.pipeline, self.parameters.value, now))

    def _start_counting(self) -> None:
        self._health = Health()
        self._faults = Faults(self.get_logger(), self._health)

    # A frame, in the executor's thread.

    def _take(self, frame: Frame, arrived: float) -> None:
        for lane in self._lanes:
            assert lane.worker is not None
            clip = lane.pipeline.offer(frame)
            self._tell_progress(lane)
            if clip is None:
                continue
            if not self._wanted(lane.pipeline):
                self._health.leave()
            elif lane.worker.offer((clip, arrived)):
                self._health.skip()

    def _tell_progress(self, lane: _Lane[PipelineType]) -> None:
        """Log that a window starts again, or fills: once until it is full."""
        window = lane.pipeline.window
        if window.resets != lane.resets_seen:
            lane.resets_seen = window.resets
            if not lane.reset_told:
                lane.reset_told, lane.filling_told = True, False
                self.get_logger().warning(f"the window starts again: {window.reset_reason}")
        if window.filled == window.clip.frames:
            lane.reset_told = False
        elif not lane.filling_told:
            lane.filling_told = True
            seconds = window.clip.period * window.clip.frames / SECOND
            self.get_logger().info(
                f"the window fills: no answer for the first {seconds:.1f} s of the stream"
            )

    # A window, in a worker's thread.

    def _work(self, lane: _Lane[PipelineType], item: tuple[Clip, float]) -> None:
        pipeline, (clip, arrived) = lane.pipeline, item
        result, short = None, False
        try:
            result = self._infer(pipeline, clip)
            if result is None or not self._publish(pipeline, result):
                return
        except Exception as error:  # noqa: BLE001 - one bad window must not end the node
            result, short = None, is_out_of_memory(error)
            remedy = ", for want of memory: take fewer frames or points, or another device"
            self._faults.count(f"a window is lost{remedy if short else ''}", error)
        if short:  # here the exception is gone, which held what was computed until then
            pipeline.forget()
            give_back()
        if result is None:
            return
        # On the node's clock, as stamps are: with use_sim_time in simulated seconds, and as coarse
        # as /clock. Where the two clocks are not the same, `answer` sees it and leaves it out.
        now = self.get_clock().now().nanoseconds
        latency_ms = (now - result.stamp) / 1e6
        self._health.answer(
            latency_ms, result.processing_ms, wait_ms=(time.monotonic() - arrived) * 1e3
        )
        if lane.times is not None:
            lane.times.tell(latency_ms, result.processing_ms)

    def _report(self) -> None:
        models = [(lane.pipeline.card, lane.pipeline.window) for lane in self._lanes]
        try:
            self._diagnostics.report(
                self._state, self._health, self._input, models, self._looker, self._values()
            )
        except Exception as error:  # noqa: BLE001 - health must not be what ends the node
            self._faults.count("no diagnostics", error)
