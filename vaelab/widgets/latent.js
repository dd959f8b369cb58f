import { clamp, distortion, explorer, fixed, images, make, means, network, noise, range, rate, remembered } from "./shared.js";

// ---------------------------------------------------------------- formulas, tried against Python

const GRID = range(-3, 3, 7); // where a dimension is shown in the grid
const SHARES = range(0, 1, 11); // of the way between two digits

/** Where a profile of ink begins and ends; a faint first or last point counts as a part of one. */
function ends(profile) {
  const least = 0.02 * Math.max(...profile);
  const first = profile.findIndex((value) => value > least);
  const last = profile.findLastIndex((value) => value > least);
  const part = (edge, inner) => Math.min(1, profile[edge] / (profile[inner] || 1));
  return first === last ? [first, last + 1] : [first + 1 - part(first, first + 1), last + part(last, last - 1)];
}

/** Ink (height x width) in [0, 1] as one of MNIST's digits: its box 20/28 of the side, its center of mass in the middle. */
function centered(ink, width, side) {
  const height = ink.length / width;
  const sums = new Float64Array((width + 1) * (height + 1)); // of the ink above and to the left
  const [across, down] = [new Float64Array(width), new Float64Array(height)]; // the most ink of each column and row
  for (let y = 0, i = 0; y < height; y++) {
    for (let x = 0, row = 0; x < width; x++, i++) {
      row += ink[i];
      sums[(y + 1) * (width + 1) + x + 1] = sums[y * (width + 1) + x + 1] + row;
      if (ink[i] > across[x]) across[x] = ink[i];
      if (ink[i] > down[y]) down[y] = ink[i];
    }
  }
  const digit = new Float32Array(side * side);
  if (!(sums.at(-1) > 0)) return digit;
  const [[left, right], [top, bottom]] = [ends(across), ends(down)];
  const scale = Math.round((20 / 28) * side) / Math.max(right - left, bottom - top);
  const [columns, rows] = [right - left, bottom - top].map((length) => Math.max(1, Math.round(length * scale)));
  const at = (x, y) => {
    const [x0, y0] = [Math.min(width - 1, Math.floor(x)), Math.min(height - 1, Math.floor(y))];
    const k = y0 * (width + 1) + x0;
    const [a, b] = [k, k + width + 1].map((i) => sums[i] + (x - x0) * (sums[i + 1] - sums[i]));
    return a + (y - y0) * (b - a);
  };
  const small = new Float64Array(columns * rows); // each point the average of its part of the box
  const [dx, dy] = [(right - left) / columns, (bottom - top) / rows];
  let [mass, mx, my] = [0, 0, 0];
  for (let j = 0, i = 0; j < rows; j++) {
    for (let k = 0; k < columns; k++, i++) {
      const [x0, y0] = [left + k * dx, top + j * dy];
      const [x1, y1] = [Math.min(width, x0 + dx), Math.min(height, y0 + dy)];
      small[i] = (at(x1, y1) - at(x0, y1) - at(x1, y0) + at(x0, y0)) / (dx * dy);
      [mass, mx, my] = [mass + small[i], mx + small[i] * k, my + small[i] * j];
    }
  }
  const place = (center, length) => clamp(Math.round(side / 2 - center), 0, side - length);
  const [x, y] = [place(mx / mass, columns), place(my / mass, rows)];
  for (let i = 0; i < small.length; i++) digit[(y + Math.floor(i / columns)) * side + x + (i % columns)] = clamp(small[i], 0, 1);
  return digit;
}

