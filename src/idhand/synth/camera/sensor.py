"""The camera: linear light → the 8-bit picture that a phone or webcam makes of it.

Lengths in pixels are those of a picture 224 wide and scale with it.
"""

import math
from dataclasses import dataclass

import cv2
import numpy as np
from jaxtyping import Float, UInt8

from idhand.synth.compiled import compiled_loosely
from idhand.synth.light.environments import LUMINANCE

REFERENCE_PX = 224
"""Width of the pictures that lengths are given for."""
MIDDLE_GREY = 0.18
"""Linear value of what is metered, at exposure 0."""
SUBJECT_SHARE = 0.5
"""How far auto exposure goes by the hand rather than by the whole picture."""
MAX_LINEAR = 8.0
"""Exposed values are cut off here; white begins near 1."""
TONE_STEPS = 4096
"""Entries of the tone curve's table, over the root of the linear value."""
MAX_BALANCE = 1.4
"""No channel is multiplied with more than this, or less than one over it, to balance white."""
MIN_QUALITY, MAX_QUALITY = 40, 97
"""Of JPEG files."""

Rgb8 = UInt8[np.ndarray, "height width 3"]
Linear = Float[np.ndarray, "height width 3"]


@dataclass(frozen=True, kw_only=True)
class Sensor:
    """Everything that a camera does to one picture."""

    exposure_ev: float
    """Stops over what auto exposure would take."""
    balance: float
    """How far the mean colour of the picture is made grey: 0 not at all, 1 fully."""
    tint: Float[np.ndarray, " 3"]
    """What white balance gets wrong: factors of the channels."""
    knee: float
    """Linear value from which highlights roll off."""
    contrast: float
    """Depth of the S-curve; 0 is a straight sRGB curve."""
    lift: float
    """sRGB value of black, by haze and stray light."""
    saturation: float
    """1 leaves colours as they are."""
    vignette: float
    """Light that the corners lack, as a share."""
    defocus_px: float
    """Deviation of the blur."""
    motion_px: float
    """Length of the streak that shaking makes of a point."""
    motion_rad: float
    """Direction of the streak."""
    resample: float
    """Pixels of the picture per pixel of the sensor, at least 1."""
    shot_noise: float
    """Variance per linear value."""
    read_noise: float
    """Deviation of the noise in the dark, linear."""
    chroma_noise: float
    """Deviation of colour noise as a multiple of the luminance noise's."""
    sharpen: float
    """Strength of the unsharp mask."""
    quality: int
    """Of the JPEG file."""

    @staticmethod
    def none() -> "Sensor":
        """Exposure and the sRGB curve only, to compare with."""
        return Sensor(
            exposure_ev=0.0,
            balance=0.0,
            tint=np.ones(3),
            knee=0.7,
            contrast=0.0,
            lift=0.0,
            saturation=1.0,
            vignette=0.0,
            defocus_px=0.0,
            motion_px=0.0,
            motion_rad=0.0,
            resample=1.0,
            shot_noise=0.0,
            read_noise=0.0,
            chroma_noise=0.0,
            sharpen=0.0,
            quality=95,
        )


@dataclass(frozen=True, kw_only=True)
class SensorConfig:
    """What a class of cameras does; pairs are ranges unless said otherwise."""

    share: float
    """Of all pictures."""
    exposure_ev: tuple[float, float]
    """Mean and deviation."""
    tint: float
    """Deviation of the logarithm."""
    noise: tuple[float, float]
    """Range of the logarithm (base 10) of the shot noise."""
    resample: tuple[float, float]
    defocus: tuple[float, float]
    """Mean and deviation of a size of which only what is above zero counts, px."""
    motion_share: float
    motion_px: float
    """Median of the streaks."""
    sharpen: tuple[float, float]
    contrast: tuple[float, float]
    quality: tuple[int, int]


PHONE = SensorConfig(
    share=0.64,
    exposure_ev=(0.25, 0.35),
    tint=0.035,
    noise=(-5.0, -3.6),
    resample=(0.8, 1.4),
    defocus=(0.1, 0.45),
    motion_share=0.10,
    motion_px=2.5,
    sharpen=(0.1, 0.8),
    contrast=(0.0, 0.45),
    quality=(78, 97),
)
WEBCAM = SensorConfig(
    share=0.26,
    exposure_ev=(0.2, 0.5),
    tint=0.07,
    noise=(-4.3, -3.2),
    resample=(1.0, 2.2),
    defocus=(0.3, 0.5),
    motion_share=0.25,
    motion_px=3.5,
    sharpen=(0.2, 1.3),
    contrast=(-0.15, 0.6),
    quality=(55, 90),
)
POOR = SensorConfig(
    share=0.10,
    exposure_ev=(-0.5, 0.8),
    tint=0.12,
    noise=(-3.6, -2.75),
    resample=(1.0, 3.0),
    defocus=(0.6, 0.9),
    motion_share=0.5,
    motion_px=5.0,
    sharpen=(0.0, 1.2),
    contrast=(-0.25, 0.6),
    quality=(MIN_QUALITY, 78),
)
CAMERAS = (PHONE, WEBCAM, POOR)


