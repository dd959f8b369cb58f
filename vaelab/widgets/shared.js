// What the explorers share: arithmetic, controls, pictures and axes. Python joins this text and one explorer's file into
// one module (vaelab/widgets/explorer.py), because a module that is loaded from a blob can import nothing beside it.

// ------------------------------------------------------------------------------- arithmetic

/** The numbers behind a DataView of IEEE 754 binary16, little-endian. */
export function halves(view) {
  halves.table ??= Float32Array.from({ length: 65536 }, (_, word) => {
    const exponent = (word >> 10) & 31;
    const fraction = (word & 1023) / 1024;
    const size = exponent ? 2 ** (exponent - 15) * (1 + fraction) : 2 ** -14 * fraction;
    return word & 32768 ? -size : size;
  });
  const words = new Uint16Array(view.byteLength / 2);
  for (let i = 0; i < words.length; i++) words[i] = view.getUint16(2 * i, true);
  return Float32Array.from(words, (word) => halves.table[word]);
}

/** The bytes behind a DataView as pixels in [0, 1], cut into images of `pixels`. */
export function images(view, pixels) {
  const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
  const all = Float32Array.from(bytes, (byte) => byte / 255);
  return Array.from({ length: all.length / pixels }, (_, i) => all.subarray(i * pixels, (i + 1) * pixels));
}

/** Weight (inputs x outputs), bias (outputs) and x (inputs) -> (outputs); inputs that are 0 cost nothing. */
function layer({ weight, bias }, x) {
  const y = Float64Array.from(bias);
  for (let i = 0, k = 0; i < x.length; i++, k += y.length) {
    const value = x[i];
    if (value !== 0) for (let j = 0; j < y.length; j++) y[j] += value * weight[k + j];
  }
  return y;
}

/** The VAE whose weights are in `data`: encode(x) -> {mu, std, logvar}, decode(z) -> logits. */
export function network(data) {
  const part = (name) => ({ weight: halves(data[`${name}.weight`]), bias: halves(data[`${name}.bias`]) });
  const names = ["from_data", "to_mu", "to_logvar", "from_latent", "to_logits"];
  const [fromData, toMu, toLogvar, fromLatent, toLogits] = names.map(part);
  const relu = (h) => h.map((value) => Math.max(0, value));
  return {
    encode(x) {
      const h = relu(layer(fromData, x));
      const logvar = layer(toLogvar, h).map((raw) => 15 * Math.tanh(raw / 15)); // vaelab.model.soft_bound
      return { mu: layer(toMu, h), logvar, std: logvar.map((v) => Math.exp(v / 2)) };
    },
    decode: (z) => layer(toLogits, relu(layer(fromLatent, z))),
  };
}

export const means = (logits) => logits.map((a) => 1 / (1 + Math.exp(-a)));

/** -log p(x|z) of a Bernoulli in nats, from the logits, so that nothing overflows. */
export function distortion(logits, x) {
  let sum = 0;
  for (let i = 0; i < x.length; i++) {
    sum += Math.max(logits[i], 0) - logits[i] * x[i] + Math.log1p(Math.exp(-Math.abs(logits[i])));
  }
  return sum;
}

/** KL(q || N(0, I)) in nats. */
export function rate({ mu, logvar }) {
  return mu.reduce((sum, m, d) => sum + 0.5 * (m * m + Math.exp(logvar[d]) - 1 - logvar[d]), 0);
}

/** As many standard normal numbers as asked for, the same for the same seed; 0 everywhere for seed 0. */
export function noise(seed, count) {
  if (seed === 0) return new Float64Array(count);
  let state = seed >>> 0;
  const uniform = () => {
    state = (state + 0x6d2b79f5) >>> 0; // mulberry32
    let t = Math.imul(state ^ (state >>> 15), state | 1);
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61);
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296;
  };
  return Float64Array.from({ length: count }, () => {
    return Math.sqrt(-2 * Math.log(1 - uniform())) * Math.cos(2 * Math.PI * uniform()); // Box and Muller
  });
}

