// "Try it": PnP-OVSS in the reader's browser. `render` has the form of an anywidget module.

import { loadModel } from "./engine.mjs";
import { findLabels, findMaps, iou, threshold } from "./method.mjs";
import { makePad } from "./pad.mjs";
import { LONGEST, loadPixels, paintLabels, paintMap, pixelsOf } from "./paint.mjs";
import { splitClasses } from "./text.mjs";

const OWN = "own";
const DRAWN = "sky, grass"; // what the empty drawing pad shows

/** Sliders: setting -> label, range, step, and how a value reads. */
const sliders = (card) => ({
  layer: ["Layer", 1, card.layers, 1, String],
  head: ["Head", 0, card.heads, 1, (value) => (value ? String(value) : "mean")],
  rounds: ["Rounds", 1, 8, 1, String],
  patches_per_round: ["Patches dropped a round", 0, 60, 1, String],
  threshold: ["Threshold", 0, 1, 0.01, (value) => value.toFixed(2)],
  blur: ["Blur", 0, 0.1, 0.005, (value) => value.toFixed(3)],
});

const page = (card, { pictures }) => `
<form class="try-grid">
<div class="try-question">
  <fieldset class="try-pictures"><legend>Picture</legend>
  ${pictures.map(thumbnail).join("")}</fieldset>
  <label>Your own picture: choose or drop one here; it stays on your device
    <input type="file" accept="image/*"></label>
  <details class="try-draw"><summary>Draw one</summary><div></div></details>
  <label>Class names, with commas between them
    <input type="text" name="classes" autocomplete="off" spellcheck="false"></label>
  <p class="try-error" role="alert"></p>
</div>
<div class="try-answer">
  <div class="try-pair">
    <figure><canvas data-labels role="img"></canvas><figcaption>Labels found</figcaption></figure>
    <figure data-truth-figure><canvas data-truth role="img"></canvas>
      <figcaption>True labels</figcaption></figure>
  </div>
  <p class="try-status" role="status">Loading the model …</p>
  <table class="try-legend"><thead><tr><th scope="col">Class</th><th scope="col">Share</th>
    <th scope="col">IoU</th></tr></thead><tbody></tbody></table>
</div>
<div class="try-settings">
  ${Object.entries(sliders(card)).map(slider).join("")}
  <p><button type="button" data-reset>Settings of ${card.model}</button></p>
</div>
</form>
<fieldset class="try-show"><legend>Maps of</legend></fieldset>
<div class="try-rounds" role="group" aria-label="Round by round"></div>`;

const thumbnail = ({ id, classes }, k) => `<label><input type="radio" name="image" value="${id}">
  <img data-picture="${id}" alt="Picture ${k + 1}: ${classes.join(", ")}"></label>`;

const slider = ([key, [label, low, high, step]]) => `<label class="try-slider">${label}
  <output name="${key}_shown"></output>
  <input type="range" name="${key}" min="${low}" max="${high}" step="${step}"></label>`;

const percent = (share) => (share && share < 0.01 ? "< 1 %" : `${Math.round(100 * share)} %`);

/** Fetch JSON or a file; an Error names what is missing. */
async function get(assets, name, kind) {
  const answer = await fetch(new URL(name, assets));
  if (!answer.ok) throw new Error(`${name} is missing from this copy of the book.`);
  return answer[kind]();
}

/**
 * Build the explorer.
 * @param model `get("assets")`: address of the folder that `ovsslib.book.live` wrote.
 * @param {HTMLElement} el Where it goes; what is inside is replaced.
 * @returns A function that takes it away.
 */
export async function render({ model, el }) {
  const assets = new URL(model.get("assets"), document.baseURI);
  const loading = loadModel(assets);
  loading.catch(() => {}); // reported where it is awaited
  const [card, shelf] = await Promise.all(
    ["model.json", "pictures.json"].map((name) => get(assets, name, "json")),
  );
  el.innerHTML = page(card, shelf);
  const explorer = new Explorer(el, assets, card, shelf);
  explorer.listen();
  await explorer.start(loading);
  return () => explorer.stop();
}

