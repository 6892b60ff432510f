"""The z-buffer and the shading of conditioning maps, compiled.

Triangles are drawn in homogeneous coordinates (Olano and Greer 1997): edge functions made of the
corners before they are divided by their depth give perspective-correct weights, and hold for
corners behind the camera too, so that nothing is clipped. The mesh is drawn once for all maps:
first which triangle each sample shows, then each pixel looks its samples up.

Samples are numbered over the whole picture, ``supersampling`` along each side of a pixel; sample
(0, 0)'s middle is at (0, 0). Buffers hold a window of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from relight_model.conditioning.compiled import compiled, compiled_fast

#: What lies nearer to the camera than this is not drawn.
NEAR_M = 0.02


@compiled
def place_vertices(
    vertices: Any, distance: float, focal: float, cx: float, cy: float, places: Any, box: Any
) -> bool:
    """Put homogeneous sample coordinates (x d, y d, d) of ``vertices`` (V, 3) into ``places``.

    ``box`` (4,) becomes left, top, right, bottom of what lies in front of the camera. Returns
    whether all of it does.
    """
    left = top = np.inf
    right = bottom = -np.inf
    whole = True
    for v in range(vertices.shape[0]):
        depth = distance - np.float64(vertices[v, 2])
        x = cx * depth + focal * np.float64(vertices[v, 0])
        y = cy * depth - focal * np.float64(vertices[v, 1])
        places[v, 0] = x
        places[v, 1] = y
        places[v, 2] = depth
        if depth > NEAR_M:
            left = min(left, x / depth)
            right = max(right, x / depth)
            top = min(top, y / depth)
            bottom = max(bottom, y / depth)
        else:
            whole = False
    box[0], box[1], box[2], box[3] = left, top, right, bottom
    return whole


@compiled
def draw_faces(
    places: Any,
    faces: Any,
    texel_area: Any,
    left: int,
    top: int,
    nearness: Any,
    shown: Any,
    edges: Any,
    level: Any,
) -> None:
    """Find the nearest triangle at each sample of a window.

    Triangles seen from behind are left out; a sample on an edge belongs to both its triangles.

    Args:
        places: ``(V, 3)`` of :func:`place_vertices`.
        faces: ``(F, 3)``, counter-clockwise from outside.
        texel_area: ``(F,)`` what each covers of the texture, in texels; empty without a texture.
        left: the window's first column.
        top: its first row.
        nearness: ``(h, w)`` 0 at first; becomes 1 / depth.
        shown: ``(h, w)``; becomes the triangle, where ``nearness`` is not 0.
        edges: ``(F, 9)``: of triangles that are drawn, the edge functions whose shares are the
            barycentric weights.
        level: ``(F,)``: of triangles that are drawn, log2 of the texels along a sample's side.
    """
    height, width = nearness.shape
    limit = 1.0 / NEAR_M
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ax, ay, ad = places[a, 0], places[a, 1], places[a, 2]
        bx, by, bd = places[b, 0], places[b, 1], places[b, 2]
        cx, cy, cd = places[c, 0], places[c, 1], places[c, 2]
        first_x, last_x, first_y, last_y = 0, width - 1, 0, height - 1
        before = min(ad, bd, cd)
        if before > NEAR_M:
            xa, xb, xc = ax / ad, bx / bd, cx / cd
            first_x = max(0, int(np.ceil(min(xa, xb, xc) - 1e-9)) - left)
            last_x = min(width - 1, int(np.floor(max(xa, xb, xc) + 1e-9)) - left)
            if first_x > last_x:
                continue
            ya, yb, yc = ay / ad, by / bd, cy / cd
            first_y = max(0, int(np.ceil(min(ya, yb, yc) - 1e-9)) - top)
            last_y = min(height - 1, int(np.floor(max(ya, yb, yc) + 1e-9)) - top)
            if first_y > last_y:
                continue
        elif max(ad, bd, cd) <= NEAR_M:
            continue
        # each edge is the cross product of its corners, turned so that the inside is above 0
        a0, b0, c0 = cy * bd - cd * by, cd * bx - cx * bd, cx * by - cy * bx
        volume = a0 * ax + b0 * ay + c0 * ad
        if volume <= 0.0:
            continue
        a1, b1, c1 = ay * cd - ad * cy, ad * cx - ax * cd, ax * cy - ay * cx
        a2, b2, c2 = by * ad - bd * ay, bd * ax - bx * ad, bx * ay - by * ax
        share = 1.0 / volume
        i0, i1, i2 = -1.0 / a0, -1.0 / a1, -1.0 / a2
        drawn = False
        for row in range(first_y, last_y + 1):
            y = float(row + top)
            r0, r1, r2 = b0 * y + c0, b1 * y + c1, b2 * y + c2
            # where the row enters and leaves, to a sample; the edges themselves decide
            low, high = float(first_x + left), float(last_x + left)
            if a0 > 1e-200:
                low = max(low, r0 * i0)
            elif a0 < -1e-200:
                high = min(high, r0 * i0)
            if a1 > 1e-200:
                low = max(low, r1 * i1)
            elif a1 < -1e-200:
                high = min(high, r1 * i1)
            if a2 > 1e-200:
                low = max(low, r2 * i2)
            elif a2 < -1e-200:
                high = min(high, r2 * i2)
            if low > high + 1.0:
                continue
            start = max(first_x, int(np.floor(low)) - left)
            end = min(last_x, int(np.ceil(high)) - left)
            for column in range(start, end + 1):
                x = float(column + left)
                e0 = a0 * x + r0
                e1 = a1 * x + r1
                e2 = a2 * x + r2
                if e0 >= 0.0 and e1 >= 0.0 and e2 >= 0.0:
                    near = (e0 + e1 + e2) * share
                    if near > nearness[row, column] and near < limit:
                        nearness[row, column] = near
                        shown[row, column] = f
                        drawn = True
        if drawn:
            edges[f, 0], edges[f, 1], edges[f, 2] = a0, b0, c0
            edges[f, 3], edges[f, 4], edges[f, 5] = a1, b1, c1
            edges[f, 6], edges[f, 7], edges[f, 8] = a2, b2, c2
            if texel_area.shape[0] > 0:
                # twice the area in samples is volume / (ad bd cd) where all is in front
                area = 0.5 * volume / (ad * bd * cd) if before > NEAR_M else 1e9
                level[f] = 0.5 * np.log2(max(texel_area[f], 1e-12) / max(area, 1e-12))


@compiled_fast
def shade_pixels(
    nearness: Any,
    shown: Any,
    edges: Any,
    level: Any,
    faces: Any,
    left: int,
    top: int,
    per_side: int,
    colours: Any,
    normals: Any,
    texture_faces: Any,
    texture_places: Any,
    mipmap: Any,
    mip_sizes: Any,
    curve: Any,
    diffuse: Any,
    pncc: Any,
    normal: Any,
    mask: Any,
) -> None:
    """Make each pixel of a window from its samples; maps that are empty are not made.

    Args:
        nearness: as :func:`draw_faces` made it, like ``shown``, ``edges`` and ``level``; the window
            holds whole pixels.
        shown: see there.
        edges: see there.
        level: see there.
        faces: see there.
        left: see there.
        top: see there.
        per_side: samples along each side of a pixel.
        colours: ``(V, 3)`` PNCC.
        normals: ``(V, 3)`` unit, world axes.
        texture_faces: ``(F, 3)``, rows of ``texture_places``.
        texture_places: ``(T, 2)`` from 0 to 1, v downwards.
        mipmap: the texture at all levels, ``(texels, 3)``.
        mip_sizes: ``(levels, 3)``: where each begins, its height and width.
        curve: display values of equally spaced linear ones.
        diffuse: ``(h, w, 3)`` of the whole picture, 0 at first; or of no row.
        pncc: the same.
        normal: the same.
        mask: ``(h, w)`` of the whole picture, 0 at first.
    """
    rows, columns = nearness.shape[0] // per_side, nearness.shape[1] // per_side
    samples = per_side * per_side
    with_diffuse, with_pncc = diffuse.shape[0] > 0, pncc.shape[0] > 0
    with_normal = normal.shape[0] > 0
    zero, last_level = np.float32(0.0), np.float32(mip_sizes.shape[0] - 1)
    for row in range(rows):
        out_y = top // per_side + row
        for column in range(columns):
            count = 0
            red = green = blue = zero
            c0 = c1 = c2 = zero
            n0 = n1 = n2 = zero
            for i in range(per_side):
                sy = row * per_side + i
                for j in range(per_side):
                    sx = column * per_side + j
                    if nearness[sy, sx] <= 0.0:
                        continue
                    count += 1
                    f = shown[sy, sx]
                    x, y = float(sx + left), float(sy + top)
                    e0 = edges[f, 0] * x + edges[f, 1] * y + edges[f, 2]
                    e1 = edges[f, 3] * x + edges[f, 4] * y + edges[f, 5]
                    e2 = edges[f, 6] * x + edges[f, 7] * y + edges[f, 8]
                    share = 1.0 / (e0 + e1 + e2)
                    w0, w1, w2 = (
                        np.float32(e0 * share), np.float32(e1 * share), np.float32(e2 * share),
                    )  # fmt: skip
                    va, vb, vc = faces[f, 0], faces[f, 1], faces[f, 2]
                    if with_pncc:
                        c0 += w0 * colours[va, 0] + w1 * colours[vb, 0] + w2 * colours[vc, 0]
                        c1 += w0 * colours[va, 1] + w1 * colours[vb, 1] + w2 * colours[vc, 1]
                        c2 += w0 * colours[va, 2] + w1 * colours[vb, 2] + w2 * colours[vc, 2]
                    if with_normal:
                        n0 += w0 * normals[va, 0] + w1 * normals[vb, 0] + w2 * normals[vc, 0]
                        n1 += w0 * normals[va, 1] + w1 * normals[vb, 1] + w2 * normals[vc, 1]
                        n2 += w0 * normals[va, 2] + w1 * normals[vb, 2] + w2 * normals[vc, 2]
                    if with_diffuse:
                        ta, tb, tc = texture_faces[f, 0], texture_faces[f, 1], texture_faces[f, 2]
                        u = w0 * texture_places[ta, 0]
                        u += w1 * texture_places[tb, 0] + w2 * texture_places[tc, 0]
                        v = w0 * texture_places[ta, 1]
                        v += w1 * texture_places[tb, 1] + w2 * texture_places[tc, 1]
                        fine = min(max(level[f], zero), last_level)
                        lower = int(fine)
                        between = fine - np.float32(lower)
                        rgb = _texel(mipmap, mip_sizes, lower, u, v)
                        red += rgb[0]
                        green += rgb[1]
                        blue += rgb[2]
                        if between > zero:
                            more = _texel(mipmap, mip_sizes, lower + 1, u, v)
                            red += between * (more[0] - rgb[0])
                            green += between * (more[1] - rgb[1])
                            blue += between * (more[2] - rgb[2])
            if count == 0:
                continue
            out_x = left // per_side + column
            mask[out_y, out_x] = count / samples
            if with_diffuse:
                diffuse[out_y, out_x, 0] = _curved(curve, red / samples)
                diffuse[out_y, out_x, 1] = _curved(curve, green / samples)
                diffuse[out_y, out_x, 2] = _curved(curve, blue / samples)
            if 2 * count < samples:
                continue
            if with_pncc:
                pncc[out_y, out_x, 0] = c0 / count
                pncc[out_y, out_x, 1] = c1 / count
                pncc[out_y, out_x, 2] = c2 / count
            if with_normal:
                length = np.sqrt(n0 * n0 + n1 * n1 + n2 * n2)
                if length > 1e-9:
                    normal[out_y, out_x, 0] = n0 / length
                    normal[out_y, out_x, 1] = n1 / length
                    normal[out_y, out_x, 2] = n2 / length


@compiled_fast
def _texel(mipmap: Any, sizes: Any, level: int, u: float, v: float) -> Any:
    """Return the texture at a place, between four texels of one level."""
    start, height, width = sizes[level, 0], sizes[level, 1], sizes[level, 2]
    zero, one, half = np.float32(0.0), np.float32(1.0), np.float32(0.5)
    x = min(max(u * np.float32(width) - half, zero), np.float32(width - 1))
    y = min(max(v * np.float32(height) - half, zero), np.float32(height - 1))
    x0, y0 = np.int32(x), np.int32(y)
    fx, fy = x - np.float32(x0), y - np.float32(y0)
    a = start + y0 * width + x0
    right, below = np.int32(x0 + 1 < width), np.int32(y0 + 1 < height) * width
    b, c, d = a + right, a + below, a + below + right
    wa, wb, wc, wd = (one - fx) * (one - fy), fx * (one - fy), (one - fx) * fy, fx * fy
    return (
        wa * mipmap[a, 0] + wb * mipmap[b, 0] + wc * mipmap[c, 0] + wd * mipmap[d, 0],
        wa * mipmap[a, 1] + wb * mipmap[b, 1] + wc * mipmap[c, 1] + wd * mipmap[d, 1],
        wa * mipmap[a, 2] + wb * mipmap[b, 2] + wc * mipmap[c, 2] + wd * mipmap[d, 2],
    )


@compiled
def _curved(curve: Any, linear: Any) -> float:
    """Return the display value of a linear one, from a table."""
    last = curve.shape[0] - 1
    place = min(max(linear, 0.0), 1.0) * last
    low = min(int(place), last - 1)
    part = place - low
    return float((1.0 - part) * curve[low] + part * curve[low + 1])


@compiled
def add_face_normals(vertices: Any, faces: Any, normals: Any) -> None:
    """Put unit vertex normals ``(V, 3)``, faces weighted by area, into ``normals``."""
    normals[:] = 0.0
    for f in range(faces.shape[0]):
        a, b, c = faces[f, 0], faces[f, 1], faces[f, 2]
        ux, uy, uz = (
            vertices[b, 0] - vertices[a, 0],
            vertices[b, 1] - vertices[a, 1],
            vertices[b, 2] - vertices[a, 2],
        )
        wx, wy, wz = (
            vertices[c, 0] - vertices[a, 0],
            vertices[c, 1] - vertices[a, 1],
            vertices[c, 2] - vertices[a, 2],
        )
        x, y, z = uy * wz - uz * wy, uz * wx - ux * wz, ux * wy - uy * wx
        for v in (a, b, c):
            normals[v, 0] += x
            normals[v, 1] += y
            normals[v, 2] += z
    for v in range(normals.shape[0]):
        x, y, z = normals[v, 0], normals[v, 1], normals[v, 2]
        length = np.sqrt(x * x + y * y + z * z)
        if length > 1e-20:
            normals[v, 0] = x / length
            normals[v, 1] = y / length
            normals[v, 2] = z / length
