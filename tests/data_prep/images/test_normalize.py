"""Every rule of the normalizer by itself; and all readers decode what it accepts to the same pixels."""

import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from data_prep.images.normalize import MAX_FILE_SIDE, Normalizer
from data_prep.images.pixel_stats import Sums
from data_prep.system.errors import DataError

SIZE = (48, 36)
FORMATS = ("original", "jpeg", "png", "webp")
ORIENTATION = 0x0112


def smooth(size=SIZE):
    """Return a picture without symmetry that JPEG hardly changes."""
    x, y = np.meshgrid(np.linspace(0, 255, size[0]), np.linspace(0, 255, size[1]))
    return Image.fromarray(np.stack([x, y, (x + y) / 2], axis=-1).astype(np.uint8))


def saved(picture, kind, **options):
    buffer = io.BytesIO()
    picture.save(buffer, kind, **options)
    return buffer.getvalue()


def chunk(kind, payload):
    return struct.pack(">I", len(payload)) + kind + payload + struct.pack(">I", zlib.crc32(kind + payload))


def png(size, depth, color, raw, *extra, interlaced=0):
    """Return a PNG with the given filtered rows, for what Pillow does not write."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, depth, color, 0, 0, interlaced))
    body = b"".join(extra) + chunk(b"IDAT", zlib.compress(raw))
    return b"\x89PNG\r\n\x1a\n" + header + body + chunk(b"IEND", b"")


def rows(array):
    return b"".join(b"\0" + row.tobytes() for row in array)


def rotated(kind, orientation=6):
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    return saved(smooth(), kind, exif=exif, **({"lossless": True} if kind == "WEBP" else {}))


def animated(kind):
    return saved(smooth(), kind, save_all=True, append_images=[smooth().rotate(180)], **LOSSLESS.get(kind, {}))


LOSSLESS = {"WEBP": {"lossless": True}}
SOURCES = {"JPEG": saved(smooth(), "JPEG"), "PNG": saved(smooth(), "PNG"), "WEBP": saved(smooth(), "WEBP")}
EXTENSIONS = {"JPEG": "jpg", "PNG": "png", "WEBP": "webp"}
SAMPLES = {
    **SOURCES,
    "gray-jpeg": saved(smooth().convert("L"), "JPEG"),
    "progressive": saved(smooth(), "JPEG", progressive=True),
    "rgb-jpeg": saved(smooth(), "JPEG", keep_rgb=True),
    "cmyk": saved(smooth().convert("CMYK"), "JPEG"),
    "gray": saved(smooth().convert("L"), "PNG"),
    "bits": saved(smooth().convert("1"), "PNG"),
    "palette": saved(smooth().quantize(99), "PNG"),
    "palette-key": saved(smooth().quantize(9), "PNG", transparency=3),
    "alpha": saved(smooth().convert("RGBA"), "PNG"),
    "gray-alpha": saved(smooth().convert("LA"), "PNG"),
    "gray-16": saved(Image.fromarray(np.arange(12, dtype=np.uint16).reshape(3, 4) * 5000), "PNG"),
    "rgb-16": png((2, 3), 16, 2, rows(np.arange(18, dtype=">u2").reshape(3, 6) * 3000)),
    "interlaced": png((1, 1), 8, 2, b"\0abc", interlaced=1),
    "gray-2": png((5, 1), 2, 0, b"\0\x1b\x40"),
    "apng": animated("PNG"),
    "animated-webp": animated("WEBP"),
    "rotated-jpeg": rotated("JPEG"),
    "rotated-png": rotated("PNG"),
    "rotated-webp": rotated("WEBP"),
    "mpo": saved(smooth(), "MPO", save_all=True, append_images=[smooth().rotate(90)]),
}


def pixels(encoded):
    with Image.open(io.BytesIO(encoded.content)) as picture:
        return np.array(picture.convert("RGB"))


def refused(content, normalizer=None):
    with pytest.raises(DataError) as caught:
        (normalizer or Normalizer())(content)
    assert "\n" not in str(caught.value)
    assert " at 0x" not in str(caught.value)
    return str(caught.value)


# What is refused.


def test_empty_is_refused():
    assert refused(b"") == "empty file"


@pytest.mark.parametrize("kind", ["BMP", "GIF", "TIFF", "PPM"])
def test_other_formats_are_refused_and_named(kind):
    assert refused(saved(smooth(), kind)) == "not a JPEG, PNG or WebP image"


def test_text_is_refused():
    assert refused(b"<html>404 Not Found</html>") == "not a JPEG, PNG or WebP image"


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("cut", [1, 2, 5, 12, 20, 200])
def test_truncated_is_refused(kind, cut, image_format):
    refused(SOURCES[kind][:-cut], Normalizer(image_format))


def test_truncated_progressive_is_refused():
    refused(SAMPLES["progressive"][:-2])


@pytest.mark.parametrize("kind", SOURCES)
def test_signature_alone_is_refused(kind):
    refused(SOURCES[kind][:16])


@pytest.mark.parametrize("kind", SOURCES)
def test_damaged_header_is_refused(kind):
    content = bytearray(SOURCES[kind])
    content[12:24] = bytes(12)
    refused(bytes(content))


def test_every_flipped_bit_of_a_png_is_refused():
    """Pillow ignores wrong checksums; torchvision's process dies from them."""
    content = SOURCES["PNG"]
    for place in range(8, len(content), 7):
        damaged = bytearray(content)
        damaged[place] ^= 4
        refused(bytes(damaged))


