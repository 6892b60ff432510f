"""``relight_model convert-head``: a FLAME file becomes a head file without pickle."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import rich_click as click

from lightstage.terminal import PATH, json_option, print_json, print_table, say


@click.command("convert-head")
@click.argument("flame", type=PATH)
@click.option(
    "-o", "--output", type=PATH, required=True, metavar="HEAD.npz", help="The head to write."
)
@click.option(
    "--landmarks",
    type=PATH,
    multiple=True,
    metavar="FILE",
    help="landmark_embedding.npy of DECA; or, given twice, flame_static_embedding.pkl and "
    "flame_dynamic_embedding.npy.",
)
@click.option(
    "--texture",
    type=PATH,
    metavar="FILE",
    help="A texture space: FLAME_texture.npz, or the one made of BFM.",
)
@click.option(
    "--template",
    type=PATH,
    metavar="FILE",
    help="head_template.obj, for texture coordinates. FLAME_texture.npz has its own.",
)
@click.option(
    "--texture-components",
    type=click.IntRange(0, 400),
    default=50,
    show_default=True,
    metavar="N",
    help="Components of the texture space to keep. DECA uses 50.",
)
@click.option(
    "--shape-count",
    type=click.IntRange(0, 10000),
    metavar="N",
    help="Components that are shape, for a model that has not FLAME's 300 + 100.",
)
@json_option
def command(
    flame: Path,
    output: Path,
    landmarks: tuple[Path, ...],
    texture: Path | None,
    template: Path | None,
    texture_components: int,
    shape_count: int | None,
    as_json: bool,
) -> None:
    """Convert a FLAME pickle and what belongs to it into one head file.

    The pickles are read without running them; one that asks for anything but arrays is refused.
    FLAME has its own licence: get it from its publisher, and mind what the licence says of the
    head file made of it.

    Example: [bold]relight_model convert-head generic_model.pkl -o head.npz --landmarks
    landmark_embedding.npy[/bold]
    """
    from lightstage.errors import InputError
    from relight_model.head.flame_file import convert_flame

    if output.suffix.lower() != ".npz":
        raise InputError(f"the output must end in .npz, it is {output}.")
    conversion = convert_flame(
        flame,
        landmarks=landmarks,
        texture=texture,
        template=template,
        shape_count=shape_count,
        texture_components=texture_components,
    )
    head = conversion.head
    # what is in it hardly shrinks, and is read eight times as fast so
    head.save(output, compress=False)
    basis = head.texture_basis
    report: dict[str, Any] = {
        "output": str(output),
        "megabytes": round(output.stat().st_size / 1e6, 1),
        "vertices": len(head.v_template),
        "faces": len(head.f),
        "shape_components": head.shape_count,
        "expression_components": head.expression_count,
        "landmarks": len(head.landmark_faces),
        "contour_by_yaw": head.contour_faces is not None,
        "texture": f"{head.texture.shape[1]}x{head.texture.shape[0]}" if head.texture.size else "",
        "texture_space": basis.space if basis else "",
        "texture_components": basis.components.shape[3] if basis else 0,
        "texture_coordinates": len(head.vt),
        "fingerprint": head.fingerprint,
        "missing": list(conversion.missing),
        "notes": list(conversion.notes),
    }
    if as_json:
        print_json(report)
        return
    rows = {k.replace("_", " "): v for k, v in report.items() if k not in ("missing", "notes")}
    rows["texture"] = rows["texture"] or "none"
    rows["texture space"] = rows["texture space"] or "none"
    print_table(f"Head made of {flame}", rows)
    for text in conversion.missing:
        say(f"Missing: {text}.")
    for text in conversion.notes:
        say(f"Note: {text}.")
