import { clamp, distortion, explorer, fixed, grays, images, means, network, range, rate, remembered } from "./shared.js";

// ---------------------------------------------------------------- formulas, tried against Python

export const formulas = {
  prepare(data) {
    const net = network(data);
    const digits = images(data.images, data.side ** 2).map((x) => ({ x, q: net.encode(x) }));
    const decoded = remembered(({ z1, z2 }) => net.decode([z1, z2]));
    const atMean = remembered((digit) => net.decode(digits[digit].q.mu));
    return { data, net, digits, decoded, atMean };
  },

  numbers({ digits, decoded, atMean }, values) {
    const { z1, z2, digit } = values;
    const { x, q } = digits[digit];
    return {
      radius: Math.hypot(z1, z2),
      distortion: distortion(decoded(values), x),
      distortion_at_mu: distortion(atMean(digit), x),
      rate: rate(q),
      mu1: q.mu[0],
      mu2: q.mu[1],
      std1: q.std[0],
      std2: q.std[1],
    };
  },

  pixels: ({ decoded }, values) => means(decoded(values)),
};

// ------------------------------------------------------------------------------------- the page

const TILES = 20; // of the plane, each way
const NEAR = 14; // screen pixels from a click to the digit that it means
const MOST = 2.4477; // radius that holds 95 % of N(0, I) in two dimensions

