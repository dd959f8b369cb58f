import { explorer, fixed, range } from "./shared.js";

// ---------------------------------------------------------------- formulas, tried against Python

const ROUNDING = 1e-9; // 29 / 100 * 100 is 28.999999999999996 and belongs to step 29

const SCHEDULES = {
  constant:
    ({ beta }) =>
    () =>
      beta,
  linear:
    ({ warmup, start, stop }) =>
    (progress) => {
      const climbed = Math.min(1, progress / warmup);
      return (1 - climbed) * start + climbed * stop;
    },
  staircase:
    ({ steps }) =>
    (progress) =>
      Math.min(Math.floor(progress * steps + ROUNDING) + 1, steps) / steps,
  sigmoid:
    ({ midpoint, steepness, stop }) =>
    (progress) =>
      stop * 0.5 * (1 + Math.tanh(0.5 * steepness * (progress - midpoint))),
  cyclical:
    ({ cycles, ramp, stop }) =>
    (progress) => {
      const phase = (progress * cycles) % 1;
      return phase > 1 - ROUNDING ? 0 : stop * Math.min(1, phase / ramp);
    },
};

const total = (values) => values.reduce((sum, value) => sum + value, 0);

/** D and R where D + beta R is least: reverse water-filling. */
function best(signals, beta) {
  return {
    distortion: 0.5 * total(signals.map((s) => Math.min(s, beta))),
    rate: 0.5 * total(signals.map((s) => Math.log(Math.max(1, s / beta)))),
  };
}

/** Exact gradient descent on D + beta R of the linear-Gaussian model; D and R of each dimension before every step and after. */
function trainPath(signals, betas, rate) {
  const dimensions = signals.map((s) => ({ s, root: Math.sqrt(s), w: 0.1, a: 0.1, logv: 0 }));
  const path = { distortion: [], rate: [] };
  for (const beta of [...betas, 0]) {
    path.distortion.push(
      dimensions.map(({ s, root, w, a, logv }) => 0.5 * (s - 2 * root * w * a + w * w * (a * a + Math.exp(logv)))),
    );
    path.rate.push(dimensions.map(({ a, logv }) => 0.5 * (a * a + Math.exp(logv) - 1 - logv)));
    for (const d of dimensions) {
      const { root, w, a, logv } = d;
      const v = Math.exp(logv);
      d.w -= rate * (w * (a * a + v) - root * a);
      d.a -= rate * (w * w * a - root * w + beta * a);
      d.logv -= rate * 0.5 * (w * w * v + beta * (v - 1));
    }
  }
  return path;
}

export const formulas = {
  prepare: (data) => data,

  betas({ run_steps }, values) {
    const schedule = SCHEDULES[values.kind](values);
    return Array.from({ length: run_steps }, (_, i) => schedule(i / run_steps));
  },

  path: (known, values) => trainPath(known.signals, formulas.betas(known, values), known.rate),

  numbers(known, values, path = formulas.path(known, values)) {
    const betas = formulas.betas(known, values);
    const most = Math.max(...betas);
    const [distortion, rate] = [total(path.distortion.at(-1)), total(path.rate.at(-1))];
    const least = best(known.signals, 1);
    return {
      mean_beta: total(betas) / betas.length,
      share_at_full: betas.filter((beta) => beta >= known.full * most).length / betas.length,
      distortion,
      rate,
      peak_rate: Math.max(...path.rate.map(total)),
      deficit: distortion + rate - least.distortion - least.rate,
      used: path.rate.at(-1).filter((kl) => kl > known.used).length,
    };
  },
};

// ------------------------------------------------------------------------------------- the page