class Explorer {
  constructor(el, assets, card, shelf) {
    Object.assign(this, { el, assets, card, shelf, side: card.image_size / card.patch_size });
    this.form = el.querySelector("form");
    this.usual = { ...card.config, head: card.config.head ?? 0 };
    this.pictures = new Map();
    this.shown = 0; // the class whose maps are shown
    this.aborter = new AbortController();
  }

  find(selector) {
    return this.el.querySelector(selector);
  }

  /** Settings as the controls show them. */
  get settings() {
    const values = Object.keys(sliders(this.card)).map((key) => [
      key,
      Number(this.form.elements[key].value),
    ]);
    return Object.fromEntries(values);
  }

  set settings(values) {
    for (const key of Object.keys(sliders(this.card)))
      if (key in values) this.form.elements[key].value = values[key];
  }

  listen() {
    const { signal } = this.aborter;
    const on = (target, name, act) => target.addEventListener(name, act, { signal });
    on(this.form, "submit", (event) => event.preventDefault());
    on(this.form, "input", ({ target }) => {
      if (target.name === "image")
        this.pick(target.value).catch((error) => this.complain(error.message));
      else if (target.name === "classes" || target.name in this.usual) this.update();
    });
    on(this.find("input[type=file]"), "change", ({ target }) => this.open(target.files[0]));
    on(this.find("[data-reset]"), "click", () => {
      this.settings = this.usual;
      this.update();
    });
    on(this.find(".try-show"), "input", ({ target }) => {
      this.shown = Number(target.value);
      this.paintRounds();
    });
    for (const name of ["dragover", "drop"])
      on(this.el, name, (event) => {
        event.preventDefault();
        if (name === "drop") this.open(event.dataTransfer.files[0]);
      });
    const use = makePad(this.find(".try-draw div"), (canvas) => {
      const box = this.form.elements.classes;
      if (this.id !== OWN && box.value === this.offered) box.value = DRAWN;
      this.useOwn(pixelsOf(canvas, canvas.width, canvas.height));
    });
    on(this.find(".try-draw"), "toggle", ({ target }) => target.open && use());
    on(window, "hashchange", () => {
      const said = location.hash.slice(1);
      // The page's headings have addresses, too.
      if (said.includes("image=") && said !== this.address) this.fromAddress();
    });
  }

  async start(loading) {
    for (const image of this.el.querySelectorAll("img[data-picture]"))
      image.src = new URL(`${image.dataset.picture}.png`, this.assets).href;
    this.settings = this.usual;
    await this.fromAddress();
    this.ask = await loading;
    await this.update();
  }

  stop() {
    this.aborter.abort();
    this.el.replaceChildren();
  }

  /** Take picture, names and settings from the address. */
  async fromAddress() {
    const said = new URLSearchParams(location.hash.slice(1));
    this.settings = Object.fromEntries(said);
    const known = this.shelf.pictures.some(({ id }) => id === said.get("image"));
    await this.pick(known ? said.get("image") : this.shelf.pictures[0].id, said.get("classes"));
  }

  toAddress() {
    const said = new URLSearchParams({ image: this.id, classes: this.form.elements.classes.value });
    for (const [key, value] of Object.entries(this.settings)) said.set(key, value);
    if (this.address === said.toString()) return;
    this.address = said.toString();
    try {
      history.replaceState(history.state, "", `#${this.address}`);
    } catch {
      // Some browsers allow only so many changes a minute; the next one will do.
    }
  }

  /** Show one of the shelf's pictures, and look for the classes that are in it unless others are given. */
  async pick(id, names = null) {
    const { classes } = this.shelf.pictures.find((each) => each.id === id);
    this.el.setAttribute("aria-busy", "true");
    this.form.elements.image.value = id;
    if (!this.pictures.has(id)) {
      const [image, truth] = await Promise.all(
        [`${id}.png`, `${id}_truth.png`].map(async (name) =>
          loadPixels(await get(this.assets, name, "blob")),
        ),
      );
      this.pictures.set(id, { image, truth: truth.data.filter((_, at) => at % 3 === 0) });
    }
    if (this.form.elements.image.value !== id) return; // another was picked meanwhile
    Object.assign(this, { id, ...this.pictures.get(id) });
    this.offered = classes.join(", ");
    this.form.elements.classes.value = names ?? this.offered;
    await this.update();
  }

