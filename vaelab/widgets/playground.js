import { explorer, fixed } from "./shared.js";

// ---------------------------------------------------------------- formulas, tried against Python

const TINY = 1.4e-45; // the smallest positive float32: a weight below counts as that

export const formulas = {
  prepare: (data) => data,

  /** Two identical dimensions under the controller, the first starved at the beginning: kl and gamma of each at every step. */
  run({ steps, pace }, { strength, starved, floor, init, lam, tolerance, step }) {
    let kl = [starved ? 0 : Math.max(0, strength), Math.max(0, strength)];
    let gamma = [init, init];
    const trace = { kl: [], gamma: [] };
    for (let t = 0; t < steps; t++) {
      gamma = gamma.map((weight, d) => {
        const [down, up] = [kl[d] <= (1 - tolerance) * lam, kl[d] >= (1 + tolerance) * lam];
        const moved = down === up ? weight : weight * (down ? 1 - step : 1 + step);
        return Math.min(1, Math.max(floor, moved));
      });
      trace.kl.push(kl);
      trace.gamma.push(gamma);
      const resting = gamma.map((weight) => Math.max(0, strength - 0.5 * Math.log(Math.max(weight, TINY))));
      kl = kl.map((value, d) => value + pace * (resting[d] - value));
      if (t < starved) kl[0] = 0;
    }
    return trace;
  },

  numbers(known, values, trace = formulas.run(known, values)) {
    const [kl, gamma] = [trace.kl.map((pair) => pair[0]), trace.gamma.map((pair) => pair[0])];
    const near = 2 * Math.max(values.tolerance, 0.1) * values.lam;
    const apart = trace.kl.findLastIndex(([starved, other]) => Math.abs(starved - other) > near);
    const late = apart === kl.length - 1 ? Infinity : Math.max(0, apart + 1 - values.starved);
    return {
      recovery: apart < 0 ? 0 : late,
      peak_kl: Math.max(...kl),
      final_kl: kl.at(-1),
      lowest_gamma: Math.min(...gamma),
      final_gamma: gamma.at(-1),
    };
  },
};

// ------------------------------------------------------------------------------------- the page

const LADDER = [0.5, 1, 2, 5, 10, 20, 60];

export default explorer(formulas, (ui, known) => {
  const { controls, steps } = known;
  for (const name of Object.keys(controls)) ui.control(name);
  ui.buttons({ Reset: ui.reset });
  const top = ui.plot(255);
  const bottom = ui.plot(210);
  const short = (value) => (value >= 0.01 || value === 0 ? fixed(value, 3) : value.toExponential(1).replace("-", "−"));
  const show = ui.readouts({
    recovery: {
      label: "settles",
      unit: "",
      text: (count) => (count === Infinity ? `not in ${steps} steps` : `${count} steps after it is fed`),
    },
    peak_kl: { label: "KL peaks at", unit: "nats,", color: "rate" },
    final_kl: { label: "ends at", unit: "nats" },
    lowest_gamma: { label: "γ falls to", unit: ",", color: "gamma", text: short },
    final_gamma: { label: "ends at", text: short },
  });
  const times = Array.from({ length: steps }, (_, i) => i);
  const of = (pairs, d) => pairs.map((pair) => pair[d]);

  return (values) => {
    const { lam, tolerance, starved, floor } = values;
    const trace = formulas.run(known, values);
    const numbers = formulas.numbers(known, values, trace);
    const kls = trace.kl.flat();
    const most = Math.max(1.05 * Math.max(...kls), 1.6 * lam);
    const high = LADDER.find((end) => end >= most) ?? most;
    const gray = ui.color("prior");
    const shade = ui.dark ? "#333b45" : "#dfe3e8";
    const [left, dashed] = [{ left: 74 }, { width: 2, dash: [7, 5] }];

    top.begin({
      x: [0, steps],
      y: [0, high],
      ylabel: "KL in nats",
      margin: left,
      words: `KL over ${steps} steps: it peaks at ${fixed(numbers.peak_kl)} and ends at ${fixed(numbers.final_kl)} nats.`,
    });
    if (starved) top.bar(0, starved, 0, high, shade);
    top.bar(0, steps, (1 - tolerance) * lam, (1 + tolerance) * lam, ui.color("band"), 0.6);
    if (starved) top.line(times, of(trace.kl, 1), gray, dashed);
    top.line(times, of(trace.kl, 0), ui.color("rate"), { width: 3.5 });
    const names = [
      ["this dimension", ui.color("rate")],
      ...(starved ? [["the same, never starved", gray, [7, 5]]] : []),
      ["γ rests", ui.color("band")],
    ];
    top.legend(names, { right: true });
    if (starved >= steps / 10) top.text("starved", starved / 2, high, { dy: 16 });

    const low = Math.min(1e-3, floor || 1, ...trace.gamma.flat());
    const bottomEnd = 10 ** Math.floor(Math.log10(Math.max(low, 1e-18)) - 0.01);
    bottom.begin({
      x: [0, steps],
      y: [bottomEnd, 3],
      xlabel: "step",
      ylabel: "weight γ",
      log: true,
      margin: left,
      words: `Gamma falls to ${short(numbers.lowest_gamma)} and ends at ${short(numbers.final_gamma)}.`,
    });
    if (starved) bottom.bar(0, starved, bottomEnd, 3, shade);
    if (floor) {
      bottom.line([0, steps], [floor, floor], ui.ink, { width: 1.5, dash: [2, 4] });
      bottom.text("floor", steps, floor, { dx: -6, dy: -10, align: "right", size: 14 });
    }
    if (starved) bottom.line(times, of(trace.gamma, 1), gray, dashed);
    bottom.line(times, of(trace.gamma, 0), ui.color("gamma"), { width: 3.5 });
    const { recovery, ...others } = numbers;
    show(starved ? { recovery, ...others } : others);
  };
});