export const normal = (z, mean, std) => Math.exp(-0.5 * ((z - mean) / std) ** 2) / (std * Math.sqrt(2 * Math.PI));

export const range = (low, high, count) => Array.from({ length: count }, (_, i) => low + ((high - low) * i) / (count - 1));

export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

/** The last result of a function, for as long as it is asked for the same. */
export function remembered(make) {
  let [key, value] = [undefined, undefined];
  return (next) => {
    if (next !== key) [key, value] = [next, make(next)];
    return value;
  };
}

/** A number with so many decimals and a true minus. */
export function fixed(value, digits = 2) {
  if (!Number.isFinite(value)) return Number.isNaN(value) ? "–" : "∞";
  const text = Math.abs(value) >= 1e-3 || value === 0 ? value.toFixed(digits) : value.toExponential(0);
  return text.replace(/^-(?=0\.?0*$)/, "").replaceAll("-", "−");
}

// --------------------------------------------------------------------------------- the look

const STYLE = `
.vaelab-explorer { --ink: #16191d; --soft: #5b636d; --paper: #ffffff; --panel: #f3f5f8; --line: #c9ced6; --grid: #e6e8ec;
  container-type: inline-size; box-sizing: border-box; width: 100%; color: var(--ink); background: var(--paper);
  font: 15.5px/1.35 system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; text-align: left; }
.vaelab-explorer.dark { --ink: #eceff3; --soft: #a9b1bc; --paper: #14171b; --panel: #20252b; --line: #49515c; --grid: #2b3138; }
.vaelab-explorer * { box-sizing: border-box; }
.vaelab-explorer .columns { display: grid; grid-template-columns: minmax(17rem, 24rem) minmax(0, 1fr); gap: .4rem 1.3rem;
  padding: .5rem .2rem; align-items: start; }
.vaelab-explorer .controls { display: grid; gap: .3rem; background: var(--panel); border-radius: .5rem; padding: .6rem .8rem; }
.vaelab-explorer .slider { display: grid; grid-template-columns: 1fr auto; column-gap: .6rem; margin: 0; }
.vaelab-explorer .slider.row { grid-template-columns: 8.6rem minmax(0, 1fr) 3.1rem; align-items: center; min-height: 1.65rem; }
.vaelab-explorer .slider .name { grid-row: 1; grid-column: 1; }
.vaelab-explorer .slider .value { text-align: right; font-weight: 600; font-variant-numeric: tabular-nums; }
.vaelab-explorer .slider .track { position: relative; grid-column: 1 / -1; display: flex; height: 1.4rem; }
.vaelab-explorer .slider.row .track { grid-column: 2; grid-row: 1; }
.vaelab-explorer .slider.row .value { grid-column: 3; grid-row: 1; }
.vaelab-explorer .spread { position: absolute; top: 50%; height: 1.2rem; margin-top: -.6rem; border-radius: .3rem; opacity: .55; }
.vaelab-explorer input[type=range] { position: relative; width: 100%; margin: 0; accent-color: var(--accent); cursor: pointer;
  background: none; }
.vaelab-explorer .choice { display: flex; flex-wrap: wrap; gap: .3rem; border: 0; padding: 0; margin: 0 0 .15rem; min-width: 0; }
.vaelab-explorer legend { padding: 0; margin-bottom: .15rem; font-size: inherit; color: inherit; }
.vaelab-explorer .choice label { position: relative; margin: 0; }
.vaelab-explorer .choice input { position: absolute; inset: 0; opacity: 0; margin: 0; cursor: pointer; width: 100%; height: 100%; }
.vaelab-explorer .choice span, .vaelab-explorer button { display: block; font: inherit; line-height: 1.25; padding: .22rem .5rem;
  border: 1.5px solid var(--line); border-radius: .4rem; background: var(--paper); color: var(--ink); }
.vaelab-explorer .choice input:checked + span { background: var(--accent); border-color: var(--accent); color: var(--paper); font-weight: 600; }
.vaelab-explorer .buttons { display: flex; flex-wrap: wrap; gap: .4rem; margin-top: .25rem; }
.vaelab-explorer button { cursor: pointer; }
.vaelab-explorer button:hover, .vaelab-explorer .choice label:hover span { border-color: var(--accent); }
.vaelab-explorer :focus-visible, .vaelab-explorer .choice input:focus-visible + span { outline: 3px solid #D55E00; outline-offset: 2px; }
.vaelab-explorer .picture { display: grid; gap: .5rem; min-width: 0; }
.vaelab-explorer .readouts { display: flex; flex-wrap: wrap; gap: .1rem 1.4rem; margin: 0; font-size: 16.5px; }
.vaelab-explorer .readouts b { font-size: 19px; font-variant-numeric: tabular-nums; margin: 0 .25rem 0 .35rem; }
.vaelab-explorer .readouts i { display: inline-block; width: .8rem; height: .8rem; border-radius: .2rem; margin-right: .4rem; }
.vaelab-explorer .note { margin: 0; color: var(--soft); font-size: 14.5px; }
.vaelab-explorer .alert:empty { display: none; }
.vaelab-explorer .alert { color: #D55E00; font-weight: 600; }
.vaelab-explorer canvas.plot { display: block; width: 100%; }
.vaelab-explorer .images { display: grid; grid-template-columns: repeat(var(--columns, 2), minmax(0, var(--size, 13rem)));
  gap: .4rem .9rem; }
.vaelab-explorer figure { margin: 0; }
.vaelab-explorer figcaption { margin: 0 0 .15rem; font-size: 15px; color: var(--ink); text-align: left; }
.vaelab-explorer figure canvas { display: block; width: 100%; aspect-ratio: 1; image-rendering: pixelated; background: #000; border-radius: .25rem; outline: 1px solid var(--line); }
.vaelab-explorer [hidden] { display: none !important; }
@container (max-width: 44rem) { .vaelab-explorer .columns { grid-template-columns: minmax(0, 1fr); } }
`;

