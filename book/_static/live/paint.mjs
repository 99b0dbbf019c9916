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

/** Paint colours on a canvas: `colour(x, y, at)` gives three numbers from 0 to 255. */
function fill(canvas, width, height, colour) {
  [canvas.width, canvas.height] = [width, height];
  const context = canvas.getContext("2d");
  const picture = context.createImageData(width, height);
  for (let y = 0, at = 0; y < height; y++)
    for (let x = 0; x < width; x++, at++) picture.data.set([...colour(x, y, at), 255], 4 * at);
  context.putImageData(picture, 0, 0);
}

/** Class colours over an image, with white lines between regions. */
export function paintLabels(canvas, { width, height, data }, labels, colours) {
  fill(canvas, width, height, (x, y, at) => {
    if ((x && labels[at] !== labels[at - 1]) || (y && labels[at] !== labels[at - width]))
      return [255, 255, 255];
    const pixel = data.subarray(3 * at, 3 * at + 3);
    if (labels[at] < 0) return pixel;
    const over = colours[labels[at]];
    return [...pixel].map((value, c) => (1 - ALPHA) * value + ALPHA * over[c]);
  });
}

/**
 * A map over the patches on top of what the model saw.
 * @param map (P) values from 0 up, or null for the image alone.
 * @param top The value that is painted brightest.
 * @param dropped (P) patches that were black.
 */
export function paintMap(canvas, image, map, top, dropped, side) {
  const { width, height, data } = image;
  const strength = map && upsample(map, side, width, height);
  fill(canvas, width, height, (x, y, at) => {
    const patch = Math.floor((y * side) / height) * side + Math.floor((x * side) / width);
    if (dropped[patch]) return [0, 0, 0];
    const pixel = data.subarray(3 * at, 3 * at + 3);
    if (!map) return pixel;
    const grey = 0.3 * pixel[0] + 0.59 * pixel[1] + 0.11 * pixel[2];
    const level = top > 0 ? Math.min(1, strength[at] / top) * (HEAT.length - 1) : 0;
    const low = Math.min(Math.floor(level), HEAT.length - 2);
    return HEAT[low].map((value, c) => {
      const heat = value + (HEAT[low + 1][c] - value) * (level - low);
      return 0.35 * grey + 0.65 * heat;
    });
  });
}