@pytest.mark.parametrize("kept", [35, 20, 0])
@pytest.mark.parametrize("interlaced", [0, 1])
def test_png_with_rows_missing_is_refused(kept, interlaced):
    refused(png(SIZE, 8, 2, rows(np.zeros((kept, SIZE[0] * 3), np.uint8)), interlaced=interlaced))


def test_png_with_more_than_its_rows_is_refused():
    """It is not read to its end, which is damaged."""
    content = (
        png((4, 4), 8, 0, b"")[:33] + chunk(b"IDAT", zlib.compress(bytes(10**7))[:-4] + b"abcd") + chunk(b"IEND", b"")
    )
    assert "more than its rows" in refused(content)


def test_png_of_an_unknown_method_or_chunk_is_refused():
    content = png((1, 1), 8, 2, b"\0abc")
    damaged = content[:8] + chunk(b"IHDR", content[16:26] + b"\x01\x00\x00") + content[33:]
    assert "unknown method" in refused(damaged)
    assert "critical chunk" in refused(png((1, 1), 8, 2, b"\0abc", chunk(b"ABCD", b"")))


@pytest.mark.parametrize("size", [(2**13 + 1, 2**13), (12_000, 10_000), (60_000, 60_000), (MAX_FILE_SIDE + 1, 1)])
def test_giants_are_refused_by_their_header(size):
    """The file is only a header, so decoding it would raise another error."""
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", *size, 8, 2, 0, 0, 0))
    assert "more than" in refused(b"\x89PNG\r\n\x1a\n" + header + chunk(b"IDAT", b"") + chunk(b"IEND", b""))


def test_a_giant_jpeg_is_refused_even_where_it_would_be_scaled_down():
    content = bytearray(SOURCES["JPEG"])
    frame = content.index(b"\xff\xc0")
    content[frame + 5 : frame + 9] = struct.pack(">HH", 65_000, 65_000)
    assert "more than" in refused(bytes(content), Normalizer(resize=32))


@pytest.mark.parametrize("image_format", FORMATS)
def test_the_longest_side_can_be_stored_in_every_format(image_format):
    encoded = Normalizer(image_format)(saved(Image.new("RGB", (MAX_FILE_SIDE, 2), "red"), "PNG"))
    assert pixels(encoded).shape == encoded.shape == (2, MAX_FILE_SIDE, 3)


# Which bytes are kept, and what other images become.


@pytest.mark.parametrize("kind", SOURCES)
def test_original_keeps_bytes_and_extension(kind):
    encoded = Normalizer()(SOURCES[kind])
    assert (encoded.content, encoded.extension) == (SOURCES[kind], EXTENSIONS[kind])
    assert encoded.shape == (SIZE[1], SIZE[0], 3)


@pytest.mark.parametrize("name", ["gray-jpeg", "progressive", "mpo", "gray", "bits", "palette", "interlaced", "gray-2"])
def test_original_keeps_what_all_readers_read(name):
    assert Normalizer()(SAMPLES[name]).content == SAMPLES[name]


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("image_format", ["jpeg", "png", "webp"])
def test_a_wanted_format_keeps_only_its_own(image_format, kind):
    encoded = Normalizer(image_format)(SOURCES[kind])
    assert (encoded.content == SOURCES[kind]) == (kind == image_format.upper())
    with Image.open(io.BytesIO(encoded.content)) as picture:
        assert picture.format == image_format.upper()


