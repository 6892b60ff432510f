"""Alignment against the simulator's truth: the table in docs/alignment.md.

    python benchmarks/alignment.py FOLDER [--sets 3] [--performer 0] [--size 512x384] [--flows]

Takes from still to violent are simulated in FOLDER the first time. PSNR is on linear values inside
the matte, of the 96 aligned images against the frozen truth, errors pooled over sets; end-point
errors of the flow to all tracking frames, inside the matte where the true point is seen.
``--flows`` prints the table of flow settings instead.
"""

from __future__ import annotations

import argparse
import os
import time
from pathlib import Path

import cv2
import numpy as np

from lightstage.preprocess.develop import develop, with_balance
from lightstage.preprocess.plan import plan_take, view_of
from lightstage.preprocess.set_maker import MakerOptions, SetMaker
from lightstage.preprocess.settings import PreprocessSettings
from lightstage.preprocess.source import open_source
from lightstage.simulation import frozen_frames
from lightstage.simulation.flow import true_flow_to_times
from lightstage.simulation.recipe import SessionRecipe, simulate_session
from lightstage.simulation.truth import read_truth, truth_sets

MOTIONS = ("still", "slow", "talking", "violent")
FAST = PreprocessSettings()
BEST = PreprocessSettings.of_quality("best")


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sets", type=int, default=3)
    parser.add_argument("--performer", type=int, default=0)
    parser.add_argument("--size", default="512x384")
    parser.add_argument("--flows", action="store_true")
    parser.add_argument("--motions", nargs="*", default=MOTIONS)
    options = parser.parse_args()
    cv2.setNumThreads(1)
    width, height = (int(side) for side in options.size.split("x"))
    recipe = SessionRecipe.parse(
        {
            "stage": {"width": width, "height": height},
            "takes": [
                {"name": motion, "motion": motion, "seconds": 0.46, "truth_sets": options.sets,
                 "performer": options.performer}
                for motion in MOTIONS
            ],
        },
        "benchmark",
    )  # fmt: skip
    name = f"range_{options.performer}_{options.size}_{options.sets}"
    session = simulate_session(options.folder / name, recipe, workers=os.cpu_count() or 1)
    for motion in options.motions:
        taken = next(take for take in recipe.takes if take.name == motion)
        judge = Judge(session.take(motion), recipe.simulated_stage(taken))
        print(f"## {motion}, performer {options.performer}, {options.size}", flush=True)
        (judge.flow_table if options.flows else judge.table)()


