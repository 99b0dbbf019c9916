// PnP-OVSS out of a model's attention and gradient: ovsslib.pnp without the dense CRF.
//
// Letters as everywhere: K classes, A heads, T tokens, P = h*w patches, H x W pixels. Numbers are
// rounded to float32 where the library's are.

import { blackOut, preprocess } from "./image.mjs";
import { buildPrompts } from "./text.mjs";

const { fround } = Math;

/** Maps (T, P) of attention and of GradCAM for a layer and a head; head 0 is the mean of all. */
function tokenMaps({ attention, gradient, tokens }, layer, head, { heads, patches }) {
  const chosen = head ? [head - 1] : Array.from({ length: heads }, (_, k) => k);
  const looked = new Float32Array(tokens * patches);
  const salient = new Float32Array(tokens * patches);
  for (let t = 0; t < tokens; t++)
    for (let p = 0; p < patches; p++) {
      let [seen, product] = [0, 0];
      for (const a of chosen) {
        const at = (((layer - 1) * heads + a) * tokens + t) * (patches + 1) + 1 + p;
        seen = fround(seen + attention[at]);
        product = fround(product + fround(attention[at] * Math.max(0, gradient[at])));
      }
      looked[t * patches + p] = seen / chosen.length;
      salient[t * patches + p] = product / chosen.length;
    }
  return { looked, salient };
}

/** Sum of some rows of maps (T, P). */
function sumRows(maps, rows, patches) {
  const out = new Float32Array(patches);
  for (const row of rows) for (let p = 0; p < patches; p++) out[p] += maps[row * patches + p];
  return out;
}

/** The remaining patches that hold most salience: the first of equal ones. */
function choose(salience, dropped, count) {
  const left = [...salience.keys()].filter((p) => !dropped[p] && salience[p] > 0);
  return left.sort((a, b) => salience[b] - salience[a] || a - b).slice(0, count);
}

/**
 * Steps 2 to 4: attention, GradCAM and Salience DropOut.
 * @param ask (pixels, ids) => {logits, attention, gradient}, a promise: the model.
 * @param image {width, height, data}, RGB.
 * @param names K class names.
 * @param settings layer, head (0: mean), rounds, patches_per_round.
 * @param card The content of model.json.
 * @returns {prompts, match, rounds: [{attention, gradcam (K arrays of P), dropped (P)}], sum}.
 */
export async function findMaps(ask, image, names, settings, card) {
  const side = card.image_size / card.patch_size;
  const sizes = { heads: card.heads, patches: side * side };
  const prompts = buildPrompts(names, card);
  const pixels = preprocess(image, card);
  const sum = names.map(() => new Float32Array(sizes.patches));
  const rounds = [];
  let dropped = new Array(sizes.patches).fill(false);
  let match = 0;
  for (let round = 0; round < settings.rounds; round++) {
    const visible = blackOut(pixels, dropped, card);
    const [attention, gradcam] = [[], []];
    const total = new Float32Array(sizes.patches);
    for (const prompt of prompts) {
      const answer = await ask(visible, prompt.ids);
      if (round === 0) match += probability(answer.logits) / prompts.length;
      const tokens = prompt.ids.length;
      const maps = tokenMaps({ ...answer, tokens }, settings.layer, settings.head, sizes);
      for (const span of prompt.spans) {
        const mean = (rows) => sumRows(rows, span, sizes.patches).map((v) => v / span.length);
        attention.push(mean(maps.looked));
        gradcam.push(mean(maps.salient).map((value, p) => (dropped[p] ? 0 : value)));
      }
      const all = sumRows(maps.salient, prompt.spans.flat(), sizes.patches);
      for (let p = 0; p < sizes.patches; p++) total[p] += all[p];
    }
    gradcam.forEach((map, k) => map.forEach((value, p) => (sum[k][p] += value)));
    rounds.push({ attention, gradcam, dropped });
    const chosen = choose(total, dropped, settings.patches_per_round);
    dropped = dropped.map((gone, p) => gone || chosen.includes(p));
  }
  return { prompts, match, rounds, sum };
}

/** Probability of a match out of two logits. */
function probability([no, yes]) {
  return 1 / (1 + Math.exp(no - yes));
}

/** Clear weak salience of one map: 0 where the min-max normalised value is below the level. */
export function threshold(map, level) {
  const low = map.reduce((a, b) => Math.min(a, b));
  const span = fround(map.reduce((a, b) => Math.max(a, b)) - low);
  const share = (value) => (span > 0 ? fround(fround(value - low) / span) : 0);
  return map.map((value) => (share(value) >= fround(level) ? value : 0));
}