  /** Use a picture without known labels. */
  useOwn(image) {
    for (const radio of this.form.elements.image) radio.checked = false;
    Object.assign(this, { id: OWN, image, truth: null });
    return this.update();
  }

  async open(file) {
    if (!file) return;
    try {
      await this.useOwn(await loadPixels(file, LONGEST));
    } catch {
      this.complain(`${file.name} is no picture that this browser can read.`);
    }
  }

  complain(message) {
    this.find(".try-error").textContent = message;
  }

  /** Compute and show; calls that come meanwhile are answered by one more run at the end. */
  async update() {
    for (const [key, [, , , , spell]] of Object.entries(sliders(this.card)))
      this.form.elements[`${key}_shown`].value = spell(this.settings[key]);
    this.stale = true;
    this.el.setAttribute("aria-busy", "true");
    if (!this.ask || this.running) return;
    this.running = true;
    try {
      while (this.stale) {
        this.stale = false;
        await this.compute();
      }
    } finally {
      this.running = false;
      this.el.removeAttribute("aria-busy");
    }
  }

  async compute() {
    const [image, truth, settings] = [this.image, this.truth, this.settings];
    const start = performance.now();
    try {
      const names = splitClasses(this.form.elements.classes.value);
      const maps = await findMaps(this.ask, image, names, settings, this.card);
      const labels = findLabels(maps.sum, this.side, image, settings);
      const unknown = maps.prompts.flatMap((prompt) => prompt.unknown);
      this.complain(unknown.length ? `Not in the model's alphabet: ${unknown.join(", ")}.` : "");
      this.result = { image, truth, names, maps, labels };
    } catch (error) {
      this.complain(error.message);
      return;
    }
    this.show();
    this.el.result = { ...this.result, milliseconds: performance.now() - start };
    this.toAddress();
  }

  /** Numbers of the classes in the true labels, 0 for other names; and everybody's colour. */
  identify(names) {
    const { classes, colours } = this.shelf;
    const ids = names.map((name) => classes.indexOf(name.toLowerCase()) + 1);
    let next = classes.length;
    return { ids, colours: ids.map((id) => colours[id ? id - 1 : next++ % colours.length]) };
  }

  show() {
    const { image, truth, names, labels } = this.result;
    const { ids, colours } = this.identify(names);
    const counts = names.map((_, k) => labels.reduce((sum, label) => sum + (label === k), 0));
    const shares = counts.map((count) => count / labels.length);
    const scores = truth ? iou(labels, truth, ids) : names.map(() => null);
    paintLabels(this.find("[data-labels]"), image, labels, colours);
    const found = names.flatMap((name, k) => (shares[k] ? `${name} ${percent(shares[k])}` : []));
    const said = found.join(", ") || "nothing";
    this.find("[data-labels]").setAttribute("aria-label", `Labels found: ${said}`);
    this.find("[data-truth-figure]").hidden = !truth;
    if (truth) this.showTruth(image, truth);
    this.find(".try-legend tbody").replaceChildren(
      ...names.map((name, k) => {
        const row = document.createElement("tr");
        const score = scores[k] === null ? "–" : percent(scores[k]);
        row.innerHTML = `<th scope="row"><i></i><span></span></th>
          <td>${percent(shares[k])}</td><td>${score}</td>`;
        row.querySelector("i").style.background = `rgb(${colours[k]})`;
        row.querySelector("span").textContent = name;
        return row;
      }),
    );
    const known = scores.filter((score) => score !== null);
    const mean = known.reduce((sum, score) => sum + score, 0) / known.length;
    const score = known.length ? ` Mean IoU ${percent(mean)}.` : "";
    const match = percent(this.result.maps.match);
    this.find(".try-status").textContent =
      `Found: ${said}.${score} Picture and words match with a probability of ${match}.`;
    this.showChoice(names);
    this.paintRounds();
  }