class Judge:
    """Compares sets of one take with its truth."""

    def __init__(self, take, stage) -> None:
        self.take, self.stage = take, stage
        self.source = open_source(take)
        self.truths = [
            read_truth(take.truth_path, index) for index in range(truth_sets(take.truth_path))
        ]

    def table(self) -> None:
        print("| | PSNR, dB | end-point error, mean / 95 %, px | CPU s a set |")
        print("|---|---|---|---|")
        unmoved = FAST.replace(align={"method": "none"})
        self.row("unaligned", unmoved)
        self.row("ours fast", FAST)
        self.row("ours best", BEST)
        for name, settings in (("fast", FAST), ("best", BEST)):
            self.true_flow(name, settings)
        for name, settings in (
            ("bilinear", FAST.replace(develop={"demosaic": "bilinear"})),
            ("malvar, as fast", FAST),
            ("residual, as best", BEST),
        ):
            self.ceiling(name, settings)

    def flow_table(self) -> None:
        print("| flow | PSNR, dB | end-point error, mean / 95 %, px | CPU s a set, motion |")
        print("|---|---|---|---|")

        def flow(**changes) -> PreprocessSettings:
            return FAST.replace(flow=FAST.flow.replace(**changes))

        self.row("as it is (finest scale 1, 8 descents, 2 refinements, every 3rd)", FAST, True)
        self.row(
            "12 descents, 3 refinements",
            flow(gradient_descent_iterations=12, variational_iterations=3),
            True,
        )
        self.row("to every tracking frame", flow(every=1), True)
        self.row("to every 2nd", flow(every=2), True)
        self.row("finest scale 0", flow(finest_scale=0), True)
        self.row("finest scale 2", flow(finest_scale=2), True)
        self.row("finest scale 3", flow(finest_scale=3), True)
        self.row("half scale", flow(scale=0.5), True)
        self.row("half scale, finest scale 0", flow(scale=0.5, finest_scale=0), True)
        self.row("no refinement", flow(variational_iterations=0), True)
        self.row("10 refinements", flow(variational_iterations=10), True)
        self.row("warm start", flow(warm_start=True), True)
        self.row("smoothed over time, 0.3", flow(smoothing=0.3), True)
        self.row("smoothed over time, 3", flow(smoothing=3.0), True)
        self.row("noise left in", flow(still_below_px=0.0), True)
        self.row("DeepFlow", flow(method="deepflow"), True)

    def row(self, name: str, settings: PreprocessSettings, motion_only: bool = False) -> None:
        settings = self.resolved(settings)
        plan = plan_take(self.take, self.source, settings)
        squares, lengths, spent = [], [], []
        for truth in self.truths:
            number = self.source.first_frame_number + truth.centre_frame
            item = next(p for p in plan.sets if p.centre_frame_number == number)
            maker = SetMaker(self.source, settings, MakerOptions())
            before = plan.sets[max(0, item.index - 1)]
            if item.index:  # as in a job, the set before has developed what both use
                aligner = maker.aligner(before.frames, before.part, maker.motion(before))
                list(aligner.lights())
            started = time.process_time()
            motion = maker.motion(item)
            middle = time.process_time()
            aligner = maker.aligner(item.frames, item.part, motion)
            olat = np.stack([image.astype(np.float32) for image in aligner.lights()])
            spent.append((middle if motion_only else time.process_time()) - started)
            squares.append(self.squared_error(olat, truth))
            view = view_of(item.part, self.source, settings)
            for index, frame in enumerate(item.frames.tracking_frames):
                there = np.flatnonzero(truth.tracking == frame)
                if len(there):
                    size = (view.out_width, view.out_height)
                    flow = cv2.resize(motion.flow[index].astype(np.float32), size) * motion.unit_px
                    error = np.linalg.norm(flow - truth.flow[there[0]], axis=-1)
                    lengths.append(error[np.isfinite(error) & (truth.matte > 0.99)])
        self.print(name, squares, np.concatenate(lengths), float(np.median(spent)))

    def resolved(self, settings: PreprocessSettings) -> PreprocessSettings:
        full_lit = self.truths[0].centre_frame
        return settings.replace(develop=with_balance(settings.develop, self.source, full_lit))

    def developed(self, stored, settings: PreprocessSettings):
        return develop(
            stored, cfa=self.source.cfa, black_level=self.source.black_level,
            white_level=self.source.white_level, settings=settings.develop,
        )  # fmt: skip

    def true_flow(self, name: str, settings: PreprocessSettings) -> None:
        """Each OLAT frame warped by the simulator's own flow; unmoved where there is none."""
        settings = self.resolved(settings)
        squares = []
        x, y = np.meshgrid(
            np.arange(self.source.width, dtype=np.float32),
            np.arange(self.source.height, dtype=np.float32),
        )
        for truth in self.truths:
            window = self.stage.sequence.window(truth.centre_frame)
            times = [self.stage.time_s(int(frame)) for frame in window.frames]
            flows = true_flow_to_times(self.stage.performer, self.stage.camera, truth.time_s, times)
            olat = []
            for frame, flow in zip(window.frames, flows, strict=True):
                image = self.developed(self.source[int(frame)], settings)
                moved = np.nan_to_num(flow)
                olat.append(
                    cv2.remap(image, x + moved[..., 0], y + moved[..., 1], cv2.INTER_CUBIC,
                              borderMode=cv2.BORDER_REPLICATE)
                )  # fmt: skip
            squares.append(self.squared_error(np.stack(olat), truth))
        self.print(f"true flow, demosaiced as {name}", squares)

    def ceiling(self, name: str, settings: PreprocessSettings) -> None:
        """A frozen head through the same sensor and demosaic."""
        settings = self.resolved(settings)
        squares = []
        for truth in self.truths:
            frozen = frozen_frames(self.stage, truth.centre_frame)
            olat = np.stack([self.developed(stored, settings) for stored in frozen])
            squares.append(self.squared_error(olat, truth))
        self.print(f"ceiling: frozen head, {name}", squares)

    @staticmethod
    def squared_error(olat, truth) -> float:
        inside = truth.matte > 0.99
        return float(np.mean((olat[:, inside] - np.clip(truth.olat[:, inside], 0, 1)) ** 2))

    @staticmethod
    def print(name: str, squares: list[float], lengths=None, seconds: float | None = None) -> None:
        psnr = -10 * np.log10(np.mean(squares))
        error = ""
        if lengths is not None:
            error = f"{lengths.mean():.3f} / {np.percentile(lengths, 95):.3f}"
        spent = "" if seconds is None else f"{seconds:.2f}"
        print(f"| {name} | {psnr:.2f} | {error} | {spent} |", flush=True)


if __name__ == "__main__":
    main()
