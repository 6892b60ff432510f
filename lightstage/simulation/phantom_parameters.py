"""The parameters of a simulated Phantom: what ``get`` shows and what ``set`` makes of it.

Names and values are a real Miro M310's, where a 2048 x 1440 colour camera's do not differ.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass

from firmware_protocols.phantom import (
    Flags,
    Hex,
    Resolution,
    Struct,
    Value,
)

_FEATURES = "bref blk4 burst edr attach earlyimg notify atrig aexp cf quiet shtr"
_CFA_CODES = {"GRAY": 0, "GBRG": 3, "RGGB": 4, "GRBG": 5, "BGGR": 6}
_COPIED_CAM = (
    "syncimg", "master", "tcmode", "trigpol", "trigfilt", "frdelay", "startonacq", "aux1mode",
    "aux2mode", "memgateen", "membpp", "tsformat",
)  # fmt: skip
_COPIED_INFO = (
    "hwver", "sver", "fver", "pver", "model", "sensor", "snsversion", "snsserial", "kernel",
    "swver", "xver", "serial", "cfa", "filter", "name", "mdepths", "genlockstatus", "snstemp",
    "camtemp", "features",
)  # fmt: skip
_ADJUSTMENTS: Struct = {
    "red": 1, "green": 1, "blue": 1, "wbtemp": 5600, "wbcc": 0, "wbred": 1.321455044,
    "wbblue": 1.824537662, "edgeg": 0, "edger": 0, "edgeth": 0, "gamma": 0.57544, "rgamma": 0,
    "bgamma": 0, "toe": 1, "gain": 1, "offset": 0, "flare": 0, "hue": 0, "sat": 1, "rped": 0,
    "gped": 0, "bped": 0, "tone": "", "mmsat": "", "mmhue": "", "chroma": 1, "matrix": 1, "log": 0,
    "sdimin": 32, "sdimax": 960,
    "cmatrix": "cal 1.7326 0.119326 -0.785386  -0.380114 1.78173 -0.901473  -0.125864 -0.102658 "
    "2.18562",
    "umatrix": "", "filter": "",
}  # fmt: skip


@dataclass(frozen=True)
class CameraModel:
    """What the simulated camera is; times in ns. Its top rate at full size is ``full_rate_hz``."""

    model: str = "Phantom VEO 1310C (simulated)"
    serial: int = 26001
    width: int = 2048
    height: int = 1440
    cfa: str = "GBRG"
    memory_mb: int = 18000
    full_rate_hz: int = 1500
    dead_time_ns: int = 1000
    exposure_min_ns: int = 1000
    width_step: int = 64
    height_step: int = 8


class RefusedSetting(ValueError):  # noqa: N818 - the text is the camera's reply
    """A parameter cannot be set or is not there; the text is what the camera answers."""


class CameraParameters:
    """The camera's own parameters (``info``, ``cam``, ``defc``, ``auto``, ``cf``) and ``set``."""

    def __init__(self, model: CameraModel) -> None:
        self.model = model
        self.partitions = 1
        self.tree: dict[str, Struct] = {
            "info": _info(model),
            "cam": _cam(),
            "defc": _default_cine(model),
            "auto": {
                "videoplay": 0, "flashsave": 0, "filesave": 1, "acqrestart": 0, "bref": 0,
                "firstframe": -2147483648, "lastframe": 2147483646, "format": 272, "loops": 0,
                "speed": 0, "progress": 0, "bref_progress": 0, "fseq": 429,
                "trigger": {"x": 0, "y": 0, "w": model.width, "h": model.height, "speed": 1087,
                            "area": 1, "threshold": 1, "mode": 0},
            },
            "cf": {"state": 4, "action": 0, "size": 246127884, "used": 0, "progress": 0,
                   "errcode": 0},
        }  # fmt: skip
        self._coerce_default_cine()

    @property
    def resolution(self) -> Resolution:
        """Picture size of the next recording."""
        found = self.tree["defc"]["res"]
        assert isinstance(found, Resolution)
        return found

    def number(self, root: str, name: str) -> float:
        """Return a parameter that is a number."""
        found = self.tree[root][name]
        assert isinstance(found, int | float)
        return found

    def capacity(self, resolution: Resolution | None = None) -> int:
        """Return how many 8-bit frames one partition holds."""
        width, height = resolution or self.resolution
        return max(1, (self.model.memory_mb * 1_000_000 // self.partitions) // (width * height))

    def get(self, path: str) -> Value | None:
        """Return a parameter, or None if there is none of this name."""
        found: Value | None = self.tree  # type: ignore[assignment]
        for part in path.split("."):
            if not isinstance(found, dict) or part not in found:
                return None
            found = found[part]
        return found

    def set(self, path: str, value: Value) -> None:
        """Set a parameter, or all of a structure, or nothing; then coerce.

        Raises:
            RefusedSetting: no such parameter, or a value of another kind.
        """
        root, *rest = path.split(".")
        if root not in ("cam", "defc", "auto"):
            text = "is read only" if root in self.tree else "is unknown"
            raise RefusedSetting(f"name {path}  {text}")
        changed = copy.deepcopy(self.tree[root])
        for part in reversed(rest):
            value = {part: value}
        _merge(changed, value, root)
        self.tree[root] = changed
        if root == "defc":
            self._coerce_default_cine()

    def repartition(self, count: int) -> None:
        """Divide the memory into ``count`` cines."""
        self.partitions = count
        self.tree["cam"]["cines"] = count
        self._coerce_default_cine()

    def copied(self, root: str) -> Struct:
        """Return what a cine remembers of ``cam``, ``info`` or ``adj`` from its recording."""
        if root == "adj":
            return dict(_ADJUSTMENTS)
        names = _COPIED_CAM if root == "cam" else _COPIED_INFO
        return {name: self.tree[root][name] for name in names}

    def _coerce_default_cine(self) -> None:
        defc, model = self.tree["defc"], self.model
        width, height = self.resolution
        width = min(max(width // model.width_step, 1) * model.width_step, model.width)
        height = min(max(height // model.height_step, 1) * model.height_step, model.height)
        resolution = Resolution(width, height)
        fastest = model.full_rate_hz * model.width * model.height / (width * height)
        rate = min(max(self.number("defc", "rate"), 24), fastest, 1e6)
        longest = int(1e9 / rate) - model.dead_time_ns
        exposure = min(max(round(self.number("defc", "exp")), model.exposure_min_ns), longest)
        capacity = self.capacity(resolution)
        defc |= {
            "res": resolution,
            "rate": int(rate) if float(rate).is_integer() else rate,
            "exp": exposure,
            "ptframes": min(max(round(self.number("defc", "ptframes")), 1), capacity),
            "frcount": capacity,
            "frsize": width * height,
        }


def _merge(target: Struct, value: Value, path: str) -> None:
    """Put ``value`` into ``target``, member by member; lists of flags never occur in ``set``."""
    if not isinstance(value, dict):
        raise RefusedSetting(f"{path} is a structure")
    for name, member in value.items():
        if name not in target:
            raise RefusedSetting(f"name {path}.{name}  is unknown")
        old = target[name]
        if isinstance(old, dict):
            _merge(old, member, f"{path}.{name}")
            continue
        kinds = str if isinstance(old, str) else Resolution if isinstance(old, Resolution) else None
        fits = isinstance(member, kinds) if kinds else isinstance(member, int | float)
        if not fits:
            raise RefusedSetting(f"value of {path}.{name} is of the wrong type")
        target[name] = member


def cine_parameters(
    parameters: CameraParameters,
    settings: Struct,
    state: Flags,
    first: int,
    last: int,
    trigger: tuple[int, int],
    recorded: bool,
) -> Struct:
    """Return the tree of a cine: its settings, state, frame numbers, and the camera's at the time.

    ``recorded`` says whether ``frcount`` is what was recorded or what there is room for.
    """
    resolution = settings["res"]
    assert isinstance(resolution, Resolution)
    frame_bytes = resolution.width * resolution.height
    count = last - first + 1 if recorded else parameters.capacity(resolution)
    own = {name: value for name, value in settings.items() if name != "meta"}
    return {
        **own,
        "frcount": count,
        "state": state,
        "start": Hex(0x475000),
        "len": Hex(frame_bytes * parameters.capacity(resolution)),
        "frspace": frame_bytes * parameters.capacity(resolution),
        "firstfr": first,
        "lastfr": last,
        "format": 0,
        "in": first,
        "out": last,
        "trigtime": {"secs": trigger[0], "frac": trigger[1]},
        "cam": parameters.copied("cam"),
        "info": parameters.copied("info"),
        "adj": parameters.copied("adj"),
        "meta": {
            "name": "", "uuid": "", "system": 1, "pbrate": 50, "tcrate": 25, "trigtc": "",
            "ow": resolution.width, "oh": resolution.height, "crop": 0, "resize": 0, "lens": "",
            "fstop": 0, "flen": 0, "gps": "", "comment": "", "xset": "",
        },
    }  # fmt: skip


def _info(model: CameraModel) -> Struct:
    return {
        "hwver": 8001, "pver": 16, "sver": 1023, "fver": 39, "model": model.model, "sensor": 62,
        "snsversion": 0, "snsserial": 0, "occver": 0, "tally": 0, "kernel": 425, "swver": 14967,
        "xver": 840, "serial": model.serial, "memsz": model.memory_mb, "cfa": _CFA_CODES[model.cfa],
        "filter": 0, "maxcines": 17, "name": str(model.serial), "kernsz": 24, "xmax": model.width,
        "ymax": model.height, "xinc": model.width_step, "yinc": model.height_step, "xblock": 8,
        "yblock": 8, "winx": 32, "winy": 8, "minfrate": 24, "tmodel": 4, "maxrate": 1000000,
        "expdead": model.dead_time_ns, "minexp": model.exposure_min_ns, "magtp": 720000000,
        "cinemem": model.memory_mb, "mdepths": Hex(0x1000), "snstemp": 30, "tepower": 54,
        "camtemp": 52, "fanpower": 28, "vbatt": 0.2645052632, "vcdinb": 23.95976842,
        "genlockstatus": 0, "features": _FEATURES, "imgformats": "8 8R P16 P16R",
        "videosystems": "0 1", "basechroma": 1, "baseei": 13000, "setup": "simulated",
    }  # fmt: skip


def _cam() -> Struct:
    return {
        "syncimg": 0, "master": 0, "tcmode": 0, "trigpol": 1, "trigfilt": 1, "frdelay": 0,
        "startonacq": 1, "aux1mode": 0, "aux2mode": 0, "memgateen": 1, "rtoen": 0, "membpp": 12,
        "tsformat": 1, "longready": 0, "dark": 0, "quiet": 0, "tsetsns": 30, "tsetcam": 50,
        "apoffdis": 0, "rtotfr": 0, "cines": 1, "battarm": 0, "battmode": 0, "wtrarmdelay": 0,
        "wtrarmtime": 0, "poffdelay": 10, "readygate": 0, "timezone": -3600, "lang": "en_US",
        "occset": "",
    }  # fmt: skip


def _default_cine(model: CameraModel) -> Struct:
    return {
        "res": Resolution(model.width, model.height), "rate": 1000, "exp": 700000, "shoff": 0,
        "edrexp": 0, "ptframes": 1000, "bcount": 0, "bperiod": 307692, "hqenable": 0, "frcount": 0,
        "ramp": "", "frsize": 0, "decimation": 1, "aexpmode": 0, "aexpcomp": 0.0,
        "meta": {"ox": 0, "oy": 0, "w": 1, "h": 1, "ow": model.width, "oh": model.height,
                 "crop": 0, "resize": 0},
    }  # fmt: skip