def draw_sensor(rng: np.random.Generator) -> Sensor:
    """A camera and its luck with one picture."""
    config = CAMERAS[rng.choice(len(CAMERAS), p=[camera.share for camera in CAMERAS])]
    warm, green = rng.normal(0, config.tint), rng.normal(0, config.tint / 3)
    shot_noise = 10 ** rng.uniform(*config.noise)
    moved = rng.random() < config.motion_share
    return Sensor(
        exposure_ev=float(rng.normal(*config.exposure_ev)),
        balance=float(rng.uniform(0.05, 0.35)),
        tint=np.exp([warm, green, -warm]),
        knee=float(rng.uniform(0.45, 0.85)),
        contrast=float(rng.uniform(*config.contrast)),
        lift=float(max(rng.normal(0.0, 0.025), 0.0)),
        saturation=float(np.clip(rng.normal(1.05, 0.15), 0.5, 1.5)),
        vignette=float(rng.beta(1.2, 4.0) * 0.6),
        defocus_px=float(max(rng.normal(*config.defocus), 0.0)),
        motion_px=float(min(config.motion_px * rng.lognormal(0, 0.5), 20.0)) if moved else 0.0,
        motion_rad=float(rng.uniform(0, math.pi)),
        resample=float(max(rng.uniform(*config.resample), 1.0)),
        shot_noise=float(shot_noise),
        read_noise=float(math.sqrt(shot_noise) * rng.uniform(0.02, 0.12)),
        chroma_noise=float(rng.uniform(0.0, 0.8)),
        sharpen=float(rng.uniform(*config.sharpen)),
        quality=int(rng.integers(config.quality[0], config.quality[1] + 1)),
    )


