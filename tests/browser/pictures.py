"""A screenshot as a PNG with a palette: a quarter of the size, for a page has few colours. The browser counts them."""

import base64
import struct
import zlib
from typing import Any

from playwright.sync_api import Page

# The 128 most frequent colours; what is left over (edges of letters) takes the nearest of them.
_INDEX = """async (png) => {
  const blob = await (await fetch(`data:image/png;base64,${png}`)).blob();
  const image = await createImageBitmap(blob);
  const canvas = new OffscreenCanvas(image.width, image.height);
  const context = canvas.getContext("2d");
  context.drawImage(image, 0, 0);
  const pixels = new Uint32Array(context.getImageData(0, 0, image.width, image.height).data.buffer);
  const counts = new Map();
  for (const pixel of pixels) counts.set(pixel, (counts.get(pixel) ?? 0) + 1);
  const palette = [...counts].sort((one, two) => two[1] - one[1]).slice(0, 128).map(([pixel]) => pixel);
  const parts = (pixel) => [pixel & 255, (pixel >> 8) & 255, (pixel >> 16) & 255];
  const known = palette.map(parts);
  const places = new Map(palette.map((pixel, place) => [pixel, place]));
  const nearest = (pixel) => {
    const [red, green, blue] = parts(pixel);
    let best = 0, least = Infinity;
    known.forEach(([r, g, b], place) => {
      const far = 2 * (red - r) ** 2 + 4 * (green - g) ** 2 + 3 * (blue - b) ** 2;
      if (far < least) [best, least] = [place, far];
    });
    places.set(pixel, best);
    return best;
  };
  const rows = new Uint8Array((image.width + 1) * image.height);  // each begins with its filter: none
  pixels.forEach((pixel, n) => {
    rows[Math.floor(n / image.width) * (image.width + 1) + 1 + (n % image.width)] = places.get(pixel) ?? nearest(pixel);
  });
  let text = "";
  for (let at = 0; at < rows.length; at += 32768) text += String.fromCharCode(...rows.subarray(at, at + 32768));
  return {width: image.width, height: image.height, palette: known.flat(), rows: btoa(text)};
}"""


def with_palette(png: bytes, *, blank: Page) -> bytes:
    """The same picture in 128 colours at most. `blank` is a page that nothing else needs."""
    found: dict[str, Any] = blank.evaluate(_INDEX, base64.b64encode(png).decode())
    header = struct.pack(">IIBBBBB", found["width"], found["height"], 8, 3, 0, 0, 0)  # 8 bits, indexed colour
    rows = zlib.compress(base64.b64decode(found["rows"]), 9)
    chunks = ((b"IHDR", header), (b"PLTE", bytes(found["palette"])), (b"IDAT", rows), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(_chunk(*chunk) for chunk in chunks)


def _chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
