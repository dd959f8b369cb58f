import { explorer, fixed, normal, range } from "./shared.js";

// ---------------------------------------------------------------- formulas, tried against Python

/** Mean and standard deviation of p(z|x). */
function posterior({ weight, bias, noise }, x) {
  const precision = 1 + (weight / noise) ** 2;
  return [(weight * (x - bias)) / noise ** 2 / precision, precision ** -0.5];
}

export const formulas = {
  prepare: (data) => data,

  numbers({ toy, rate }, { x, mean, std }) {
    const { weight, bias, noise } = toy;
    const [center, width] = posterior(toy, x);
    const left = x - weight * mean - bias; // what q's mean leaves of x
    const distortion = 0.5 * ((left ** 2 + (weight * std) ** 2) / noise ** 2 + Math.log(2 * Math.PI)) + Math.log(noise);
    const kl = 0.5 * (mean ** 2 + std ** 2 - 1) - Math.log(std);
    const spread = Math.hypot(weight, noise);
    return {
      log_evidence: -0.5 * (((x - bias) / spread) ** 2 + Math.log(2 * Math.PI)) - Math.log(spread),
      elbo: -distortion - kl,
      distortion,
      rate: kl,
      gap: 0.5 * ((std / width) ** 2 + ((mean - center) / width) ** 2 - 1) - Math.log(std / width),
      next_mean: mean + rate * ((weight * left) / noise ** 2 - mean), // one step up the gradient of the ELBO
      next_std: std * Math.exp(rate * (1 - std ** 2 * (1 + (weight / noise) ** 2))),
    };
  },
};

// ------------------------------------------------------------------------------------- the page

export default explorer(formulas, (ui, known) => {
  for (const name of ["x", "mean", "std"]) ui.control(name);
  const { min, max } = known.controls.std;
  const [low, high] = [known.controls.mean.min, known.controls.mean.max];
  ui.buttons({
    "Gradient step": () => {
      const { next_mean, next_std } = formulas.numbers(known, ui.values);
      ui.set({ mean: Math.min(high, Math.max(low, next_mean)), std: Math.min(max, Math.max(min, next_std)) });
    },
    "New x": () => {
      const { weight, bias, noise } = known.toy;
      const drawn =
        bias + Math.hypot(weight, noise) * Math.sqrt(-2 * Math.log(1 - Math.random())) * Math.cos(2 * Math.PI * Math.random());
      const { min, max } = known.controls.x;
      ui.set({ x: Math.round(10 * Math.min(max, Math.max(min, drawn))) / 10 });
    },
    Reset: ui.reset,
  });
  ui.note("log p(x) does not depend on q: what you gain on the ELBO, the gap loses.");
  const curves = ui.plot(285);
  const bars = ui.plot(165);
  const show = ui.readouts({
    log_evidence: { label: "log p(x)", unit: "nats", color: "evidence" },
    elbo: { label: "ELBO", unit: "nats", color: "elbo" },
    distortion: { label: "D", color: "distortion" },
    rate: { label: "R", color: "rate" },
    gap: { label: "gap", unit: "nats", digits: 3, color: "gap" },
  });
  const z = range(-4, 4, 401);

  function drawCurves({ x, mean, std }) {
    const [center, width] = posterior(known.toy, x);
    const peak = Math.max(0.4, 1 / (width * Math.sqrt(2 * Math.PI)));
    const words = `Densities over z: the posterior is centered at ${fixed(center)}, your q at ${fixed(mean)} with standard deviation ${fixed(std)}.`;
    curves.begin({ x: [-4, 4], y: [0, 1.55 * peak], xlabel: "latent z", ylabel: "density", words });
    const likelihood = z.map((value) => normal(x, known.toy.weight * value + known.toy.bias, known.toy.noise));
    curves.line(
      z,
      z.map((value) => normal(value, 0, 1)),
      ui.color("prior"),
      { dash: [2, 5] },
    );
    curves.line(z, likelihood, ui.color("likelihood"));
    curves.line(
      z,
      z.map((value) => normal(value, center, width)),
      ui.color("posterior"),
    );
    curves.line(
      z,
      z.map((value) => normal(value, mean, std)),
      ui.color("q"),
      { width: 3.5, dash: [9, 5] },
    );
    curves.legend([
      ["prior p(z)", ui.color("prior"), [2, 5]],
      ["likelihood p(x|z)", ui.color("likelihood")],
      ["posterior p(z|x)", ui.color("posterior")],
      ["your q(z|x)", ui.color("q"), [9, 5]],
    ]);
  }

  function drawBars({ distortion, rate, gap, log_evidence, elbo }) {
    const lengths = [
      [2, 0, distortion, "distortion", `D ${fixed(distortion)}`],
      [2, distortion, -elbo, "rate", `R ${fixed(rate)}`],
      [1, 0, -log_evidence, "evidence", `−log p(x) ${fixed(-log_evidence)}`],
      [1, -log_evidence, -elbo, "gap", `gap ${fixed(gap)}`],
    ];
    const ends = lengths.flatMap(([, from, to]) => [from, to]);
    const most = [5, 10, 20, 50, 100, 200, 500, 1e3, 1e4].find((end) => end >= 1.02 * Math.max(...ends)) ?? Math.max(...ends);
    const words = `D ${fixed(distortion)} and R ${fixed(rate)} end where minus log p(x) ${fixed(-log_evidence)} and the gap ${fixed(gap)} end, at ${fixed(-elbo)} nats.`;
    bars.begin({ x: [Math.min(0, ...ends), most], y: [0.3, 2.95], xlabel: "nats", words, margin: { left: 128 } });
    bars.text("D + R", Math.min(0, ...ends), 2, { dx: -10, align: "right" });
    bars.text("−log p(x) + gap", Math.min(0, ...ends), 1, { dx: -10, align: "right" });
    for (const [row, from, to, meaning, name] of lengths) {
      bars.bar(from, to, row - 0.3, row + 0.3, ui.color(meaning));
      bars.pen.font = "600 15px system-ui, sans-serif";
      const [room, need] = [Math.abs(bars.x(to) - bars.x(from)), bars.pen.measureText(name).width + 14];
      if (room > need) bars.text(name, (from + to) / 2, row, { color: ui.on(meaning), bold: true });
      else if (to === -elbo) bars.text(name, to, row, { align: "left", dx: 8, bold: true });
    }
    bars.line([-elbo, -elbo], [0.4, 2.6], ui.ink, { width: 2, dash: [4, 4] });
    bars.text("−ELBO", -elbo, 2.75, { bold: true });
  }

  return (values) => {
    const numbers = formulas.numbers(known, values);
    drawCurves(values);
    drawBars(numbers);
    show(numbers);
  };
});
