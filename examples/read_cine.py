"""Read a Phantom recording: what it holds, and one frame as a picture.

python examples/read_cine.py [FILE.cine] [OUTPUT.png]
"""

import sys
from pathlib import Path

from lightstage.cine import CineFile
from lightstage.images import write_image
from lightstage.preprocess.develop import develop

SAMPLE = Path(__file__).parents[1] / "sample_sessions/talking/takes/talk/take.cine"


def main(path: Path, output: Path) -> None:
    with CineFile(path) as cine:
        size = f"{cine.width}x{cine.height}"
        print(f"{len(cine)} frames of {size}, {cine.cfa}, {cine.bit_depth} bits")
        print(f"the camera's frame numbers: {cine.frame_numbers[0]} to {cine.frame_numbers[-1]}")
        if cine.time_ns is not None and len(cine) > 1:
            seconds = (cine.time_ns[-1] - cine.time_ns[0]) / 1e9
            print(f"{seconds:.4f} s, {(len(cine) - 1) / seconds:.1f} fps by the time stamps")
        brightest = max(range(len(cine)), key=lambda index: cine[index].mean())
        linear = develop(
            cine[brightest],
            cfa=cine.cfa,
            black_level=cine.black_level,
            white_level=cine.white_level,
        )
    write_image(output, linear)
    print(f"the brightest frame, number {brightest}, is in {output}")


if __name__ == "__main__":
    arguments = [Path(text) for text in sys.argv[1:]]
    main(*(arguments + [SAMPLE, Path("brightest.png")][len(arguments) :]))
