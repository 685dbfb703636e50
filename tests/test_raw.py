"""Raw photos that are TIFF inside, and pictures with more than 8 bits."""

import struct
from io import BytesIO
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from idhand.media import find_media, read_image
from idhand.media.files import RAW_SUFFIXES

THUMBNAIL, SENSOR, JPEG, RGB = 1, 32803, 7, 2


def photo(width: int, height: int) -> np.ndarray:
    """Smooth, and no two corners alike."""
    x, y = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return np.stack((x, y, 255 - x), 2).astype(np.uint8)


class Tiff:
    """Builds a TIFF from directories, little-endian."""

    def __init__(self):
        self.data = bytearray(b"II*\0\0\0\0\0")

    def put(self, raw: bytes) -> int:
        self.data += b"\0" * (len(self.data) % 2)
        offset = len(self.data)
        self.data += raw
        return offset

    def directory(self, tags: dict[int, tuple[str, list[int]]], following: int = 0) -> int:
        entries = []
        for tag, (kind, values) in sorted(tags.items()):
            raw = struct.pack(f"<{len(values)}{kind}", *values)
            stored = raw.ljust(4, b"\0") if len(raw) <= 4 else struct.pack("<I", self.put(raw))
            number = {"B": 1, "H": 3, "I": 4}[kind]
            entries.append(struct.pack("<HHI", tag, number, len(values)) + stored)
        body = struct.pack("<H", len(entries)) + b"".join(entries) + struct.pack("<I", following)
        return self.put(body)

    def picture(self, rgb: np.ndarray, kind=0, **more: tuple[str, list[int]]) -> dict:
        """Tags of uncompressed RGB."""
        height, width = rgb.shape[:2]
        at = self.put(rgb.tobytes())
        tags = self._sizes(width, height, kind) | {
            258: ("H", [8, 8, 8]),
            259: ("H", [1]),
            262: ("H", [RGB]),
            273: ("I", [at]),
            277: ("H", [3]),
            278: ("I", [height]),
            279: ("I", [rgb.nbytes]),
        }
        return tags | {int(name[1:]): value for name, value in more.items()}

    def jpeg(self, rgb: np.ndarray, orientation: int | None = None) -> dict:
        """Tags of a JPEG in one strip, as previews are kept."""
        exif = Image.Exif()
        if orientation:
            exif[0x0112] = orientation
        stream = BytesIO()
        Image.fromarray(rgb).save(stream, "JPEG", quality=95, exif=exif)
        raw = stream.getvalue()
        return self._sizes(rgb.shape[1], rgb.shape[0], THUMBNAIL) | {
            259: ("H", [JPEG]),
            262: ("H", [6]),
            273: ("I", [self.put(raw)]),
            279: ("I", [len(raw)]),
        }

    def sensor(self, width: int, height: int) -> dict:
        """Tags of undeveloped data."""
        at = self.put(bytes(64))
        return self._sizes(width, height, 0) | {
            258: ("H", [14]),
            259: ("H", [1]),
            262: ("H", [SENSOR]),
            273: ("I", [at]),
            277: ("H", [1]),
            279: ("I", [64]),
        }

    @staticmethod
    def _sizes(width: int, height: int, kind: int) -> dict:
        return {254: ("I", [kind]), 256: ("I", [width]), 257: ("I", [height])}

    def save(self, path: Path, first: dict, inner: list[dict], following: int = 0) -> Path:
        subs = [self.directory(tags) for tags in inner]
        tags = first | ({330: ("I", subs)} if subs else {})
        self.data[4:8] = struct.pack("<I", self.directory(tags, following))
        path.write_bytes(self.data)
        return path


def test_the_largest_picture_of_a_raw_photo_is_taken(tmp_path: Path):
    tiff, large = Tiff(), photo(640, 480)
    first, inner = tiff.picture(photo(160, 120), THUMBNAIL), tiff.picture(large)
    path = tiff.save(tmp_path / "a.dng", first | {50706: ("B", [1, 4, 0, 0])}, [inner])
    np.testing.assert_array_equal(read_image(path)[0], large)


def test_a_jpeg_preview_beside_sensor_data(tmp_path: Path):
    """As Nikon's: a thumbnail, a finished JPEG, the sensor."""
    tiff, large = Tiff(), photo(1600, 1064)
    first = tiff.picture(photo(160, 120), THUMBNAIL)
    inner = [tiff.jpeg(photo(570, 375)), tiff.jpeg(large), tiff.sensor(6016, 4016)]
    rgb = read_image(tiff.save(tmp_path / "a.nef", first, inner))[0]
    assert rgb.shape == large.shape
    assert np.abs(rgb.astype(int) - large).mean() < 2


@pytest.mark.parametrize("own", [None, 6])
def test_a_preview_is_turned_once(tmp_path: Path, own: int | None):
    tiff, large = Tiff(), photo(1200, 800)
    first = tiff.picture(photo(160, 120), THUMBNAIL) | {0x0112: ("H", [6])}
    path = tiff.save(tmp_path / "a.dng", first, [tiff.jpeg(large, own), tiff.sensor(4000, 3000)])
    rgb = read_image(path)[0]
    assert rgb.shape == (1200, 800, 3)
    assert np.abs(rgb.astype(int) - np.rot90(large, -1)).mean() < 2


def test_a_thumbnail_alone_is_a_sentence(tmp_path: Path):
    tiff = Tiff()
    first = tiff.picture(photo(160, 120), THUMBNAIL) | {50706: ("B", [1, 4, 0, 0])}
    path = tiff.save(tmp_path / "a.dng", first, [tiff.sensor(4000, 3000)])
    with pytest.raises(ValueError, match=r"a.dng cannot be used: .* 4000 px .* only 160 px across"):
        read_image(path)
    tiff = Tiff()
    path = tiff.save(tmp_path / "b.dng", tiff.sensor(4000, 3000), [])
    with pytest.raises(ValueError, match=r"finished picture in it is missing; export it as JPEG"):
        read_image(path)