@pytest.mark.parametrize("kind", SOURCES)
def test_bytes_after_the_end_do_no_harm(kind):
    content = SOURCES[kind] + b"garbage"
    assert Normalizer()(content).content == content


@pytest.mark.parametrize(
    ("name", "extension"),
    [
        ("cmyk", "jpg"),
        ("rotated-jpeg", "jpg"),
        ("rotated-png", "png"),
        ("rotated-webp", "png"),
        ("animated-webp", "png"),
    ],
)
def test_original_encodes_again_in_jpeg_or_png(name, extension):
    encoded = Normalizer()(SAMPLES[name])
    assert encoded.content != SAMPLES[name]
    assert encoded.extension == extension


@pytest.mark.parametrize("image_format", ["png", "webp"])
@pytest.mark.parametrize("name", ["JPEG", "gray-jpeg", "palette", "gray"])
def test_png_and_webp_are_lossless(name, image_format):
    with Image.open(io.BytesIO(SAMPLES[name])) as picture:
        expected = np.array(picture.convert("RGB"))
    assert np.array_equal(pixels(Normalizer(image_format)(SAMPLES[name])), expected)


@pytest.mark.parametrize("image_format", ["jpeg", "png"])
def test_gray_stays_gray_in_bytes(image_format):
    encoded = Normalizer(image_format, resize=20)(SAMPLES["gray"])
    with Image.open(io.BytesIO(encoded.content)) as picture:
        assert picture.mode == "L"
    assert encoded.shape[2] == len(encoded.sums.total) == 3


def test_quality_is_that_of_new_jpegs_only():
    sizes = [len(Normalizer("jpeg", quality=quality)(SOURCES["PNG"]).content) for quality in (20, 60, 95)]
    assert sizes == sorted(set(sizes))
    assert Normalizer("jpeg", quality=20)(SOURCES["JPEG"]).content == SOURCES["JPEG"]


def test_stray_bytes_between_segments_are_encoded_again():
    """DALI's parser refuses such bytes, libjpeg skips them."""
    content = SOURCES["JPEG"]
    table = content.index(b"\xff\xdb")
    stray = content[:table] + b"abc" + content[table:]
    encoded = Normalizer()(stray)
    assert encoded.content != stray
    assert np.array_equal(pixels(Normalizer("png")(stray)), pixels(Normalizer("png")(content)))
    assert encoded.extension == "jpg"


def test_exif_that_a_webp_announces_and_lacks_is_encoded_again():
    content = rotated("WEBP", orientation=1)
    assert Normalizer()(content).content == content
    assert Normalizer()(content.replace(b"EXIF", b"ABCD")).extension == "png"


@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("name", SAMPLES)
def test_same_content_gives_same_bytes(name, image_format):
    normalizer = Normalizer(image_format, resize=30)
    assert normalizer(SAMPLES[name]) == normalizer(bytes(bytearray(SAMPLES[name])))


# Pixels.


def test_cmyk_becomes_rgb():
    with Image.open(io.BytesIO(SAMPLES["cmyk"])) as picture:
        expected = np.array(picture.convert("RGB"))
    assert np.array_equal(pixels(Normalizer("png")(SAMPLES["cmyk"])), expected)


def test_gray_of_16_bits_loses_its_low_byte():
    levels = np.array([[0, 255, 256], [40_000, 65_279, 65_535]], np.uint16)
    stored = pixels(Normalizer()(saved(Image.fromarray(levels), "PNG")))
    assert np.array_equal(stored, np.repeat((levels >> 8)[:, :, None], 3, axis=2))


def test_rgb_of_16_bits_loses_its_low_byte():
    levels = np.array([[[0, 255, 256], [511, 40_000, 65_535]]], ">u2")
    encoded = Normalizer()(png((2, 1), 16, 2, rows(levels)))
    assert np.array_equal(pixels(encoded), levels >> 8)
    assert encoded.content[24] == 8


