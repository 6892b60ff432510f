"""Plan a capture: does it fit the camera's frame rate, how many sets, how many gigabytes?

python examples/plan_sequence.py [SECONDS]
"""

import sys

from lightstage import CaptureSequence, Dome
from lightstage.errors import SequenceError


def main(seconds: float = 25.0) -> None:
    dome = Dome.evenly_spread(lights=96, radius_m=1.3)
    sequence = CaptureSequence(lights=len(dome), frame_rate_hz=1000, exposure_us=700)
    print(f"{sequence.groups} groups of {sequence.period} make {sequence.cycle_frames} frames")
    print(f"each LED is on for {sequence.olat_pulse_us:g} us; {sequence.spare_us:g} us to spare")

    frame_count = round(seconds * sequence.frame_rate_hz)
    windows = sequence.windows(rate_hz=25, frame_count=frame_count)
    print(f"{seconds:g} s hold {len(windows)} OLAT sets at 25 a second")
    print(f"{frame_count * 2048 * 1440 / 1e9:.1f} GB at 2048x1440, 8 bits")
    first = windows[0]
    print(f"the first set: centre is frame {first.centre}, light 0 is in frame {first.frames[0]}")

    try:
        sequence.replace(frame_rate_hz=1500)
    except SequenceError as reason:
        print(f"at 1500 fps: {reason}")


if __name__ == "__main__":
    main(*(float(text) for text in sys.argv[1:]))
