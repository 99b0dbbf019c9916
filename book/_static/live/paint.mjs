// Pictures in and out of canvases: RGB values, heat maps, labels over an image.

import { upsample } from "./method.mjs";

export const LONGEST = 320; // of a reader's own picture, in pixels
const ALPHA = 0.55; // of class colours over the image, as in the library's overlays
// Anchors of the colour map viridis: dark is weak, bright is strong, in print and for all eyes.
const HEAT = [
  [68, 1, 84], [59, 82, 139], [33, 145, 140], [94, 201, 98], [253, 231, 37],
];

/** The RGB values of something that can be drawn, at most LONGEST pixels long, over white. */
export function pixelsOf(source, width, height, longest = Infinity) {
  const scale = Math.min(1, longest / Math.max(width, height));
  const size = [width, height].map((side) => Math.max(1, Math.round(side * scale)));
  const canvas = document.createElement("canvas");
  [canvas.width, canvas.height] = size;
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.fillStyle = "white";
  context.fillRect(0, 0, ...size);
  context.imageSmoothingQuality = "high";
  context.drawImage(source, 0, 0, ...size);
  const rgba = context.getImageData(0, 0, ...size).data;
  const data = new Uint8Array(size[0] * size[1] * 3);
  for (let at = 0; at < data.length / 3; at++)
    for (let c = 0; c < 3; c++) data[3 * at + c] = rgba[4 * at + c];
  return { width: size[0], height: size[1], data };
}

/** Load an image file as RGB values; colours are taken as they are stored. */
export async function loadPixels(blob, longest) {
  const bitmap = await createImageBitmap(blob, { colorSpaceConversion: "none" });
  return pixelsOf(bitmap, bitmap.width, bitmap.height, longest);
}

/** RGB values on a canvas: `data` (H, W, 3), 0 to 255. */
function put(canvas, width, height, data) {
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  for (let at = 0; at < width * height; at++) {
    for (let c = 0; c < 3; c++) picture.data[4 * at + c] = data[3 * at + c];
    picture.data[4 * at + 3] = 255;
  }
  context.putImageData(picture, 0, 0);
}

/** Class colours over an image, with white lines between regions. */
export function paintLabels(canvas, { width, height, data }, labels, colours) {
  const out = Float32Array.from(data);
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++) {
      const label = labels[at];
      const edge = (x && label !== labels[at - 1]) || (y && label !== labels[at - width]);
      for (let c = 0; c < 3; c++) {
        if (edge) out[3 * at + c] = 255;
        else if (label >= 0)
          out[3 * at + c] = (1 - ALPHA) * data[3 * at + c] + ALPHA * colours[label][c];
      }
    }
  put(canvas, width, height, out);
}

/** The colour of a strength from 0 to 1: its red, green or blue. */
function heat(strength, c) {
  const level = strength * (HEAT.length - 1);
  const low = Math.min(Math.floor(level), HEAT.length - 2);
  return HEAT[low][c] + (HEAT[low + 1][c] - HEAT[low][c]) * (level - low);
}

/**
 * A map over the patches on top of what the model saw.
 * @param map (P) values from 0 up, or null for the image alone.
 * @param top The value that is painted brightest.
 * @param dropped (P) patches that were black.
 */
export function paintMap(canvas, { width, height, data }, map, top, dropped, side) {
  const strength = map && upsample(map, side, width, height);
  const out = new Float32Array(data.length);
  for (let y = 0, at = 0; y < height; y++) {
    const row = Math.floor((y * side) / height) * side;
    for (let x = 0; x < width; x++, at++) {
      if (dropped[row + Math.floor((x * side) / width)]) continue;
      const first = 3 * at;
      if (!map) {
        for (let c = 0; c < 3; c++) out[first + c] = data[first + c];
        continue;
      }
      const grey = 0.3 * data[first] + 0.59 * data[first + 1] + 0.11 * data[first + 2];
      const share = top > 0 ? Math.min(1, strength[at] / top) : 0;
      for (let c = 0; c < 3; c++) out[first + c] = 0.35 * grey + 0.65 * heat(share, c);
    }
  }
  put(canvas, width, height, out);
}