def test_alpha_is_flattened_over_white():
    alpha = np.array([[0, 128, 255]], np.uint8)
    picture = Image.fromarray(np.dstack([np.full((1, 3, 3), 100, np.uint8), alpha]))
    stored = pixels(Normalizer()(saved(picture, "PNG")))
    assert stored[0, 0].tolist() == [255] * 3
    assert stored[0, 1].tolist() == [pytest.approx(255 - 155 * 128 / 255, abs=1)] * 3
    assert stored[0, 2].tolist() == [100] * 3


@pytest.mark.parametrize(
    ("depth", "raw", "key", "shown"),
    [
        (8, bytes([0, 7, 9]), 7, [255, 9]),
        (2, bytes([0, 0b01_10_0000]), 1, [255, 170]),
        (16, bytes([0, 7, 1, 9, 1]), 7 << 8 | 1, [255, 9]),
    ],
)
def test_a_key_of_gray_is_flattened_over_white(depth, raw, key, shown):
    content = png((2, 1), depth, 0, raw, chunk(b"tRNS", struct.pack(">H", key)))
    assert pixels(Normalizer()(content))[0, :, 0].tolist() == shown


@pytest.mark.parametrize(("depth", "step"), [(8, 1), (16, 257)])
def test_a_key_of_rgb_is_flattened_over_white(depth, step):
    levels = (np.array([[[1, 2, 3], [4, 5, 6]]]) * step).astype(">u2" if depth == 16 else np.uint8)
    content = png((2, 1), depth, 2, rows(levels), chunk(b"tRNS", struct.pack(">HHH", *(step, 2 * step, 3 * step))))
    assert pixels(Normalizer()(content)).tolist() == [[[255, 255, 255], [4, 5, 6]]]


def test_a_key_of_a_palette_is_flattened_over_white():
    picture = Image.new("P", (2, 1))
    picture.putpalette([10, 20, 30, 40, 50, 60])
    picture.putdata([0, 1])
    content = saved(picture, "PNG", transparency=0)
    assert pixels(Normalizer()(content)).tolist() == [[[255, 255, 255], [40, 50, 60]]]


def test_one_bit_is_black_and_white():
    picture = Image.fromarray(np.array([[True, False]]))
    assert pixels(Normalizer("webp")(saved(picture, "PNG")))[0].tolist() == [[255] * 3, [0] * 3]


@pytest.mark.parametrize("kind", ["PNG", "WEBP"])
def test_of_an_animation_the_first_frame_is_taken(kind):
    encoded = Normalizer()(animated(kind))
    with Image.open(io.BytesIO(encoded.content)) as picture:
        assert getattr(picture, "n_frames", 1) == 1
    assert np.array_equal(pixels(encoded), np.array(smooth()))


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(kind, orientation):
    from PIL import ImageOps

    content = rotated(kind, orientation)
    with Image.open(io.BytesIO(content)) as picture:
        expected = np.array(ImageOps.exif_transpose(picture).convert("RGB"))
    encoded = Normalizer("png")(content)
    assert np.array_equal(pixels(encoded), expected)
    with Image.open(io.BytesIO(Normalizer()(content).content)) as picture:
        assert picture.getexif().get(ORIENTATION, 1) == 1


@pytest.mark.parametrize("orientation", [0, 9, 77, 65535])
def test_an_orientation_that_is_none_is_ignored(orientation):
    content = rotated("JPEG", orientation)
    assert Normalizer()(content).content == content


def test_exif_that_cannot_be_read_is_ignored():
    content = saved(smooth(), "JPEG", exif=b"Exif\0\0garbage")
    assert Normalizer()(content).content == content


@pytest.mark.parametrize("image_format", FORMATS)
def test_metadata_is_dropped_from_what_is_encoded_again(image_format):
    secret = b"taken at home"
    for kind, options in (
        ("JPEG", {"comment": secret}),
        ("JPEG", {"icc_profile": secret}),
        ("PNG", {"icc_profile": secret}),
    ):
        content = saved(smooth(), kind, **options)
        encoded = Normalizer(image_format, resize=20)(content)
        with Image.open(io.BytesIO(encoded.content)) as picture:
            assert not {"comment", "icc_profile", "exif"} & set(picture.info)


# Sizes.