/** An element with attributes and children. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name in element && name !== "role") element[name] = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

/** Is what lies behind an element dark? */
function onDark(element) {
  for (let node = element; node; node = node.parentElement) {
    const [r, g, b, alpha = 1] = (getComputedStyle(node).backgroundColor.match(/[\d.]+/g) ?? [0, 0, 0, 0]).map(Number);
    if (alpha > 0.5) return 0.3 * r + 0.59 * g + 0.11 * b < 110;
  }
  return false;
}

// ----------------------------------------------------------------------- controls and values

/** A number that is unique on the page: every explorer brings a copy of this module, and radio buttons of one name, wherever they are, put each other out. */
function nextNumber() {
  globalThis.vaelabExplorers = (globalThis.vaelabExplorers ?? 0) + 1;
  return globalThis.vaelabExplorers;
}

/** One explorer on a page: its values, its controls beside its picture, and its read-outs. */
class Interface {
  constructor(model, el, formulas) {
    Object.assign(this, { model, formulas, shown: [], kept: {}, number: nextNumber() });
    this.data = model.get("data");
    this.values = model.get("values");
    this.start = this.values;
    this.known = formulas.prepare(this.data); // what the formulas need of the data
    this.controls = make("div", { className: "controls", role: "group", ariaLabel: "controls" });
    this.picture = make("div", { className: "picture" });
    this.alert = make("p", { className: "note alert", role: "alert" });
    this.columns = make("div", { className: "columns" }, this.controls, this.picture);
    // Lumino's attribute keeps JupyterLab's keys from what has the focus here, reveal.js's a finger from its slides.
    const hands = { "data-lm-suppress-shortcuts": "true", "data-prevent-swipe": "" };
    this.root = make("div", { className: "vaelab-explorer", ...hands }, make("style", {}, STYLE), this.columns, this.alert);
    el.append(this.root);
    this.watch();
  }

