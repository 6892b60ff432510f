"""SetMaker: makes a take's sets one after another, remembering what the next ones need too."""

from __future__ import annotations

from dataclasses import dataclass

from lightstage.preprocess.align import SetAligner, SetFrames
from lightstage.preprocess.develop import DevelopedFrames
from lightstage.preprocess.motion import SetMotion, TrackingLuminances, find_motion, still
from lightstage.preprocess.plan import SetPlan, TakePlan, view_of
from lightstage.preprocess.settings import PreprocessSettings
from lightstage.preprocess.source import FrameSource

#: What is developed around the view of a head that is followed, so that the next sets' fits too.
_SLACK_PX = 48
#: Bytes of a developed pixel: three half floats.
DEVELOPED_PIXEL_BYTES = 6


@dataclass(frozen=True)
class MakerOptions:
    """What a maker may remember.

    Attributes:
        frames_bytes: developed frames up to this are remembered; a window of them, so that each
            frame is developed once however many sets use it.
        tracking: tracking frames' luminances that are remembered.
    """

    frames_bytes: int = 1 << 30
    tracking: int = 24


def window_bytes(plan: TakePlan, source: FrameSource, settings: PreprocessSettings) -> int:
    """Return the bytes of all developed frames that one set of a plan uses."""
    view = view_of(plan.sets[0].part, source, settings)
    slack = _SLACK_PX if settings.crop.mode == "face" else 0
    region = view.region.grown(slack, source.width, source.height)
    pixels = (region.width >> view.level) * (region.height >> view.level)
    frames = max(item.frames.light_frames.size + plan.tracking for item in plan.sets[:8])
    return DEVELOPED_PIXEL_BYTES * pixels * (frames + 8)


class SetMaker:
    """Makes sets of one take. Memory is bounded by its options; results do not depend on them.

    Args:
        source: the take's frames.
        settings: what to make.
        options: what may be remembered.
    """

    def __init__(
        self,
        source: FrameSource,
        settings: PreprocessSettings,
        options: MakerOptions | None = None,
    ) -> None:
        self._source = source
        self._settings = settings
        self._options = options or MakerOptions()
        self._developed: dict[int, DevelopedFrames] = {}
        self._luminances: TrackingLuminances | None = None

    def motion(self, plan: SetPlan) -> SetMotion:
        """Return the motion within a set."""
        view = view_of(plan.part, self._source, self._settings)
        if self._settings.align.method == "none":
            return still(len(plan.frames.tracking_frames), view)
        if self._luminances is None:
            self._luminances = TrackingLuminances(self._source, self._options.tracking)
        return find_motion(
            plan.frames.tracking_frames,
            plan.places,
            plan.frames.centre,
            view,
            self._luminances,
            self._settings,
            plan.offset,
        )

    def aligner(
        self,
        frames: SetFrames,
        part: tuple[float, float, float, float],
        motion: SetMotion,
    ) -> SetAligner:
        """Return what makes a set's images from its frames and motion."""
        view = view_of(part, self._source, self._settings)
        return SetAligner(frames, motion, view, self._frames(view.level), self._settings.align)

    def _frames(self, level: int) -> DevelopedFrames:
        if level not in self._developed:
            self._developed[level] = DevelopedFrames(
                self._source,
                self._settings.develop,
                level,
                self._options.frames_bytes,
                _SLACK_PX if self._settings.crop.mode == "face" else 0,
            )
        return self._developed[level]