export default explorer(formulas, (ui, known) => {
  const { data, net, digits } = known;
  const { side, reach, labels, step, cycle } = data;
  for (const name of ["background", "z1", "z2", "digit"]) ui.control(name);
  const small = ui.images(3, ui.controls);
  const [input, mean, here] = ["input x", "its mean", "at the ring"].map((name) => ui.image(name, small));
  ui.note("Move over the plane to decode a point, click a digit to see its q(z|x). Dashed: 95 % of the prior.");
  ui.buttons({ "To its mean": () => goTo(ui.values.digit), Reset: ui.reset });
  const plane = ui.plot(490);
  plane.canvas.style.maxWidth = "535px";
  plane.canvas.style.touchAction = "none";
  plane.canvas.style.cursor = "crosshair";
  const show = ui.readouts({
    distortion: { label: "−log p(x|z) at the ring", unit: "nats", digits: 1, color: "distortion" },
    distortion_at_mu: { label: "at the mean", unit: "nats", digits: 1, color: "distortion" },
    rate: { label: "R of x", unit: "nats", digits: 2, color: "rate" },
  });

  const near = (value) => clamp(Math.round(value / step) * step, -reach, reach);
  const at = (a, b) => ({ z1: Math.round(100 * near(a)) / 100, z2: Math.round(100 * near(b)) / 100 });
  const goTo = (digit) => ui.set({ digit, ...at(...digits[digit].q.mu) });

  /** Where a pointer is, in units of z. */
  function place(event) {
    const box = plane.canvas.getBoundingClientRect(); // a slide may be scaled
    const [left, top] = [
      (event.clientX - box.left) * (plane.width / box.width),
      (event.clientY - box.top) * (plane.height / box.height),
    ];
    const [x0, x1, y0, y1] = [plane.x(-reach), plane.x(reach), plane.y(reach), plane.y(-reach)];
    const z = [-reach + ((left - x0) / (x1 - x0)) * 2 * reach, reach - ((top - y0) / (y1 - y0)) * 2 * reach];
    return { left, top, z, inside: Math.abs(z[0]) <= reach && Math.abs(z[1]) <= reach };
  }
  plane.canvas.addEventListener("pointermove", (event) => {
    const { z, inside } = place(event);
    if (inside) ui.set(at(...z));
  });
  plane.canvas.addEventListener("pointerdown", (event) => {
    const { left, top, z, inside } = place(event);
    const far = digits.map(({ q }) => Math.hypot(plane.x(q.mu[0]) - left, plane.y(q.mu[1]) - top));
    const digit = far.indexOf(Math.min(...far));
    if (far[digit] <= NEAR) ui.set({ digit, ...(inside ? at(...z) : {}) });
    else if (inside) ui.set(at(...z));
  });

  const decoded = new OffscreenCanvas(side * TILES, side * TILES);
  const spots = range(-reach + reach / TILES, reach - reach / TILES, TILES);
  let ready = false;
  const jobs = spots.flatMap((b, j) =>
    spots.map((a, i) => () => {
      decoded.getContext("2d").putImageData(grays(means(net.decode([a, b])), side), side * i, side * (TILES - 1 - j));
    }),
  );

  /** What stays while the ring moves: the decoded plane, the digits, the prior's circle. */
  let still = { key: "" };
  function drawStill(background) {
    const key = [plane.canvas.clientWidth, devicePixelRatio, ui.dark, background, ready].join();
    if (still.key === key) return;
    plane.begin({ x: [-reach, reach], y: [-reach, reach], xlabel: "z₁", ylabel: "z₂" });
    const { pen } = plane;
    const [left, top, right, bottom] = [plane.x(-reach), plane.y(reach), plane.x(reach), plane.y(-reach)];
    if (background !== "digits" && ready) pen.drawImage(decoded, left, top, right - left, bottom - top);
    if (background !== "plane") {
      digits.forEach(({ q }, i) => {
        if (Math.max(Math.abs(q.mu[0]), Math.abs(q.mu[1])) > reach) return;
        if (labels[i] < 0) {
          plane.dot(q.mu[0], q.mu[1], ui.color("elbo"), 4);
          return;
        }
        Object.assign(pen, {
          strokeStyle: background === "both" || ui.dark ? "#000" : "#fff",
          lineWidth: 3.5,
          lineJoin: "round",
        });
        pen.font = "700 15px system-ui, sans-serif";
        Object.assign(pen, { textAlign: "center", textBaseline: "middle" });
        pen.strokeText(labels[i], plane.x(q.mu[0]), plane.y(q.mu[1]));
        pen.fillStyle =
          background === "both" ? light(cycle[labels[i] % cycle.length]) : ui.color(cycle[labels[i] % cycle.length]);
        pen.fillText(labels[i], plane.x(q.mu[0]), plane.y(q.mu[1]));
      });
    }
    ellipse([0, 0], [MOST, MOST], background === "digits" ? ui.color("prior") : "#ffffff", [7, 5]);
    const { width, height } = plane.canvas;
    const copy = new OffscreenCanvas(width, height);
    copy.getContext("2d").drawImage(plane.canvas, 0, 0);
    still = { key, copy };
  }

  /** On the black of the decoded plane every color is a light one. */
  const light = (hex) => {
    const parts = [1, 3, 5].map((i) => Number.parseInt(hex.slice(i, i + 2), 16));
    return `rgb(${parts.map((part) => Math.round(part + 0.5 * (255 - part))).join(" ")})`;
  };

  function ellipse([a, b], [ra, rb], color, dash = []) {
    const angles = range(0, 2 * Math.PI, 121);
    const [xs, ys] = [angles.map((t) => a + ra * Math.cos(t)), angles.map((t) => b + rb * Math.sin(t))];
    plane.line(xs, ys, color, { width: 3, dash });
  }

  ui.later("plane", [
    ...jobs,
    () => {
      ready = true;
      ui.refresh();
    },
  ]);

  return (values) => {
    const numbers = formulas.numbers(known, values);
    const { x, q } = digits[values.digit];
    drawStill(values.background);
    plane.clear(
      `The latent plane. The ring is at ${fixed(values.z1)}, ${fixed(values.z2)}; the q of the chosen digit is centered at ${fixed(q.mu[0])}, ${fixed(q.mu[1])}.`,
    );
    const { width, height } = still.copy;
    plane.pen.drawImage(still.copy, 0, 0, (width * plane.height) / height, plane.height);
    const onBlack = values.background !== "digits";
    const pink = onBlack ? light(data.colors.q) : ui.color("q");
    ellipse(q.mu, [MOST * q.std[0], MOST * q.std[1]], pink);
    plane.dot(q.mu[0], q.mu[1], pink, 5);
    plane.pen.beginPath();
    plane.pen.arc(plane.x(values.z1), plane.y(values.z2), 10, 0, 2 * Math.PI);
    Object.assign(plane.pen, { strokeStyle: onBlack ? light(data.colors.gap) : ui.color("gap"), lineWidth: 4 });
    plane.pen.stroke();
    input.draw(x);
    mean.draw(means(known.atMean(values.digit)));
    here.draw(formulas.pixels(known, values));
    show(numbers);
  };
});