/** Two neighbours and their weights for each of `size` pixels over `count` cells. */
function neighbours(count, size) {
  return Array.from({ length: size }, (_, k) => {
    const step = fround(fround(count / size) * fround(k + 0.5));
    const where = Math.max(fround(step - 0.5), 0);
    const low = Math.min(Math.floor(where), count - 1);
    const part = Math.min(1, Math.max(0, fround(where - low)));
    const rest = fround(1 - part);
    // Beyond the last cell's middle there is one neighbour, with both weights.
    if (low === count - 1) return { low, high: low, part: 0, rest: fround(rest + part) };
    return { low, high: low + 1, part, rest };
  });
}

/** Bilinear interpolation of (side, side) cells to pixels. */
export function upsample(map, side, width, height) {
  const down = neighbours(side, height);
  const across = neighbours(side, width);
  const rows = new Float32Array(height * side);
  down.forEach(({ low, high, part, rest }, y) => {
    for (let x = 0; x < side; x++)
      rows[y * side + x] = map[low * side + x] * rest + map[high * side + x] * part;
  });
  const out = new Float32Array(height * width);
  for (let y = 0; y < height; y++)
    across.forEach(({ low, high, part, rest }, x) => {
      out[y * width + x] = rows[y * side + low] * rest + rows[y * side + high] * part;
    });
  return out;
}

/** Gaussian filter along one axis, mirrored at the edges: (data, out, lines, ...) strides. */
function smoothLine(data, out, count, lines, step, line, sigma) {
  const radius = Math.trunc(4 * sigma + 0.5);
  const weights = [];
  for (let d = -radius; d <= radius; d++) weights.push(Math.exp(-0.5 * (d / sigma) ** 2));
  const total = weights.reduce((a, b) => a + b, 0);
  const wide = new Float64Array(count + 2 * radius);
  for (let n = 0; n < lines; n++) {
    for (let k = -radius; k < count + radius; k++) {
      const turned = ((k % (2 * count)) + 2 * count) % (2 * count);
      wide[k + radius] = data[n * line + Math.min(turned, 2 * count - 1 - turned) * step];
    }
    for (let k = 0; k < count; k++) {
      let sum = 0;
      for (let d = 0; d < weights.length; d++) sum += weights[d] * wide[k + d];
      out[n * line + k * step] = sum / total;
    }
  }
}

/** Gaussian blur of a plane (H, W), then min-max normalisation. */
function blur(plane, width, height, fraction) {
  const range = (values) => {
    let [low, high] = [Infinity, -Infinity];
    for (const value of values) {
      if (value < low) low = value;
      if (value > high) high = value;
    }
    return [low, high];
  };
  const [least, most] = range(plane);
  if (least === most) return plane.map((value) => Math.min(1, Math.max(0, value)));
  const sigma = fraction * Math.max(width, height);
  let smooth = plane;
  if (sigma) {
    const middle = new Float32Array(plane.length);
    smooth = new Float32Array(plane.length);
    smoothLine(plane, middle, height, width, width, 1, sigma);
    smoothLine(middle, smooth, width, height, 1, width, sigma);
  }
  const [low, high] = range(smooth);
  return smooth.map((value) => fround(value - low) / fround(high - low));
}

/**
 * Step 5 without the dense CRF: threshold, upsampling, background, blur, the strongest plane.
 * @param sum K maps (P).
 * @param settings threshold, blur.
 * @returns {Int16Array} (H, W): index of a class, -1 background.
 */
export function findLabels(sum, side, { width, height }, settings) {
  const planes = sum.map((map) => upsample(threshold(map, settings.threshold), side, width, height));
  const background = new Float32Array(width * height).map((_, at) =>
    planes.every((plane) => plane[at] <= 0) ? 1 : 0,
  );
  const blurred = [background, ...planes].map((p) => blur(p, width, height, settings.blur));
  const best = blurred[0].slice();
  const labels = new Int16Array(width * height).fill(-1);
  for (let k = 1; k < blurred.length; k++)
    for (let at = 0; at < best.length; at++)
      if (blurred[k][at] > best[at]) {
        best[at] = blurred[k][at];
        labels[at] = k - 1;
      }
  return labels;
}

/**
 * Intersection over union of each name with the true labels.
 * @param labels (H, W) index into names, -1 background.
 * @param truth (H, W) ids: 0 no class, 255 not scored.
 * @param ids The id that stands for each name; 0 where it is no class of the data set.
 * @returns {(number|null)[]} null where a name is no class, or in neither picture.
 */
export function iou(labels, truth, ids) {
  return ids.map((id, k) => {
    if (!id) return null;
    let [both, either] = [0, 0];
    for (let at = 0; at < labels.length; at++) {
      if (truth[at] === 255) continue;
      const [said, is] = [labels[at] === k, truth[at] === id];
      both += said && is;
      either += said || is;
    }
    return either ? both / either : null;
  });
}
