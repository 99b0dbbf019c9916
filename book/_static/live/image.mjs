// Images for the network: Pillow's bicubic resizing to the last bit, normalisation, black patches.

const BITS = 22; // of the fixed-point weights, as in Pillow for 8-bit channels

/** Keys' cubic with a = -1/2. */
function cubic(x) {
  const d = Math.abs(x);
  if (d < 1) return (1.5 * d - 2.5) * d * d + 1;
  return d < 2 ? ((-0.5 * d + 2.5) * d - 4) * d + 2 : 0;
}

/** Where each output pixel looks along an axis, and with which fixed-point weights. */
function lineWeights(from, to) {
  const scale = from / to;
  const wide = Math.max(scale, 1);
  return Array.from({ length: to }, (_, k) => {
    const centre = (k + 0.5) * scale;
    const start = Math.max(0, Math.trunc(centre - 2 * wide + 0.5));
    const stop = Math.min(from, Math.trunc(centre + 2 * wide + 0.5));
    const weights = [];
    for (let x = start; x < stop; x++) weights.push(cubic((x - centre + 0.5) * (1 / wide)));
    const sum = weights.reduce((total, weight) => total + weight, 0);
    const fixed = weights.map((weight) => {
      const value = (sum ? weight / sum : weight) * 2 ** BITS;
      return Math.trunc(value < 0 ? value - 0.5 : value + 0.5);
    });
    return { start, fixed };
  });
}

/** RGB values (height, width, 3) resized along one axis: across or down. */
function pass(data, width, height, side, down) {
  const [lines, line, step] = down ? [width, 3, width * 3] : [height, width * 3, 3];
  const [outLine, outStep] = down ? [3, width * 3] : [side * 3, 3];
  const table = lineWeights(down ? height : width, side);
  const out = new Uint8Array(lines * side * 3);
  for (let n = 0; n < lines; n++)
    for (let k = 0; k < side; k++)
      for (let c = 0; c < 3; c++) {
        let sum = 2 ** (BITS - 1);
        let at = n * line + table[k].start * step + c;
        for (const weight of table[k].fixed) {
          sum += data[at] * weight;
          at += step;
        }
        out[n * outLine + k * outStep + c] = Math.min(255, Math.max(0, Math.floor(sum / 2 ** BITS)));
      }
  return out;
}

/**
 * Resize to a square (bicubic). Pillow 13 goes across first, and down first where the height
 * shrinks by more than twice as many pixels as the width.
 * @param {{width: number, height: number, data: Uint8Array}} image RGB, three values a pixel.
 * @returns {Uint8Array} (side, side, 3).
 */
export function squash({ width, height, data }, side) {
  const downFirst = height > side && height - side > 2 * (width - side);
  for (const down of downFirst ? [true, false] : [false, true]) {
    if ((down ? height : width) === side) continue;
    data = pass(data, width, height, side, down);
    if (down) height = side;
    else width = side;
  }
  return data;
}

/** The network's input (3, side, side), float32, out of an RGB image of any size. */
export function preprocess(image, { image_size: side, image_mean: mean, image_std: std }) {
  const square = squash(image, side);
  const out = new Float32Array(3 * side * side);
  const { fround } = Math;
  for (let c = 0; c < 3; c++)
    for (let at = 0; at < side * side; at++) {
      const unit = fround(square[at * 3 + c] / 255);
      out[c * side * side + at] = fround(unit - fround(mean[c])) / fround(std[c]);
    }
  return out;
}

/** A copy of the input in which dropped patches are black. */
export function blackOut(pixels, dropped, { image_size: side, image_mean, image_std, patch_size }) {
  const out = pixels.slice();
  const grid = side / patch_size;
  for (let c = 0; c < 3; c++) {
    const black = -Math.fround(image_mean[c]) / Math.fround(image_std[c]);
    dropped.forEach((gone, patch) => {
      if (!gone) return;
      const top = Math.floor(patch / grid) * patch_size;
      const left = (patch % grid) * patch_size;
      for (let y = top; y < top + patch_size; y++) {
        const row = (c * side + y) * side + left;
        out.fill(black, row, row + patch_size);
      }
    });
  }
  return out;
}