export const formulas = {
  prepare(data) {
    const net = network(data);
    const pictures = images(data.images, data.side ** 2);
    const chosen = (digit, example) => data.rows[digit][example % data.rows[digit].length];
    const of = (pick) => {
      const last = remembered((row) => ({ x: pictures[row], q: net.encode(pictures[row]) }));
      return (values) => last(pick(values));
    };
    const drawn = remembered((drawing) => {
      const x = Float32Array.from(drawing, (byte) => byte / 255);
      return { x, q: net.encode(x) };
    });
    const from = of(({ digit, example }) => chosen(digit, example));
    const known = {
      data,
      net,
      atMu: remembered((q) => net.decode(q.mu)),
      from: (values) => (values.drawing ? drawn(values.drawing) : from(values)),
      to: of(({ to_digit, to_example }) => chosen(to_digit, to_example)),
      decoded: remembered((values) => net.decode(formulas.place(known, values))),
    };
    return known;
  },

  /** Another digit takes the sliders along to the mean of its q(z|x), another sample to where it lies. */
  follow(known, values, given) {
    const { dims, step, reach } = known.data;
    const changes = { ...given };
    const has = (...names) => names.some((name) => name in changes);
    if (has("digit", "example") && !has("drawing")) changes.drawing = null;
    if (has("digit", "example", "drawing") && !has("sample")) changes.sample = 0;
    if (has("sample")) {
      const z = formulas.draw(known, { ...values, ...changes });
      for (const d of dims) {
        const place = clamp(Math.floor(z[d] / step + 0.5) * step, -reach, reach);
        if (!has(`z[${d}]`)) changes[`z[${d}]`] = Math.round(100 * place) / 100;
      }
    }
    return changes;
  },

  /** A sample of q(z|x); sample 0 is its mean. */
  draw(known, values) {
    const { mu, std } = known.from(values).q;
    const epsilon = noise(values.sample, mu.length);
    return mu.map((m, d) => m + std[d] * epsilon[d]);
  },

  /** The sample with the dimensions that have sliders where the sliders are. */
  latent(known, values) {
    const z = formulas.draw(known, values);
    for (const d of known.data.dims) z[d] = values[`z[${d}]`];
    return z;
  },

  /** z on the straight way between two means. */
  way(known, values, share) {
    const [a, b] = [known.from(values).q.mu, known.to(values).q.mu];
    return a.map((m, d) => m + share * (b[d] - m));
  },

  /** Where the picture is decoded from: the sliders, or the way. */
  place(known, values) {
    return values.view === "between" ? formulas.way(known, values, values.mix) : formulas.latent(known, values);
  },

  numbers(known, values) {
    const { x, q } = known.from(values);
    if (values.view === "between") {
      const logits = known.decoded(values);
      return { distortion_from: distortion(logits, x), distortion_to: distortion(logits, known.to(values).x) };
    }
    return {
      distortion: distortion(known.decoded(values), x),
      distortion_at_mu: distortion(known.atMu(q), x),
      rate: rate(q),
    };
  },

  /** What is decoded there. */
  pixels: (known, values) => means(known.decoded(values)),

  centered,
};

// ------------------------------------------------------------------------------------- the page

const FINE = 10; // points of the drawing canvas for each pixel

/** A canvas to draw on; `done` gets the ink, centered, as bytes. */
function pad(ui, parent, done) {
  const side = ui.data.side;
  const fine = FINE * side;
  const label = "draw a digit here, with the mouse or a finger";
  const canvas = make("canvas", { width: fine, height: fine, role: "img", ariaLabel: label });
  canvas.style.cssText = "touch-action: none; cursor: crosshair; image-rendering: auto";
  const element = make("figure", {}, make("figcaption", {}, "draw a digit here"), canvas);
  parent.append(element);
  const pen = canvas.getContext("2d", { willReadFrequently: true });
  Object.assign(pen, { strokeStyle: "#fff", lineWidth: 2.4 * FINE, lineCap: "round", lineJoin: "round" });
  let last = null;
  const place = (event) => {
    const box = canvas.getBoundingClientRect(); // a slide may be scaled
    return [((event.clientX - box.left) / box.width) * fine, ((event.clientY - box.top) / box.height) * fine];
  };
  const stroke = (event) => {
    pen.beginPath();
    pen.moveTo(...last);
    last = place(event);
    pen.lineTo(...last);
    pen.stroke();
    const points = pen.getImageData(0, 0, fine, fine).data;
    const ink = Float32Array.from({ length: fine * fine }, (_, i) => points[4 * i + 3] / 255);
    done(Array.from(centered(ink, fine, side), (value) => Math.round(255 * value)));
  };
  canvas.addEventListener("pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    last = place(event);
    stroke(event);
    event.preventDefault();
  });
  canvas.addEventListener("pointermove", (event) => {
    if (last) stroke(event);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      last = null;
    });
  }
  return { element, clear: () => pen.clearRect(0, 0, fine, fine) };
}