  showTruth(image, truth) {
    const { classes, colours } = this.shelf;
    const labels = Int16Array.from(truth, (id) => (id === 0 || id === 255 ? -1 : id - 1));
    paintLabels(this.find("[data-truth]"), image, labels, colours);
    const inside = classes.filter((_, k) => truth.includes(k + 1)).join(", ");
    this.find("[data-truth]").setAttribute("aria-label", `True labels: ${inside}`);
  }

  /** One radio button per class, made anew only when the names change. */
  showChoice(names) {
    const box = this.find(".try-show");
    const legend = box.querySelector("legend");
    if (box.dataset.names !== names.join()) {
      this.shown = 0;
      box.replaceChildren(
        legend,
        ...names.map((name, k) => {
          const label = document.createElement("label");
          label.innerHTML = `<input type="radio" name="try-shown" value="${k}"><span></span>`;
          label.querySelector("input").checked = k === 0;
          label.querySelector("span").textContent = name;
          return label;
        }),
      );
      box.dataset.names = names.join();
    }
  }

  /** A strip per round: what the model saw, attention, GradCAM; then the sum. */
  paintRounds() {
    const { image, names, maps } = this.result;
    const [name, k] = [names[this.shown], this.shown];
    const top = (list) => Math.max(...list.flatMap((map) => [...map]));
    const tops = ["attention", "gradcam"].map((kind) => top(maps.rounds.map((r) => r[kind][k])));
    const strips = maps.rounds.map(({ attention, gradcam, dropped }, round) => {
      const gone = dropped.filter(Boolean).length;
      const seen = gone ? `${gone} patches are black` : "the whole picture is seen";
      return this.strip(`Round ${round}: ${seen}`, dropped, [
        ["Seen", "What the model sees", null, 0],
        ["Attention", `Attention of “${name}”`, attention[k], tops[0]],
        ["GradCAM", `GradCAM of “${name}”`, gradcam[k], tops[1]],
      ]);
    });
    const none = maps.rounds[0].dropped.map(() => false);
    const kept = threshold(maps.sum[k], this.settings.threshold);
    const most = top([maps.sum[k]]);
    strips.push(
      this.strip("Sum of the rounds’ GradCAM", none, [
        ["Sum", `Sum for “${name}”`, maps.sum[k], most],
        ["Above threshold", `Sum for “${name}” above the threshold`, kept, most],
      ]),
    );
    this.find(".try-rounds").replaceChildren(...strips);
  }

  strip(title, dropped, parts) {
    const strip = document.createElement("section");
    const heading = document.createElement("p");
    heading.className = "try-heading";
    heading.textContent = title;
    strip.append(heading);
    for (const [caption, long, map, top] of parts) {
      const figure = document.createElement("figure");
      const canvas = document.createElement("canvas");
      canvas.setAttribute("role", "img");
      canvas.setAttribute("aria-label", `${title}. ${long}${this.peak(map)}`);
      paintMap(canvas, this.result.image, map, top, dropped, this.side);
      const words = document.createElement("figcaption");
      words.textContent = caption;
      figure.append(canvas, words);
      strip.append(figure);
    }
    return strip;
  }

  /** Where a map is strongest, in words. */
  peak(map) {
    if (!map) return "";
    const at = map.reduce((best, value, p) => (value > map[best] ? p : best), 0);
    if (!map[at]) return ": zero everywhere";
    const place = (share, [low, middle, high]) =>
      share < 1 / 3 ? low : share < 2 / 3 ? middle : high;
    const down = place((Math.floor(at / this.side) + 0.5) / this.side, ["top", "middle", "bottom"]);
    const across = place(((at % this.side) + 0.5) / this.side, ["left", "centre", "right"]);
    return `: strongest at the ${down} ${across}`;
  }
}