def test_a_damaged_preview_gives_way_to_the_next(tmp_path: Path):
    tiff, second = Tiff(), photo(1200, 800)
    broken = tiff.jpeg(photo(1500, 1000))
    at = broken[273][1][0]
    tiff.data[at + 700 : at + broken[279][1][0]] = bytes(broken[279][1][0] - 700)
    tiff.data[at + broken[279][1][0] - 2 :] = b""
    inner = [broken, tiff.jpeg(second), tiff.sensor(4000, 3000)]
    rgb = read_image(tiff.save(tmp_path / "a.dng", tiff.picture(photo(160, 120), 1), inner))[0]
    assert rgb.shape in (second.shape, (1000, 1500, 3))


def test_lossless_jpeg_is_sensor_data(tmp_path: Path):
    """Canon keeps the sensor as JPEG's lossless form, without a photometric tag."""
    tiff = Tiff()
    raw = b"\xff\xd8\xff\xc3" + struct.pack(">HBHHB", 11, 14, 3000, 4000, 1) + b"\1\x11\0\xff\xd9"
    sensor = {259: ("H", [6]), 273: ("I", [tiff.put(raw)]), 279: ("I", [len(raw)])}
    following = tiff.directory(sensor)
    large = photo(1600, 1064)
    path = tiff.save(tmp_path / "a.cr2", tiff.jpeg(large), [], following)
    assert read_image(path)[0].shape == large.shape


def test_ordinary_tiffs_of_several_pages_give_the_first(tmp_path: Path):
    pages = [Image.fromarray(photo(60, 40)), Image.fromarray(photo(200, 100))]
    pages[0].save(tmp_path / "a.tif", save_all=True, append_images=pages[1:])
    assert read_image(tmp_path / "a.tif")[0].shape == (40, 60, 3)


def test_circles_of_directories_end(tmp_path: Path):
    tiff = Tiff()
    path = tiff.save(tmp_path / "a.dng", tiff.picture(photo(160, 120), THUMBNAIL), [])
    offset = struct.unpack("<I", tiff.data[4:8])[0]
    tags = tiff.picture(photo(160, 120), THUMBNAIL) | {330: ("I", [offset, 8, 9_999_999])}
    path = tiff.save(path, tags, [], following=offset)
    assert read_image(path)[0].shape == (120, 160, 3), "as large as anything in it"


@pytest.mark.parametrize("suffix", [".raf", ".cr3", ".orf", ".rw2"])
def test_raw_photos_of_other_kinds_are_a_sentence(tmp_path: Path, suffix: str):
    assert suffix in RAW_SUFFIXES
    path = tmp_path / f"a{suffix}"
    head = b"\0\0\0\x18ftypcrx " if suffix == ".cr3" else b"FUJIFILMCCD-RAW "
    path.write_bytes(head + bytes(200))
    assert find_media([tmp_path]).files[0].kind == "image"
    with pytest.raises(ValueError, match=rf"a{suffix} .*the JPEG or TIFF that the camera"):
        read_image(path)


# ------------------------------------------------------------------------------------------- levels


RAMP = np.linspace(0, 1, 4000).reshape(40, 100)


@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_fewer_bits_in_16_are_as_bright_as_they_were(tmp_path: Path, bits: int, suffix: str):
    values = np.rint(RAMP * (2**bits - 1)).astype(np.uint16)
    values[0, :2] = 65535  # hot pixels
    Image.fromarray(values).save(tmp_path / f"a{suffix}")
    grey = read_image(tmp_path / f"a{suffix}")[0][..., 0]
    expected = np.rint(RAMP * 255)
    expected[0, :2] = 255
    np.testing.assert_allclose(grey, expected, atol=1)


@pytest.mark.parametrize("bits", [10, 12, 16])
@pytest.mark.parametrize("suffix", [".png", ".tif"])
def test_so_are_colours(tmp_path: Path, bits: int, suffix: str):
    rgb = np.stack((RAMP, RAMP[::-1], 0.5 * RAMP), 2)
    values = np.rint(rgb * (2**bits - 1)).astype(np.uint16)
    assert cv2.imwrite(str(tmp_path / f"a{suffix}"), values[..., ::-1])
    np.testing.assert_allclose(read_image(tmp_path / f"a{suffix}")[0], rgb * 255, atol=1)


def test_transparent_colours_of_16_bits_are_put_on_white(tmp_path: Path):
    bgra = np.zeros((4, 4, 4), np.uint16)
    bgra[..., 3] = 32768
    assert cv2.imwrite(str(tmp_path / "a.png"), bgra)
    np.testing.assert_allclose(read_image(tmp_path / "a.png")[0], 127, atol=1)


def test_a_stated_white_level_is_used(tmp_path: Path):
    """Of a dim picture that keeps well below it, which the values alone could not tell."""
    values = np.rint(RAMP * 900).astype(np.uint16)
    Image.fromarray(values).save(tmp_path / "a.tif", tiffinfo={341: 4095, 281: 4095})
    grey = read_image(tmp_path / "a.tif")[0][..., 0]
    np.testing.assert_allclose(grey, RAMP * 900 / 4095 * 255, atol=1)


def test_black_stays_black(tmp_path: Path):
    Image.fromarray(np.zeros((8, 8), np.uint16)).save(tmp_path / "a.png")
    assert read_image(tmp_path / "a.png")[0].max() == 0
