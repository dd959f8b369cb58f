import { explorer, fixed, images } from "./shared.js";

// ---------------------------------------------------------------- formulas, tried against Python

const COLUMNS = 8;

export const formulas = {
  prepare: (data) => ({ data, pictures: images(data.images, data.side ** 2) }),

  numbers({ data }, { beta }) {
    const [, rate, distortion] = data.scores.find(([other]) => other === beta);
    return { beta, rate, distortion, elbo: -distortion - rate };
  },

  /** Four rows of eight: inputs, reconstructions, and two of samples. */
  rows({ data, pictures }, { beta, group, draw }) {
    const inputs = COLUMNS * data.groups;
    const each = inputs + 2 * COLUMNS * data.draws;
    const first = inputs + each * data.scores.findIndex(([other]) => other === beta);
    const start = COLUMNS * (group % data.groups);
    const samples = first + inputs + 2 * COLUMNS * draw;
    return [start, first + start, samples, samples + COLUMNS].map((i) => pictures.slice(i, i + COLUMNS));
  },

  pixels: (known, values) => Array.from(formulas.rows(known, values).flat(), (picture) => Array.from(picture)).flat(),
};

// ------------------------------------------------------------------------------------- the page

export default explorer(formulas, (ui, known) => {
  const { scores, groups } = known.data;
  ui.control("beta");
  ui.control("group").element.hidden = groups < 2;
  ui.control("draw");
  const plane = ui.plot(300, ui.controls);
  ui.buttons({ Reset: ui.reset });
  const sheet = ui.plot(430);
  const show = ui.readouts({
    elbo: { label: "−ELBO", unit: "nats", digits: 1, color: "elbo", text: (elbo) => fixed(-elbo, 1) },
    distortion: { label: "= D", digits: 1, color: "distortion" },
    rate: { label: "+ R", unit: "(at β = 1, per test image)", digits: 1, color: "rate" },
  });
  plane.canvas.style.cursor = "pointer";
  plane.canvas.addEventListener("click", (event) => {
    const box = plane.canvas.getBoundingClientRect(); // a slide may be scaled
    const [left, top] = [
      (event.clientX - box.left) * (plane.width / box.width),
      (event.clientY - box.top) * (plane.height / box.height),
    ];
    const far = scores.map(([, rate, distortion]) => Math.hypot(plane.x(rate) - left, plane.y(distortion) - top));
    const nearest = far.indexOf(Math.min(...far));
    if (far[nearest] < 30) ui.set({ beta: scores[nearest][0] });
  });

  function drawSheet(values) {
    const names = ["input", "decoded", "samples", ""];
    const size = Math.min(96, (ui.picture.clientWidth - 74) / COLUMNS - 4);
    sheet.height = 4 * (size + 6) + 22;
    sheet.canvas.style.height = `${sheet.height}px`;
    sheet.clear(`Eight test images, what the model with beta ${values.beta} makes of them, and sixteen samples of its prior.`);
    formulas.rows(known, values).forEach((row, i) => {
      const top = i * (size + 6) + (i > 1 ? 16 : 0);
      sheet.word(names[i], 66, top + size / 2, { align: "right" });
      row.forEach((picture, j) => {
        sheet.tile(picture, 74 + j * (size + 4), top, size);
      });
    });
  }

  function drawPlane({ beta }) {
    const around = (values) => {
      const [low, high] = [Math.min(...values), Math.max(...values)];
      const room = 0.18 * Math.max(high - low, 5);
      return [low - room, high + room];
    };
    const [rates, distortions] = [scores.map((s) => s[1]), scores.map((s) => s[2])];
    plane.begin({
      x: around(rates),
      y: around(distortions),
      xlabel: "rate R in nats",
      ylabel: "distortion D in nats",
      words: `${scores.length} models in the rate-distortion plane; chosen is beta ${beta}.`,
    });
    const gray = ui.color("prior");
    plane.line(rates, distortions, gray, { width: 2 });
    const named = []; // where names lie; one that would lie on another is left out, except the chosen one's
    const chosenFirst = [...scores].sort(([a], [b]) => (b === beta) - (a === beta));
    for (const [other, rate, distortion] of chosenFirst) {
      const [left, top, chosen] = [plane.x(rate), plane.y(distortion), other === beta];
      plane.dot(rate, distortion, chosen ? ui.color("rate") : gray, chosen ? 10 : 6);
      const right = left < plane.width - 80;
      if (named.some(([x, y]) => Math.abs(x - left) < 62 && Math.abs(y - top) < 18)) continue;
      plane.text(`β ${other}`, rate, distortion, {
        dx: right ? 13 : -13,
        dy: right ? -11 : 18, // below the curve, where no other dot lies
        align: right ? "left" : "right",
        bold: chosen,
      });
      named.push([left, top]);
    }
  }

  return (values) => {
    drawSheet(values);
    drawPlane(values);
    show(formulas.numbers(known, values));
  };
});