def develop(
    linear: Linear,
    sensor: Sensor,
    rng: np.random.Generator,
    subject: Float[np.ndarray, "height width"] | None = None,
) -> Rgb8:
    """Take the picture.

    Args:
        linear: Radiance, float32, of any scale.
        sensor: The camera.
        rng: Source of the noise.
        subject: How much of every pixel is hand, 0..1; auto exposure goes by it where given.

    Returns:
        sRGB.
    """
    height, width, _ = linear.shape
    scale = width / REFERENCE_PX
    picture = np.empty_like(linear)
    _expose(linear, _gains(linear, sensor, subject), sensor.vignette, picture)
    picture = _blurred(picture, sensor, scale)
    if sensor.resample > 1:
        size = (max(1, round(width / sensor.resample)), max(1, round(height / sensor.resample)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    if sensor.shot_noise > 0 or sensor.read_noise > 0:
        _add_noise(
            picture, *_grain(picture.shape, sensor, rng), sensor.shot_noise, sensor.read_noise
        )
    srgb = np.empty_like(picture)
    _through_curve(picture, _tone_curve(sensor), (TONE_STEPS - 1) ** 2 / MAX_LINEAR, srgb)
    return _finished(srgb, sensor, width, height, scale)


def encode_jpeg(rgb: Rgb8, quality: int) -> bytes:
    """The bytes of a JPEG file."""
    flags = [cv2.IMWRITE_JPEG_QUALITY, quality]
    done, data = cv2.imencode(".jpg", cv2.cvtColor(rgb, cv2.COLOR_RGB2BGR), flags)
    assert done
    return data.tobytes()


def _gains(linear, sensor, subject):
    """Factors of the channels by auto exposure and white balance."""
    small = linear[1::3, 1::3].reshape(-1, 3)
    luminance = small @ LUMINANCE.astype(np.float32)
    logs = np.log(luminance + 1e-4 * luminance.mean() + 1e-9)
    metered = logs.mean()
    if subject is not None:
        weights = subject[1::3, 1::3].ravel()
        total = weights.sum()
        if total > 1:
            metered += SUBJECT_SHARE * ((weights * logs).sum() / total - metered)
    middle = np.exp(metered)
    # Grey world, without what is burnt out.
    mean = np.minimum(small, 4 * middle).mean(0) + 1e-9
    balance = (mean @ LUMINANCE / mean) ** sensor.balance
    balance = np.clip(balance, 1 / MAX_BALANCE, MAX_BALANCE) * sensor.tint
    gain = MIDDLE_GREY * 2**sensor.exposure_ev / middle
    return (gain * balance).astype(np.float32)


@compiled_loosely
def _expose(linear, gains, vignette, out):
    """Light times exposure, white balance, and what the corners lack of it, up to the limit."""
    height, width = linear.shape[:2]
    for y in range(height):
        for x in range(width):
            u, v = 2.0 * x / (width - 1) - 1.0, 2.0 * y / (height - 1) - 1.0
            falloff = 1.0 - 0.5 * vignette * (u * u + v * v)
            for c in range(3):
                out[y, x, c] = min(linear[y, x, c] * gains[c] * falloff, MAX_LINEAR)


def _blurred(picture, sensor, scale):
    """Out of focus, then shaken."""
    sigma, length = sensor.defocus_px * scale, sensor.motion_px * scale
    if sigma > 0.2:
        picture = cv2.GaussianBlur(picture, (0, 0), sigma, borderType=cv2.BORDER_REFLECT_101)
    if length > 1:
        half = math.ceil(length / 2)
        r = np.arange(-half, half + 1)
        along = r * math.cos(sensor.motion_rad) + r[:, None] * math.sin(sensor.motion_rad)
        across = r[:, None] * math.cos(sensor.motion_rad) - r * math.sin(sensor.motion_rad)
        streak = np.clip(length / 2 + 0.5 - np.abs(along), 0, 1) * np.clip(1 - np.abs(across), 0, 1)
        kernel = (streak / streak.sum()).astype(np.float32)
        picture = cv2.filter2D(picture, -1, kernel, borderType=cv2.BORDER_REFLECT_101)
    return picture


def _grain(shape, sensor, rng):
    """Standard noise: fine in luminance, blotchy in colour, as after a phone's denoising."""
    height, width, _ = shape
    fine = rng.standard_normal((height, width), dtype=np.float32)
    colour = np.zeros((1, 1, 3), np.float32)
    if sensor.chroma_noise > 0.05:
        half = (height // 2 + 1, width // 2 + 1, 3)
        colour = rng.standard_normal(half, dtype=np.float32) * np.float32(sensor.chroma_noise)
        colour = cv2.resize(colour, (width, height), interpolation=cv2.INTER_LINEAR)
    return fine, colour


@compiled_loosely
def _add_noise(picture, fine, colour, shot_noise, read_noise):
    """Photon noise grows with the root of the light, which is nearest to what green sees."""
    has_colour = colour.shape[0] > 1
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            green = max(picture[y, x, 1], 0.0)
            deviation = np.sqrt(shot_noise * green + read_noise * read_noise)
            for c in range(3):
                grain = fine[y, x] + (colour[y, x, c] if has_colour else 0.0)
                picture[y, x, c] += grain * deviation


@compiled_loosely
def _through_curve(picture, curve, scale, out):
    """Look the root of the scaled value up in a table."""
    last = curve.shape[0] - 1
    for y in range(picture.shape[0]):
        for x in range(picture.shape[1]):
            for c in range(3):
                step = int(np.sqrt(max(picture[y, x, c], 0.0) * scale))
                out[y, x, c] = curve[min(step, last)]


def _tone_curve(sensor):
    """Table from the root of the linear value to sRGB, 0..1: shoulder, curves, lift."""
    linear = (np.arange(TONE_STEPS) / (TONE_STEPS - 1)) ** 2 * MAX_LINEAR
    over = np.maximum(linear - sensor.knee, 0) / (1 - sensor.knee)
    linear = np.minimum(linear, sensor.knee) + (1 - sensor.knee) * (1 - np.exp(-over))
    srgb = np.where(linear < 0.0031308, 12.92 * linear, 1.055 * linear ** (1 / 2.4) - 0.055)
    srgb = srgb - sensor.contrast * np.sin(2 * math.pi * srgb) / (2 * math.pi)
    return (sensor.lift + (1 - sensor.lift) * np.clip(srgb, 0, 1)).astype(np.float32)


def _finished(srgb, sensor, width, height, scale):
    """Full size, sharpened, saturated, 8 bits."""
    if srgb.shape[:2] != (height, width):
        srgb = cv2.resize(srgb, (width, height), interpolation=cv2.INTER_LINEAR)
    if sensor.sharpen > 0:
        sigma = 0.9 * scale * sensor.resample
        soft = cv2.GaussianBlur(srgb, (0, 0), sigma)
        srgb = cv2.addWeighted(srgb, 1 + sensor.sharpen, soft, -sensor.sharpen, 0)
    out = np.empty((height, width, 3), np.uint8)
    _quantise(srgb, sensor.saturation, out)
    return out


@compiled_loosely
def _quantise(srgb, saturation, out):
    """Colours more or less lively, as bytes."""
    for y in range(srgb.shape[0]):
        for x in range(srgb.shape[1]):
            grey = 0.0
            for c in range(3):
                grey += LUMINANCE[c] * srgb[y, x, c]
            for c in range(3):
                value = grey + saturation * (srgb[y, x, c] - grey)
                out[y, x, c] = np.uint8(min(max(value, 0.0), 1.0) * 255.0 + 0.5)
