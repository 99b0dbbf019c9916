// A small drawing pad: mouse, pen, finger or keyboard.

const [WIDTH, HEIGHT] = [200, 150];
const STEP = 6; // pixels that an arrow key moves the brush
const PAINTS = {
  blue: "#78aae6", green: "#5aa046", sand: "#d9bd87", grey: "#8c8c91", brown: "#8a5a33",
  red: "#c83c32", yellow: "#e6c832", black: "#191919", white: "#f5f5f5",
};

/**
 * @param {HTMLElement} el Where the pad goes.
 * @param {(canvas: HTMLCanvasElement) => void} changed Called after each stroke.
 */
export function makePad(el, changed) {
  const radios = Object.entries(PAINTS).map(
    ([name, colour], k) => `<label style="--paint:${colour}"><input type="radio" name="try-paint"
      value="${colour}" ${k === 5 ? "checked" : ""}><span>${name}</span></label>`,
  );
  el.innerHTML = `<fieldset class="try-paints"><legend>Colour</legend>${radios.join("")}</fieldset>
    <label class="try-slider">Brush <input type="range" min="4" max="60" value="16" data-brush></label>
    <canvas width="${WIDTH}" height="${HEIGHT}" tabindex="0" role="application"
      aria-label="Drawing pad. Arrow keys move the brush, space paints, shift with an arrow key draws."
    ></canvas>
    <p><button type="button" data-fill>Fill with the colour</button></p>`;
  const canvas = el.querySelector("canvas");
  const context = canvas.getContext("2d", { willReadFrequently: true });
  const colour = () => el.querySelector("input[type=radio]:checked").value;
  const brush = () => Number(el.querySelector("[data-brush]").value);
  const place = { x: WIDTH / 2, y: HEIGHT / 2 };
  context.lineCap = "round";

  const fill = (paint, top = 0) => {
    context.fillStyle = paint;
    context.fillRect(0, top, WIDTH, HEIGHT - top);
  };
  const stroke = (to) => {
    context.strokeStyle = colour();
    context.lineWidth = brush();
    context.beginPath();
    context.moveTo(place.x, place.y);
    context.lineTo(to.x, to.y + 0.01);
    context.stroke();
    Object.assign(place, to);
  };
  const at = ({ clientX, clientY }) => {
    const box = canvas.getBoundingClientRect();
    const x = ((clientX - box.left) * WIDTH) / box.width;
    return { x, y: ((clientY - box.top) * HEIGHT) / box.height };
  };

  fill(PAINTS.blue);
  fill(PAINTS.green, HEIGHT / 2);
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    Object.assign(place, at(event));
    stroke({ ...place });
  });
  canvas.addEventListener("pointermove", (event) => event.buttons && stroke(at(event)));
  canvas.addEventListener("pointerup", () => changed(canvas));
  canvas.addEventListener("keydown", (event) => {
    const [dx, dy] =
      { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1], " ": [0, 0] }[
        event.key
      ] ?? [];
    if (dx === undefined) return;
    event.preventDefault();
    event.stopPropagation(); // arrow keys may turn the book's pages
    const to = {
      x: Math.min(WIDTH, Math.max(0, place.x + STEP * dx)),
      y: Math.min(HEIGHT, Math.max(0, place.y + STEP * dy)),
    };
    if (event.key === " " || event.shiftKey) {
      stroke(to);
      changed(canvas);
    } else Object.assign(place, to);
  });
  el.querySelector("[data-fill]").addEventListener("click", () => {
    fill(colour());
    changed(canvas);
  });
  return () => changed(canvas);
}