export default explorer(formulas, (ui, known) => {
  const { dims, names, rows } = known.data;
  ui.control("view");
  const digit = ui.control("digit");
  digit.element.hidden = Object.keys(rows).length < 2;
  ui.control("example");
  const to = make("div", { className: "controls" });
  to.style.padding = 0;
  ui.controls.append(to);
  for (const name of ["to_digit", "to_example", "mix"]) ui.control(name, to);
  const one = make("div");
  ui.controls.append(one);
  const sliders = dims.map((d) => ui.control(`z[${d}]`, one));
  ui.buttons({
    "Sample q": () => ui.set({ sample: 1 + Math.floor(9999 * Math.random()) }),
    "Mean of q": () => ui.set({ sample: 0 }),
    "Any digit": () => {
      const classes = known.data.controls.digit.options;
      const [value] = classes[Math.floor(classes.length * Math.random())];
      ui.set({ digit: value, example: Math.floor((known.data.controls.example.max + 1) * Math.random()) });
    },
    Reset: ui.reset,
  });

  const large = ui.images(2);
  const drawing = pad(ui, large, (bytes) => ui.set({ drawing: bytes }));
  const input = ui.image("input x", large);
  const mean = ui.image("decoded from the mean", large);
  const moved = ui.image("decoded from the sliders", large);
  const target = ui.image("to", large);
  const sheet = ui.plot(60);
  const show = ui.readouts({
    distortion: { label: "−log p(x|z) at the sliders", unit: "nats", digits: 1, color: "distortion" },
    distortion_at_mu: { label: "at the mean", unit: "nats", digits: 1, color: "distortion" },
    rate: { label: "R of this x", unit: "nats", digits: 1, color: "rate" },
    distortion_from: { label: "−log p(x|z) against the first", unit: "nats", digits: 1, color: "distortion" },
    distortion_to: { label: "against the last", unit: "nats", digits: 1, color: "distortion" },
  });

  /** A dimension to a row, from -3 to 3; the others stay where the sliders are. */
  function drawGrid(values) {
    const z = formulas.latent(known, values);
    const [left, tile] = [128, 42];
    sheet.clear("Each row moves one dimension from minus 3 to 3, the others stay where the sliders are.");
    GRID.forEach((value, j) => {
      sheet.word(fixed(value, 0), left + (tile + 3) * (j + 0.5), 10, { size: 14 });
    });
    const jobs = dims.flatMap((d, i) =>
      GRID.map((value, j) => () => {
        const shifted = z.with(d, value);
        sheet.tile(means(known.net.decode(shifted)), left + (tile + 3) * j, 22 + (tile + 2) * i, tile);
      }),
    );
    dims.forEach((_, i) => {
      sheet.word(names[i], left - 8, 22 + (tile + 2) * (i + 0.5), { align: "right", size: 14 });
    });
    ui.later("grid", jobs);
  }

  let strip = { ends: [] };
  function drawWay(values) {
    const ends = [known.from(values).q, known.to(values).q];
    if (ends.some((q, i) => q !== strip.ends[i])) {
      strip = { ends, pictures: SHARES.map((share) => means(known.net.decode(formulas.way(known, values, share)))) };
    }
    const tile = Math.min(56, (sheet.canvas.clientWidth - 30) / SHARES.length - 3);
    sheet.clear("Eleven pictures on the straight way between the means of the two digits.");
    strip.pictures.forEach((picture, i) => {
      sheet.tile(picture, (tile + 3) * i, 4, tile);
    });
    const place = values.mix * (SHARES.length - 1) * (tile + 3) + tile / 2;
    Object.assign(sheet.pen, { fillStyle: ui.color("elbo") });
    sheet.pen.fillRect(place - 10, tile + 8, 20, 6);
  }

  return (values) => {
    const { view } = values;
    const { x, q } = known.from(values);
    to.hidden = view !== "between";
    one.hidden = view === "between";
    dims.forEach((d, i) => {
      sliders[i].mark(q.mu[d], q.std[d], ui.color("q"));
    });
    if (!values.drawing) drawing.clear();
    large.hidden = view === "grid";
    large.style.setProperty("--columns", view === "between" ? 3 : 2);
    mean.element.hidden = drawing.element.hidden = view === "between";
    target.element.hidden = view !== "between";
    moved.text.textContent = view === "between" ? "decoded on the way" : "decoded from the sliders";
    sheet.canvas.hidden = view === "one";
    sheet.height = view === "grid" ? 26 + 44 * dims.length : 76;
    sheet.canvas.style.height = `${sheet.height}px`;
    input.text.textContent = values.drawing ? "input x: yours, centered" : "input x";
    input.draw(x);
    moved.draw(formulas.pixels(known, values));
    if (view === "one") mean.draw(means(known.atMu(q)));
    if (view === "grid") drawGrid(values);
    if (view === "between") {
      target.draw(known.to(values).x);
      drawWay(values);
    }
    show(formulas.numbers(known, values));
  };
});