  /** Follow the kernel's values, the theme and the size until `close`. */
  watch() {
    const follow = () => {
      const values = this.model.get("values");
      if (values !== this.values) this.take(values);
    };
    const look = () => this.look();
    const theme = new MutationObserver(look);
    for (const part of [document.documentElement, document.body]) {
      theme.observe(part, { attributeFilter: ["class", "theme", "data-jp-theme-light", "data-jp-theme-name"] });
    }
    const size = new ResizeObserver(look);
    size.observe(this.root);
    const media = matchMedia("(prefers-color-scheme: dark)");
    media.addEventListener("change", look);
    // Notebook 7 walks from heading to heading with the arrow keys, wherever they are pressed: here they move a slider.
    const keys = (event) => {
      const plain = !(event.ctrlKey || event.metaKey || event.altKey || event.shiftKey || event.key === "Escape");
      if (plain && this.root.contains(event.target)) event.stopImmediatePropagation();
    };
    window.addEventListener("keydown", keys, true);
    this.model.on("change:values", follow);
    this.close = () => {
      this.closed = true;
      this.model.off("change:values", follow);
      theme.disconnect();
      size.disconnect();
      window.removeEventListener("keydown", keys, true);
      media.removeEventListener("change", look);
      this.root.remove();
    };
  }

  /** Draw in the colors and the size of the place. */
  look() {
    this.dark = onDark(this.root.parentElement);
    this.root.classList.toggle("dark", this.dark);
    this.root.style.setProperty("--accent", this.color("elbo"));
    this.refresh();
  }

  /** A color of the collection by its meaning; on dark ground lighter, and black is white. */
  color(meaning) {
    const hex = this.data.colors[meaning] ?? meaning;
    if (!this.dark) return hex;
    const parts = [1, 3, 5].map((i) => Number.parseInt(hex.slice(i, i + 2), 16));
    const share = Math.max(...parts) < 40 ? 0.93 : 0.35;
    return `rgb(${parts.map((part) => Math.round(part + share * (255 - part))).join(" ")})`;
  }

  /** The color of words on a colored ground. */
  on(meaning) {
    const [r, g, b] = this.color(meaning).startsWith("#")
      ? [1, 3, 5].map((i) => Number.parseInt(this.color(meaning).slice(i, i + 2), 16))
      : this.color(meaning).match(/\d+/g).map(Number);
    return 0.3 * r + 0.59 * g + 0.11 * b > 125 ? "#16191d" : "#ffffff";
  }

  get ink() {
    return this.dark ? "#eceff3" : "#16191d";
  }

  /** Move controls, draw, and tell the kernel, if there is one. */
  set(changes) {
    this.take({ ...this.values, ...(this.formulas.follow?.(this.known, this.values, changes) ?? changes) });
    this.model.set("values", this.values);
    this.model.save_changes();
  }

  take(values) {
    this.values = values;
    this.refresh();
  }

  refresh() {
    if (!this.draw || !this.root.isConnected || this.root.clientWidth === 0) return;
    try {
      for (const show of this.shown) show(this.values);
      this.draw(this.values);
      this.alert.textContent = "";
    } catch (error) {
      this.alert.textContent = `This picture is not up to date: ${error.message}`;
      console.error(error);
    }
  }

  /** Work for when the picture is drawn, a few milliseconds a frame; what was left of the same name is dropped. */
  later(name, jobs) {
    const queue = [...jobs];
    this.kept[name] = queue;
    const some = () => {
      const end = performance.now() + 2;
      while (queue.length && performance.now() < end) queue.shift()();
      if (queue.length && this.kept[name] === queue && !this.closed) requestAnimationFrame(some);
    };
    some();
  }

  /** The control of a value, as the data describe it: a slider or a choice. */
  control(name, parent = this.controls) {
    const spec = this.data.controls[name];
    return spec.options ? this.choice(name, spec, parent) : this.slider(name, spec, parent);
  }