@pytest.mark.parametrize(
    ("size", "resize", "expected"),
    [
        ((500, 375), 256, (341, 256)),  # 341.3
        ((375, 500), 256, (256, 341)),
        ((40, 25), 10, (16, 10)),
        ((50, 20), 10, (25, 10)),
        ((51, 20), 10, (26, 10)),  # 25.5 goes up
        ((49, 20), 10, (25, 10)),  # 24.5 goes up
        ((30, 20), 20, (30, 20)),
        ((30, 20), 21, (30, 20)),
        ((4000, 1), 1, (4000, 1)),
    ],
)
@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_the_shorter_side_is_reduced_and_never_enlarged(size, resize, expected, kind):
    content = saved(smooth(size), kind)
    encoded = Normalizer(resize=resize)(content)
    assert encoded.shape == (expected[1], expected[0], 3)
    assert pixels(encoded).shape == encoded.shape
    assert (encoded.content == content) == (size == expected)


@pytest.mark.parametrize("resize", [8, 13, 20])
def test_resizing_turns_the_shape_with_the_image(resize):
    expected = Normalizer("png", resize)(SOURCES["PNG"])
    turned = Normalizer("png", resize)(rotated("PNG", 6))
    assert turned.shape == (expected.shape[1], expected.shape[0], 3)
    assert np.abs(np.rot90(pixels(turned)).astype(int) - pixels(expected)).max() <= 1


@pytest.mark.parametrize("size", [(640, 480), (643, 481), (1281, 963)])
def test_a_large_jpeg_is_scaled_like_any_other(size):
    """libjpeg's own scaling before ours neither shifts nor blurs the image."""
    rng = np.random.default_rng(0)
    coarse = Image.fromarray(rng.integers(0, 256, (24, 32, 3), dtype=np.uint8))
    content = saved(coarse.resize(size, Image.Resampling.BICUBIC), "JPEG", quality=95, subsampling=0)
    with Image.open(io.BytesIO(content)) as picture:
        height = 60
        width = round(picture.width * height / picture.height)
        expected = np.array(picture.resize((width, height), Image.Resampling.BICUBIC)).astype(float)
    stored = pixels(Normalizer("png", resize=height)(content))
    assert np.abs(stored - expected).mean() < 1


# Statistics.


@pytest.mark.parametrize("name", SAMPLES)
@pytest.mark.parametrize("image_format", ["original", "png", "webp"])
def test_statistics_are_those_of_the_stored_pixels(name, image_format):
    encoded = Normalizer(image_format)(SAMPLES[name])
    if encoded.extension == "jpg" and encoded.content != SAMPLES[name]:
        encoded_pixels = pixels(Normalizer("png")(SAMPLES[name]))  # before the loss
    else:
        encoded_pixels = pixels(encoded)
    assert encoded.sums == Sums.of_image(encoded_pixels)
    assert encoded.sums.count == encoded.shape[0] * encoded.shape[1]


# Readers.


@pytest.mark.filterwarnings("ignore:The image decoding and encoding:DeprecationWarning")
@pytest.mark.parametrize("image_format", FORMATS)
@pytest.mark.parametrize("name", SAMPLES)
def test_torchvision_reads_what_pillow_reads(name, image_format):
    import torch
    from torchvision.io import ImageReadMode, decode_image

    encoded = Normalizer(image_format)(SAMPLES[name])
    image = decode_image(torch.frombuffer(bytearray(encoded.content), dtype=torch.uint8), mode=ImageReadMode.RGB)
    assert image.dtype == torch.uint8
    assert tuple(image.shape) == (3, *encoded.shape[:2])
    assert np.abs(image.permute(1, 2, 0).numpy().astype(int) - pixels(encoded)).max() <= 2


def test_dali_reads_what_pillow_reads():
    dali = pytest.importorskip("nvidia.dali")
    everything = [Normalizer(name)(content) for name in FORMATS for content in SAMPLES.values()]
    pipeline = dali.Pipeline(batch_size=len(everything), num_threads=1, device_id=None)
    with pipeline:
        contents = [np.frombuffer(encoded.content, np.uint8) for encoded in everything]
        files = dali.fn.external_source(lambda: contents)
        pipeline.set_outputs(dali.fn.decoders.image(files, output_type=dali.types.RGB, device="cpu"))
    (images,) = pipeline.run()
    for index, encoded in enumerate(everything):
        image = np.array(images.at(index))
        assert image.shape == encoded.shape
        assert np.abs(image.astype(int) - pixels(encoded)).max() <= 2
