"""The order of the lights: what flicker reaches the performer's eyes, and an order with the least.

An eye is taken as a flat receiver at the dome's centre that faces where the performer looks: a
light in direction ``d`` gives it ``max(0, gaze . d)`` times the light's brightness. Over a cycle
that is a periodic signal of rectangular pulses, whose Fourier series is known in closed form.
Eyelids, nose and head, and the light that the room throws back, are left out.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lightstage.colour import luminance
from lightstage.dome import Dome
from lightstage.errors import SequenceError
from lightstage.sequence import CaptureSequence, StepKind

#: Flicker between these frequencies, in hertz, is what an order is optimised against: it is seen
#: as flicker, and holds the photosensitive band (3 to 30 Hz).
FLICKER_BAND_HZ = (3.0, 70.0)
#: The search also looks at what lies above, up to here, in hertz, so as not to push flicker from 70
#: to 80 Hz, where IEEE 1789 still has its stricter limit; so much less does it weigh there.
_SEARCH_UP_TO_HZ = 90.0
_WEIGHT_ABOVE = 0.5

#: How far the gazes turn from straight ahead, in degrees to the side and up or down.
GAZE_TURN_DEG = (30.0, 25.0)

#: Successive lights nearer than this, in degrees, are held against an order.
_NEAR_DEG = 60.0
#: A pair of successive lights in the same direction weighs as much as this many percent of flicker.
_NEAR_WEIGHT = 0.5
#: Swaps weighed at once, and how many times; fewer times where there are more harmonics.
_BATCH = 96
_ROUNDS = 8_000
_LARGEST_WORK = _ROUNDS * _BATCH * 9 * 10


def _gazes() -> NDArray[np.float64]:
    side, up = (math.radians(angle) for angle in GAZE_TURN_DEG)
    turns = [(yaw, pitch) for pitch in (0.0, up, -up) for yaw in (0.0, -side, side)]
    return np.array(
        [
            (math.cos(pitch) * math.sin(yaw), math.sin(pitch), math.cos(pitch) * math.cos(yaw))
            for yaw, pitch in turns
        ]
    )


#: Nine gazes, unit vectors ``(9, 3)``: ahead (+Z), to both sides, up, down, and between.
GAZES = _gazes()
GAZES.flags.writeable = False


@dataclass(frozen=True)
class EyeSpectrum:
    """The light at the performer's eyes by frequency.

    ``frequency_hz`` ``(harmonics,)`` are the harmonics of the cycle, and ``percent``
    ``(gazes, harmonics)`` their modulation: 100 times a harmonic's amplitude over the mean light.
    A sine that swings between dark and twice the mean has 100 %; one harmonic of short pulses may
    have up to 200 %.
    """

    frequency_hz: NDArray[np.float64]
    percent: NDArray[np.float64]

    @property
    def worst_percent(self) -> NDArray[np.float64]:
        """Each harmonic's modulation for the gaze that sees most of it, ``(harmonics,)``."""
        return np.asarray(self.percent.max(axis=0), dtype=np.float64)

    def within(self, low_hz: float, high_hz: float) -> EyeSpectrum:
        """Return the harmonics from ``low_hz`` to ``high_hz``, both included."""
        # a rounding error must not drop a harmonic that lies on the edge
        slack = 1e-9 * high_hz
        chosen = (self.frequency_hz >= low_hz - slack) & (self.frequency_hz <= high_hz + slack)
        return EyeSpectrum(self.frequency_hz[chosen], self.percent[:, chosen])

    def peak(self) -> tuple[float, float]:
        """Return the frequency in hertz and the percent modulation of the worst harmonic.

        ``(0, 0)`` where there are no harmonics.
        """
        if not len(self.frequency_hz):
            return 0.0, 0.0
        worst = int(self.worst_percent.argmax())
        return float(self.frequency_hz[worst]), float(self.worst_percent[worst])

    def total_percent(self) -> float:
        """Return the worst gaze's RMS modulation of all harmonics together, in percent.

        The root of half the sum of squared amplitudes: what a meter of alternating light shows.
        """
        return float(np.sqrt((self.percent**2).sum(axis=1) / 2.0).max())