  slider(name, { label, min, max, step, digits, unit = "", row = false, texts }, parent) {
    const output = make("span", { className: "value" });
    const input = make("input", { type: "range", min, max, step, name });
    const spread = make("div", { className: "spread", hidden: true });
    const track = make("div", { className: "track" }, spread, input);
    const element = make(
      "label",
      { className: row ? "slider row" : "slider" },
      make("span", { className: "name" }, label),
      output,
      track,
    );
    input.addEventListener("input", () => this.set({ [name]: Number(input.value) }));
    this.shown.push((values) => {
      input.value = values[name];
      output.textContent = texts ? texts[values[name]] : fixed(values[name], digits);
      input.setAttribute("aria-valuetext", `${output.textContent} ${unit}`.trim());
    });
    parent.append(element);
    const place = (value) => `(100% - 16px) * ${clamp((value - min) / (max - min), 0, 1)}`;
    return {
      element,
      input,
      /** Show mean and spread of a distribution behind the handle. */
      mark(mean, std, color) {
        const [left, right] = [place(mean - std), place(mean + std)];
        spread.hidden = false;
        spread.style.cssText = `left: calc(6px + ${left}); width: calc(4px + ${right} - ${left}); background: ${color}`;
      },
    };
  }

  choice(name, { label, options }, parent) {
    const buttons = options.map(([value, text]) => {
      const input = make("input", { type: "radio", name: `vaelab-${this.number}-${name}`, value });
      input.addEventListener("change", () => this.set({ [name]: value }));
      this.shown.push((values) => {
        input.checked = values[name] === value;
      });
      return make("label", {}, input, make("span", {}, text));
    });
    const element = make("fieldset", { className: "choice" }, make("legend", {}, label), ...buttons);
    parent.append(element);
    return { element };
  }

  /** A row of buttons: label -> what a click does. */
  buttons(actions, parent = this.controls) {
    const row = make("div", { className: "buttons" });
    for (const [label, action] of Object.entries(actions)) {
      const button = make("button", { type: "button" }, label);
      button.addEventListener("click", action);
      row.append(button);
    }
    parent.append(row);
    return row;
  }

  reset = () => this.set({ ...this.start });

  note(text, parent = this.controls) {
    const note = make("p", { className: "note" }, text);
    parent.append(note);
    return note;
  }

  /** Read-outs, name -> {label, unit, digits, color}; what comes back shows numbers. */
  readouts(specs, parent = this.picture) {
    const box = make("div", { className: "readouts", role: "status", ariaLive: "polite" });
    const shows = Object.entries(specs).map(([name, { label, unit = "", digits = 2, color, text }]) => {
      const value = make("b", { "data-name": name });
      const swatch = color ? [make("i")] : [];
      const element = make("span", {}, ...swatch, label, value, unit);
      box.append(element);
      return (numbers) => {
        element.hidden = !(name in numbers);
        value.textContent = text ? text(numbers[name]) : fixed(numbers[name], digits);
        value.dataset.value = numbers[name];
        if (color) swatch[0].style.background = this.color(color);
      };
    });
    parent.append(box);
    return (numbers) => {
      for (const show of shows) show(numbers);
    };
  }

  /** Pictures side by side, so many to a row. */
  images(columns, parent = this.picture) {
    const box = make("div", { className: "images" });
    box.style.setProperty("--columns", columns);
    parent.append(box);
    return box;
  }

  /** A square image with a caption; what comes back draws pixels in [0, 1]. */
  image(caption, parent) {
    const side = this.data.side;
    const canvas = make("canvas", { width: side, height: side, role: "img", ariaLabel: caption });
    const text = make("figcaption", {}, caption);
    const element = make("figure", {}, text, canvas);
    parent.append(element);
    return { element, canvas, text, draw: (pixels) => canvas.getContext("2d").putImageData(grays(pixels, side), 0, 0) };
  }

  plot(height, parent = this.picture) {
    return new Plot(this, height, parent);
  }
}

/** Pixels in [0, 1] as a picture for a canvas. */
export function grays(pixels, side) {
  const picture = new ImageData(side, side);
  for (let i = 0, k = 0; i < pixels.length; i++, k += 4) {
    picture.data[k] = picture.data[k + 1] = picture.data[k + 2] = Math.round(255 * pixels[i]);
    picture.data[k + 3] = 255;
  }
  return picture;
}