export default explorer(formulas, (ui, known) => {
  const { controls, parameters, signals, run_steps } = known;
  ui.control("kind");
  const shapes = Object.keys(controls).filter((name) => name !== "kind");
  const elements = shapes.map((name) => ui.control(name).element);
  const schedule = ui.plot(165, ui.controls);
  ui.buttons({ Reset: ui.reset });
  ui.note(`A linear-Gaussian model with ${signals.length} dimensions, trained by exact gradients for ${run_steps} steps.`);
  const plane = ui.plot(285);
  const rates = ui.plot(172);
  const show = ui.readouts({
    deficit: { label: "−ELBO ends above the best by", unit: "nats", digits: 3 },
    rate: { label: "R", unit: "at the end,", color: "rate" },
    peak_rate: { label: "", unit: "nats at its peak" },
    used: { label: "dimensions in use", digits: 0, text: (count) => `${count} of ${signals.length}` },
    share_at_full: { label: "at full β", text: (share) => `${Math.round(100 * share)} %` },
  });
  const front = range(Math.log(0.02), Math.log(20), 160).map((log) => best(signals, Math.exp(log)));
  const one = best(signals, 1);
  const most = 0.5 * total(signals);

  function drawPlane(path, color, numbers) {
    const [xs, ys] = [path.rate.map(total), path.distortion.map(total)];
    const wide = Math.max(1.9 * one.rate, 1.08 * numbers.peak_rate);
    plane.begin({
      x: [0, wide],
      y: [0, 1.08 * most],
      xlabel: "rate R in nats",
      ylabel: "distortion D in nats",
      words: `Path of training in the rate-distortion plane: it ends at R ${fixed(numbers.rate)}, D ${fixed(numbers.distortion)}; the best at beta 1 is R ${fixed(one.rate)}, D ${fixed(one.distortion)}.`,
    });
    const gray = ui.color("prior");
    const sum = one.rate + one.distortion;
    plane.line([0, wide], [sum, sum - wide], gray, { width: 1.5, dash: [3, 4] });
    plane.line(
      front.map((p) => p.rate),
      front.map((p) => p.distortion),
      gray,
    );
    plane.line(xs, ys, color, { width: 4 });
    for (let i = 0; i < xs.length - 1; i += Math.max(1, Math.round(run_steps / 20))) {
      if (xs[i] <= wide) plane.dot(xs[i], ys[i], color, 4);
    }
    if (xs.at(-1) <= wide) plane.dot(xs.at(-1), ys.at(-1), color, 8);
    plane.text("★", one.rate, one.distortion, { size: 26 });
    plane.legend(
      [
        ["the path, a dot every 20th of the run", color],
        ["best D for each R", gray],
        ["as good as ★, the best at β = 1", gray, [3, 4]],
      ],
      { right: true },
    );
  }

  function drawSchedule(betas, color) {
    const steps = betas.map((_, i) => i);
    schedule.begin({
      x: [0, run_steps],
      y: [0, 2.05],
      xlabel: "training step",
      ylabel: "β",
      words: `The schedule: beta from ${fixed(betas[0])} to ${fixed(betas.at(-1))}.`,
    });
    schedule.line(steps, betas, color, { width: 3.5 });
  }

  function drawRates(path, color) {
    const steps = path.rate.map((_, i) => i);
    const highest = Math.max(1.5, ...path.rate.flat());
    rates.begin({
      x: [0, run_steps],
      y: [0, 1.15 * highest],
      xlabel: "training step",
      ylabel: "KL in nats",
      margin: { right: 92 },
      words: "The KL of each dimension over the run; a mark at the end is where it rests at beta 1.",
    });
    let below = rates.y(0) + 8; // where the last name lies: names stay apart, and above the numbers of the axis
    [...signals.entries()].reverse().forEach(([d, signal]) => {
      const kl = path.rate.map((row) => row[d]);
      const rest = 0.5 * Math.log(Math.max(1, signal));
      rates.pen.globalAlpha = 1 - (0.6 * d) / Math.max(1, signals.length - 1);
      rates.line(steps, kl, color, { width: 3 });
      rates.pen.globalAlpha = 1;
      rates.line([0.97 * run_steps, run_steps], [rest, rest], ui.ink, { width: 3 });
      const height = Math.min(below - 16, rates.y(rest));
      rates.word(`signal ${signal}`, rates.x(run_steps) + 10, height, { align: "left", size: 14 });
      below = height;
    });
  }

  return (values) => {
    const used = parameters[values.kind];
    shapes.forEach((name, i) => {
      elements[i].hidden = !used.includes(name);
    });
    const color = ui.color(values.kind);
    const path = formulas.path(known, values);
    const numbers = formulas.numbers(known, values, path);
    drawSchedule(formulas.betas(known, values), color);
    drawPlane(path, color, numbers);
    drawRates(path, color);
    show(numbers);
  };
});