def light_at_eyes(dome: Dome, gazes: NDArray[np.floating] = GAZES) -> NDArray[np.float64]:
    """Return what each light gives an eye, ``(gazes, lights)``, 1 = a nominal light straight ahead.

    Args:
        dome: where the lights are, and their gains (their luminance counts).
        gazes: unit vectors ``(gazes, 3)`` from the eyes to where they look.
    """
    cosines = np.asarray(gazes, dtype=np.float64) @ dome.directions.T
    brightness = luminance(dome.gains)
    return np.asarray(np.maximum(0.0, cosines) * brightness, dtype=np.float64)


def eye_spectrum(
    sequence: CaptureSequence,
    dome: Dome,
    *,
    gazes: NDArray[np.floating] = GAZES,
    up_to_hz: float = 3000.0,
    with_tracking: bool = True,
) -> EyeSpectrum:
    """Return the flicker at the performer's eyes while the sequence's cycle runs.

    Args:
        sequence: which light is on when: an OLAT pulse lasts ``olat_pulse_us``, all lights together
            ``tracking_pulse_us`` in the middle of a tracking frame's exposure.
        dome: the sequence's lights.
        gazes: unit vectors ``(gazes, 3)``.
        up_to_hz: the highest harmonic.
        with_tracking: ``False`` leaves the tracking frames dark, as in the model that the figures
            of docs/safety.md are compared with.

    Raises:
        SequenceError: the dome has another number of lights.
    """
    _check(sequence, dome)
    seen = light_at_eyes(dome, gazes)
    frames = sequence.cycle_frames
    cycle_us = frames * sequence.frame_period_us
    harmonics = np.arange(1, math.floor(up_to_hz * cycle_us / 1e6 + 1e-9) + 1)

    olat = np.zeros((len(seen), frames))
    tracking = np.zeros((len(seen), frames))
    for index, step in enumerate(sequence.cycle):
        if step.kind is StepKind.OLAT:
            olat[:, index] = seen[:, step.light]
        elif step.kind is StepKind.TRACKING and with_tracking:
            tracking[:, index] = seen.sum(axis=1)
    amplitude = np.zeros((len(seen), len(harmonics)), dtype=np.complex128)
    mean = np.zeros(len(seen))
    for frame_light, (centre_us, width_us) in zip((olat, tracking), _pulses(sequence), strict=True):
        by_frame = np.fft.fft(frame_light, axis=1)
        amplitude += by_frame[:, harmonics % frames] * _pulse(
            harmonics, centre_us, width_us, cycle_us
        )
        mean += frame_light.sum(axis=1) * width_us / cycle_us
    lit = mean > 0
    percent = np.zeros(amplitude.shape)
    percent[lit] = 200.0 * np.abs(amplitude[lit]) / mean[lit, None]
    frequency = np.asarray(harmonics * (1e6 / cycle_us), dtype=np.float64)
    return EyeSpectrum(frequency, percent)


def successive_angles_deg(sequence: CaptureSequence, dome: Dome) -> NDArray[np.float64]:
    """Return the angle from each light of the order to the next, ``(lights,)`` in degrees.

    The last is from the last light to the first, as cycles follow each other.
    """
    _check(sequence, dome)
    ordered = dome.directions[list(sequence.light_order)]
    cosines = (ordered * np.roll(ordered, -1, axis=0)).sum(axis=1)
    return np.asarray(np.degrees(np.arccos(np.clip(cosines, -1.0, 1.0))), dtype=np.float64)


@dataclass(frozen=True)
class OrderFigures:
    """How good a light order is, at the worst gaze and between successive lights."""

    worst_percent: float
    worst_at_hz: float
    total_percent: float
    nearest_deg: float
    mean_deg: float

    @classmethod
    def of(cls, sequence: CaptureSequence, dome: Dome) -> OrderFigures:
        """Return the figures of ``sequence`` in :data:`FLICKER_BAND_HZ`, over all :data:`GAZES`."""
        band = eye_spectrum(sequence, dome, up_to_hz=FLICKER_BAND_HZ[1]).within(*FLICKER_BAND_HZ)
        angles = successive_angles_deg(sequence, dome)
        frequency, worst = band.peak()
        return cls(
            worst, frequency, band.total_percent(), float(angles.min()), float(angles.mean())
        )


@dataclass(frozen=True)
class OptimisedOrder:
    """A light order and what it gained: ``sequence`` holds it."""

    sequence: CaptureSequence
    before: OrderFigures
    after: OrderFigures