/** What anywidget and the page's host ask of a module. `build(ui, known)` makes controls and returns `draw(values)`. */
export function explorer(formulas, build) {
  return {
    render({ model, el }) {
      const ui = new Interface(model, el, formulas);
      ui.draw = build(ui, ui.known);
      ui.look();
      return () => ui.close();
    },
  };
}

// -------------------------------------------------------------------------------------- axes

/** Round numbers within [low, high], about so many. */
export function ticks([low, high], count = 5) {
  const rough = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(rough));
  const step = power * [1, 2, 5, 10].find((factor) => factor * power >= rough * 0.8);
  const first = Math.ceil(low / step - 1e-9);
  return Array.from({ length: Math.floor(high / step + 1e-9) - first + 1 }, (_, i) => (first + i) * step);
}

/** Axes on a canvas, drawn anew each time: `begin`, then lines, bars and words in the units of the data. */
class Plot {
  constructor(ui, height, parent) {
    Object.assign(this, { ui, height });
    this.canvas = make("canvas", { className: "plot", role: "img" });
    this.canvas.style.height = `${height}px`;
    this.pen = this.canvas.getContext("2d");
    parent.append(this.canvas);
  }

  /** An empty canvas as wide as its place, in screen pixels; `words` are for those who cannot see it. */
  clear(words) {
    const { canvas, pen } = this;
    const scale = globalThis.devicePixelRatio || 1;
    this.width = canvas.clientWidth || 480;
    const [w, h] = [Math.round(this.width * scale), Math.round(this.height * scale)];
    if (canvas.width !== w || canvas.height !== h) Object.assign(canvas, { width: w, height: h });
    pen.setTransform(scale, 0, 0, scale, 0, 0);
    pen.clearRect(0, 0, this.width, this.height);
    if (words) canvas.setAttribute("aria-label", words);
  }

  /** A square image, its upper left corner and its side in screen pixels. */
  tile(pixels, left, top, size, { smooth = false } = {}) {
    const side = Math.round(Math.sqrt(pixels.length));
    this.scratch ??= new OffscreenCanvas(side, side);
    this.scratch.getContext("2d").putImageData(grays(pixels, side), 0, 0);
    this.pen.imageSmoothingEnabled = smooth;
    this.pen.drawImage(this.scratch, left, top, size, size);
  }

  /** Clear, and draw axes over the ranges x and y; `log` makes y logarithmic. */
  begin({ x, y, xlabel = "", ylabel = "", log = false, yticks, words, margin = {} }) {
    const { pen, ui } = this;
    this.clear(words);
    const box = { left: ylabel ? 62 : 12, right: 20, top: 10, bottom: xlabel ? 48 : 12, ...margin };
    const of = log ? Math.log10 : (value) => value;
    this.x = (value) => box.left + ((value - x[0]) / (x[1] - x[0])) * (this.width - box.left - box.right);
    this.y = (value) =>
      this.height - box.bottom - ((of(value) - of(y[0])) / (of(y[1]) - of(y[0]))) * (this.height - box.top - box.bottom);
    this.limits = { x, y };
    const marks =
      yticks ??
      (log
        ? ticks(y.map(of), 4)
            .filter(Number.isInteger)
            .map((p) => 10 ** p)
        : ticks(y, 4));
    pen.lineWidth = 1;
    pen.strokeStyle = ui.dark ? "#2b3138" : "#e6e8ec";
    if (xlabel) for (const value of ticks(x, 6)) this.path([value, value], y);
    if (ylabel) for (const value of marks) this.path(x, [value, value]);
    pen.strokeStyle = ui.dark ? "#a9b1bc" : "#5b636d";
    if (ylabel) this.path([x[0], x[0]], y);
    if (xlabel) this.path(x, [y[0], y[0]]);
    const digits = ([first, second = first + 1]) => clamp(-Math.floor(Math.log10(second - first) + 1e-9), 0, 4);
    if (xlabel) for (const value of ticks(x, 6)) this.text(fixed(value, digits(ticks(x, 6))), value, y[0], { dy: 15, size: 14 });
    if (ylabel) {
      const name = (value) => (log ? `10${superscript(Math.round(Math.log10(value)))}` : fixed(value, digits(marks)));
      for (const value of marks) this.text(name(value), x[0], value, { dx: -7, align: "right", size: 14 });
    }
    if (xlabel) this.word(xlabel, (box.left + this.width - box.right) / 2, this.height - 11, { size: 15 });
    if (ylabel) {
      pen.save();
      pen.translate(13, (box.top + this.height - box.bottom) / 2);
      pen.rotate(-Math.PI / 2);
      this.word(ylabel, 0, 0, { size: 15 });
      pen.restore();
    }
  }

