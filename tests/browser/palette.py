"""Makes pictures of pages small: PNG with a palette, which a browser chooses and nobody sees the difference of."""

import base64
import struct
import zlib

from playwright.sync_api import Page

# Every colour, the commonest first, joins the palette unless one is there that is as good as it; how good that has to
# be is loosened until 256 are enough.
CHOOSE = """async (picture) => {
    const bytes = Uint8Array.from(atob(picture), (character) => character.charCodeAt(0));
    const bitmap = await createImageBitmap(new Blob([bytes]));
    const canvas = new OffscreenCanvas(bitmap.width, bitmap.height).getContext("2d");
    canvas.drawImage(bitmap, 0, 0);
    const pixels = canvas.getImageData(0, 0, bitmap.width, bitmap.height).data;
    const colours = new Uint32Array(pixels.length / 4).map((_, at) =>
        pixels[4 * at] << 16 | pixels[4 * at + 1] << 8 | pixels[4 * at + 2]);
    const counts = new Map();
    for (const colour of colours) counts.set(colour, (counts.get(colour) ?? 0) + 1);
    const commonest = [...counts.keys()].sort((one, other) => counts.get(other) - counts.get(one));
    const apart = (one, other) => Math.max(
        Math.abs((one >> 16) - (other >> 16)), Math.abs((one >> 8 & 255) - (other >> 8 & 255)),
        Math.abs((one & 255) - (other & 255)));
    let palette, places;
    for (let loose = 0; !palette || palette.length > 256; loose += 1) {
        [palette, places] = [[], new Map()];
        for (const colour of commonest) {
            let place = palette.findIndex((known) => apart(known, colour) <= loose);
            if (place < 0) place = palette.push(colour) - 1;
            places.set(colour, place);
            if (palette.length > 256) break;
        }
    }
    let text = "";
    for (const colour of colours) text += String.fromCharCode(places.get(colour));
    return { width: bitmap.width, height: bitmap.height, palette, indexes: btoa(text) };
}"""


def shrink(page: Page, picture: bytes) -> bytes:
    """Give a PNG with a palette that looks like this one; the page lends its browser."""
    chosen = page.evaluate(CHOOSE, base64.b64encode(picture).decode())
    width, height = chosen["width"], chosen["height"]
    indexes = base64.b64decode(chosen["indexes"])
    rows = b"".join(b"\x00" + indexes[start : start + width] for start in range(0, width * height, width))
    palette = b"".join(colour.to_bytes(3, "big") for colour in chosen["palette"])
    header = struct.pack(">IIBBBBB", width, height, 8, 3, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"PLTE", palette), (b"IDAT", zlib.compress(rows, 9)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(name, data) for name, data in chunks)


def _chunk(name: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