def optimise_order(sequence: CaptureSequence, dome: Dome, *, seed: int = 0) -> OptimisedOrder:
    """Return ``sequence`` with the light order of least flicker at the performer's eyes.

    Lowers the worst harmonic from 3 to 70 Hz over nine gazes, and keeps lights that follow each
    other apart on the dome, by simulated annealing over swaps of two lights. The same seed gives
    the same order on the same machine. Where nothing better is found, what came in is returned.

    Args:
        sequence: what to start from.
        dome: its lights.
        seed: of the search.

    Raises:
        SequenceError: the dome has another number of lights.
    """
    before = OrderFigures.of(sequence, dome)
    search = _Search(sequence, dome, np.random.default_rng(seed))
    start_cost = search.cost
    order = search.run()
    if search.best_cost >= start_cost:
        return OptimisedOrder(sequence, before, before)
    better = sequence.replace(light_order=tuple(int(light) for light in order))
    return OptimisedOrder(better, before, OrderFigures.of(better, dome))


class _Search:
    """Annealing over swaps: each round weighs many swaps of one slot and takes one by its cost."""

    def __init__(self, sequence: CaptureSequence, dome: Dome, random: np.random.Generator) -> None:
        self.random = random
        self.order = np.array(sequence.light_order)
        lights, frames = sequence.lights, sequence.cycle_frames
        cycle_us = frames * sequence.frame_period_us
        low, high = (edge * cycle_us / 1e6 for edge in (FLICKER_BAND_HZ[0], _SEARCH_UP_TO_HZ))
        harmonics = np.arange(math.ceil(low - 1e-9), math.floor(high + 1e-9) + 1)
        harmonics = harmonics[harmonics > 0]
        above = harmonics * 1e6 / cycle_us > FLICKER_BAND_HZ[1] * (1 + 1e-9)
        weight = np.where(above, _WEIGHT_ABOVE, 1.0)
        kinds = [step.kind for step in sequence.cycle]
        slots = np.array([i for i, kind in enumerate(kinds) if kind is StepKind.OLAT])
        flashes = np.array([i for i, kind in enumerate(kinds) if kind is StepKind.TRACKING])
        (olat_centre, olat_width), (flash_centre, flash_width) = _pulses(sequence)

        seen = light_at_eyes(dome)
        full = seen.sum(axis=1)
        mean = (full * olat_width + full * len(flashes) * flash_width) / cycle_us
        scale = np.where(mean > 0, 200.0 / np.where(mean > 0, mean, 1.0), 0.0)
        self.seen = seen * scale[:, None]  # (gazes, lights), so that sums are percent
        turn = -2j * np.pi * harmonics / frames
        self.phase = np.exp(np.outer(slots, turn)) * _pulse(
            harmonics, olat_centre, olat_width, cycle_us, weight
        )  # (slots, harmonics)
        flash = np.exp(np.outer(flashes, turn)).sum(axis=0) * _pulse(
            harmonics, flash_centre, flash_width, cycle_us, weight
        )
        self.light = np.outer(full * scale, flash) + self.seen[:, self.order] @ self.phase
        cosines = dome.directions @ dome.directions.T
        near = np.maximum(0.0, cosines - math.cos(math.radians(_NEAR_DEG)))
        self.near = _NEAR_WEIGHT * (near / (1.0 - math.cos(math.radians(_NEAR_DEG))))
        np.fill_diagonal(self.near, 0.0)
        self.cost = float(self._costs(self.light[None])[0] + self._nearness())
        self.best_cost = self.cost
        self.batch = min(_BATCH, lights - 1)
        work = max(1, self.light.size) * max(1, self.batch)
        enough = min(_ROUNDS, 100 * lights)
        self.rounds = 0 if lights < 3 else min(enough, max(200, _LARGEST_WORK // work))

    def run(self) -> NDArray[np.int64]:
        """Return the best order found."""
        best = self.order.copy()
        hot, cold = 0.2 * max(self.cost, 1.0), 0.01
        for number in range(self.rounds):
            temperature = hot * (cold / hot) ** (number / self.rounds)
            slot = int(self.random.integers(len(self.order)))
            others = self._others(slot)
            costs, lights = self._after_swaps(slot, others)
            # one of the swaps, or none, each as likely as its cost makes it (a heat bath)
            weights = np.append(costs, self.cost)
            noise = self.random.gumbel(size=len(weights))
            chosen = int((noise - weights / temperature).argmax())
            if chosen == len(others):
                continue
            other = int(others[chosen])
            self.order[[slot, other]] = self.order[[other, slot]]
            self.light, self.cost = lights[chosen], float(costs[chosen])
            if self.cost < self.best_cost - 1e-9:
                self.best_cost = self.cost
                best = self.order.copy()
        return best

    def _others(self, slot: int) -> NDArray[np.int64]:
        count = len(self.order)
        if self.batch == count - 1:
            return np.delete(np.arange(count), slot)
        others = self.random.integers(count - 1, size=self.batch)
        return np.asarray(others + (others >= slot), dtype=np.int64)

    def _after_swaps(
        self, slot: int, others: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.complex128]]:
        here, there = self.order[slot], self.order[others]
        change = (self.seen[:, here, None] - self.seen[:, there]).T  # (swaps, gazes)
        moved = self.phase[others] - self.phase[slot]  # (swaps, harmonics)
        lights = self.light + change[:, :, None] * moved[:, None, :]
        return self._costs(lights) + self._nearness_after(slot, others), lights

    @staticmethod
    def _costs(lights: NDArray[np.complex128]) -> NDArray[np.float64]:
        """Return the 8-norm of each swap's amplitudes: smooth, and near to their maximum."""
        power = (lights.real**2 + lights.imag**2).reshape(len(lights), -1)
        fourth = np.square(np.square(power))
        return np.asarray(fourth.sum(axis=1) ** 0.125, dtype=np.float64)

    def _nearness(self) -> float:
        return float(self.near[self.order, np.roll(self.order, -1)].sum())

    def _nearness_after(self, slot: int, others: NDArray[np.int64]) -> NDArray[np.float64]:
        """Return the whole order's nearness after each swap, by its few changed pairs."""
        count = len(self.order)
        # the pairs (p, p + 1) that a swap touches; of two slots side by side one is counted once
        pairs = np.empty((len(others), 4), dtype=np.int64)
        pairs[:, 0], pairs[:, 1] = slot - 1, slot
        pairs[:, 2], pairs[:, 3] = others - 1, others
        pairs %= count
        counted = np.ones(pairs.shape, dtype=bool)
        counted[:, 2] = (pairs[:, 2] != pairs[:, 0]) & (pairs[:, 2] != pairs[:, 1])
        counted[:, 3] = (pairs[:, 3] != pairs[:, 0]) & (pairs[:, 3] != pairs[:, 1])
        first, second = self.order[pairs], self.order[(pairs + 1) % count]
        here, there = self.order[slot], self.order[others][:, None]

        def swapped(lights: NDArray[np.int64]) -> NDArray[np.int64]:
            return np.where(lights == here, there, np.where(lights == there, here, lights))

        change = self.near[swapped(first), swapped(second)] - self.near[first, second]
        return np.asarray(self._nearness() + (change * counted).sum(axis=1), dtype=np.float64)


def _pulses(sequence: CaptureSequence) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return centre (after the exposure's start) and width of OLAT and tracking pulses, in us."""
    centre = (sequence.exposure_us + sequence.lag_us - sequence.lead_us) / 2.0
    return (centre, sequence.olat_pulse_us), (sequence.exposure_us / 2, sequence.tracking_pulse_us)


def _pulse(
    harmonics: NDArray[np.int64],
    centre_us: float,
    width_us: float,
    cycle_us: float,
    height: float | NDArray[np.float64] = 1.0,
) -> NDArray[np.complex128]:
    """Return the Fourier coefficients of a rectangular pulse, ``(harmonics,)``."""
    share = width_us / cycle_us
    turn = np.exp(-2j * np.pi * harmonics * centre_us / cycle_us)
    return np.asarray(height * share * np.sinc(harmonics * share) * turn, dtype=np.complex128)


def _check(sequence: CaptureSequence, dome: Dome) -> None:
    if sequence.lights != len(dome):
        raise SequenceError(
            f"the sequence has {sequence.lights} lights, the dome {len(dome)}; give the sequence "
            f"and the dome of the same stage."
        )