  path(xs, ys) {
    this.pen.beginPath();
    for (let i = 0; i < xs.length; i++) this.pen.lineTo(this.x(xs[i]), this.y(ys[i]));
    this.pen.stroke();
  }

  line(xs, ys, color, { width = 2.5, dash = [] } = {}) {
    const { pen } = this;
    const { x, y } = this.limits;
    pen.save();
    pen.beginPath();
    pen.rect(this.x(x[0]), this.y(y[1]) - 3, this.x(x[1]) - this.x(x[0]) + 3, this.y(y[0]) - this.y(y[1]) + 6);
    pen.clip();
    Object.assign(pen, { strokeStyle: color, lineWidth: width, lineJoin: "round" });
    pen.setLineDash(dash);
    this.path(xs, ys);
    pen.restore();
  }

  bar(x0, x1, y0, y1, color, alpha = 1) {
    this.pen.save();
    Object.assign(this.pen, { fillStyle: color, globalAlpha: alpha });
    this.pen.fillRect(this.x(x0), this.y(y1), this.x(x1) - this.x(x0), this.y(y0) - this.y(y1));
    this.pen.restore();
  }

  dot(x, y, color, radius = 6, rim = this.ui.dark ? "#14171b" : "#ffffff") {
    this.pen.beginPath();
    this.pen.arc(this.x(x), this.y(y), radius, 0, 2 * Math.PI);
    Object.assign(this.pen, { fillStyle: color, strokeStyle: rim, lineWidth: 1.5 });
    this.pen.fill();
    this.pen.stroke();
  }

  /** Words at a place in units of the data. */
  text(words, x, y, { dx = 0, dy = 0, ...how } = {}) {
    this.word(words, this.x(x) + dx, this.y(y) + dy, how);
  }

  /** Words at a place in screen pixels. */
  word(words, left, top, { align = "center", color = this.ui.ink, size = 15, bold = false } = {}) {
    Object.assign(this.pen, { fillStyle: color, textAlign: align, textBaseline: "middle" });
    this.pen.font = `${bold ? 600 : 400} ${size}px system-ui, -apple-system, "Segoe UI", "DejaVu Sans", sans-serif`;
    this.pen.fillText(words, left, top);
  }

  /** Names of lines, one below the other, from the upper left corner on (or the right one): [name, color, dash]. */
  legend(lines, { right = false, top = 0 } = {}) {
    lines.forEach(([name, color, dash = []], i) => {
      const y = this.y(this.limits.y[1]) + 12 + top + 21 * i;
      const x = right ? this.x(this.limits.x[1]) - 30 : this.x(this.limits.x[0]) + 12;
      Object.assign(this.pen, { strokeStyle: color, lineWidth: 3 });
      this.pen.setLineDash(dash);
      this.pen.beginPath();
      this.pen.moveTo(x, y);
      this.pen.lineTo(x + 26, y);
      this.pen.stroke();
      this.pen.setLineDash([]);
      this.word(name, right ? x - 7 : x + 33, y, { align: right ? "right" : "left" });
    });
  }
}

const superscript = (power) => String(power).replace(/[-\d]/g, (sign) => "⁻⁰¹²³⁴⁵⁶⁷⁸⁹"["-0123456789".indexOf(sign)]);
