"""``relight_model retarget``: a source's clip made to drive a target performer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import rich_click as click

from lightstage.errors import InputError
from lightstage.terminal import PATH, json_option, print_json, quiet_option, say

if TYPE_CHECKING:
    from lightstage.head import HeadFile
    from relight_model.head.clip import HeadClip

_HELP = {
    "pose": "Where the head's pose comes from; a FILE is a clip of the target's own.",
    "jaw": "Where the jaw's comes from.",
    "gaze": "Where the eyes' comes from; camera: they look into the camera.",
    "expression": "Where all expressions but the lids' come from.",
    "blink": "Where the lids' come from.",
    "translation": "Where the head's place comes from.",
}


def _origin_options(command: Any) -> Any:
    for part, text in reversed(_HELP.items()):
        metavar = "source|mean|camera|FILE" if part == "gaze" else "source|mean|FILE"
        command = click.option(
            f"--{part}", default="source", show_default=True, metavar=metavar, help=text
        )(command)
    return command


@click.command("retarget")
@click.argument("source", type=PATH)
@click.option(
    "--target",
    type=PATH,
    required=True,
    metavar="CLIP",
    help="Head parameters of the performer who is driven: identity, camera and crop.",
)
@click.option(
    "--statistics",
    type=PATH,
    metavar="FILE",
    help="The target's statistics (relight_model statistics); of --target unless given.",
)
@click.option(
    "--source-statistics",
    type=PATH,
    metavar="FILE",
    help="The source's; of SOURCE unless given. Give them for a short source.",
)
@click.option(
    "--normalise/--no-normalise",
    default=True,
    show_default=True,
    help="Map the source's mean and deviation to the target's, the paper's equation (6).",
)
@click.option(
    "--scale",
    type=click.Choice(["each", "whole"]),
    default="each",
    show_default=True,
    help="One deviation for each parameter, or for all expressions and each joint as a whole.",
)
@click.option(
    "--most-gain",
    type=float,
    default=5.0,
    show_default=True,
    help="Scale no parameter up by more.",
)
@click.option("--mirror", is_flag=True, help="Swap the source's left and right.")
@_origin_options
@click.option("--hold-pose", is_flag=True, help="The same as --pose mean --translation mean.")
@click.option(
    "--amount",
    "amounts",
    multiple=True,
    metavar="NAME=FACTOR",
    help="Scale how far a part or expression leaves the target's mean: all=1.3, pose=0.5, "
    '"smile=0". Can be given often.',
)
@click.option(
    "--no-limit",
    is_flag=True,
    help="Let scaled expressions go farther than the target was seen to.",
)
@click.option(
    "--smooth-pose", type=float, default=0.0, metavar="SECONDS", help="Smooth the head's pose."
)
@click.option("--pitch", type=float, default=0.0, metavar="DEG", help="Turn the head down.")
@click.option(
    "--yaw", type=float, default=0.0, metavar="DEG", help="Turn the head to the image's right."
)
@click.option(
    "--roll", type=float, default=0.0, metavar="DEG", help="Tilt its top to the image's left."
)
@click.option(
    "--head",
    "head_file",
    type=PATH,
    metavar="FILE",
    help="The target's head model where it is not the procedural one (for --gaze camera).",
)
@click.option("-o", "--output", type=PATH, required=True, metavar="FILE", help="An .npz.")
@quiet_option
@json_option
def command(
    source: Path,
    target: Path,
    statistics: Path | None,
    source_statistics: Path | None,
    normalise: bool,
    scale: Any,
    most_gain: float,
    mirror: bool,
    hold_pose: bool,
    amounts: tuple[str, ...],
    no_limit: bool,
    smooth_pose: float,
    pitch: float,
    yaw: float,
    roll: float,
    head_file: Path | None,
    output: Path,
    quiet: bool,
    as_json: bool,
    **parts: str,
) -> None:
    """Make a SOURCE's head parameters drive a target performer.

    Example: [bold]relight_model retarget source.npz --target performer.npz --gaze camera
    --hold-pose -o drive.npz[/bold]
    """
    from relight_model.head.clip import HeadClip
    from relight_model.head.clip_statistics import ClipStatistics
    from relight_model.head.normalise import NormaliseOptions
    from relight_model.head.retarget import RetargetOptions, retarget

    if hold_pose:
        for part in ("pose", "translation"):
            if parts[part] != "source":
                raise InputError(f"--hold-pose and --{part} contradict each other; give one.")
            parts[part] = "mean"
    words = ("source", "mean", "camera")
    origins: Any = {
        part: origin if origin in words else HeadClip.load(origin) for part, origin in parts.items()
    }
    options = RetargetOptions(
        normalise=normalise,
        normalise_options=NormaliseOptions(scale=scale, most_gain=most_gain, translation=True),
        mirror=mirror,
        origins=origins,
        amounts=dict(_amount(text) for text in amounts),
        pose_smoothing_s=smooth_pose,
        pose_offset_deg=(pitch, yaw, roll),
        limit=not no_limit,
    )
    drives, driven = HeadClip.load(source), HeadClip.load(target)
    made = retarget(
        drives,
        driven,
        options,
        source_statistics=ClipStatistics.load(source_statistics) if source_statistics else None,
        target_statistics=ClipStatistics.load(statistics) if statistics else None,
        head=_head(head_file, driven) if parts["gaze"] == "camera" else None,
    )
    made = made.replace(details={**made.details, "source": source.name, "target": target.name})
    made.save(output)
    if as_json:
        print_json({"output": str(output), "frames": len(made), **made.details})
    else:
        say(f"{output}: {len(made)} frames of {source.name} drive {target.name}.", quiet=quiet)


def _amount(text: str) -> tuple[str, float]:
    name, _, factor = text.rpartition("=")
    try:
        return name.strip(), float(factor)
    except ValueError:
        raise InputError(
            f"--amount must be NAME=FACTOR, such as smile=1.5, not {text!r}."
        ) from None


def _head(path: Path | None, clip: HeadClip) -> HeadFile:
    from relight_model.head.model import HeadModel

    model = HeadModel.load(path)
    if clip.head and clip.head != model.fingerprint:
        raise InputError(
            f"{path or 'the procedural head'} is not the head model of the target's parameters "
            f"({model.fingerprint}, not {clip.head}); give theirs with --head."
        )
    return model.head
