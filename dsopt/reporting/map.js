// The map of a report. Drag pans, the wheel zooms, shift+drag (or the button, then drag) encloses points.
// What is seen is kept in the address, so that a view can be shared: #color=score&view=0.5,0.5,2&lasso=x0,y0,x1,y1
// (positions in 0..1; two corners enclose a rectangle).
"use strict";
(() => {
  const map = document.querySelector(".map");
  const part = (selector) => map.querySelector(selector);
  const [canvas, tip, legend, list, count] = [".view > canvas", ".tip", ".legend", "textarea", "output"].map(part);
  const [colors, names, lassoing] = ["[name=color]", "[name=names]", "[name=lasso]"].map(part);
  const sheet = part("img");
  const data = JSON.parse(part("script").textContent);
  const chosen = data.rank.map((rank) => rank >= 0);
  const order = [...data.x.keys()].sort((a, b) => chosen[a] - chosen[b] || a - b); // chosen ones are drawn on top
  const PALETTE = ["#0072b2", "#e69f00", "#009e73", "#cc79a7", "#d55e00", "#56b4e9", "#999933", "#882255", "#8a63d2", "#7a7a7a"];
  const FAINT = "#9aa3ad", CHOSEN = "#d55e00", MOST_PICTURES = 150, PICTURE = 34;
  const view = { x: 0.5, y: 0.5, zoom: 1 };
  let lasso = []; // corners, in the coordinates of the data
  let pending = 0;

  // --- colors -------------------------------------------------------------------------------------------------------

  const hue = (i, n) => (n <= PALETTE.length ? PALETTE[i] : `hsl(${(i * 360) / n} ${i % 2 ? 75 : 55}% ${i % 3 ? 45 : 58}%)`);
  const scores = data.score.filter((score) => score !== null).sort((a, b) => a - b);
  const ramp = (share) => `hsl(${265 - 215 * share} 75% ${48 + 4 * share}%)`; // from violet to yellow
  // The place of a score among all: one that is far out does not take the colors from the others.
  const place = (score) => scores.findIndex((other) => other >= score) / Math.max(1, scores.length - 1);
  const COLORS = {
    class: (i) => (data.label[i] < 0 ? FAINT : hue(data.label[i], data.classes.length)),
    chosen: (i) => (chosen[i] ? CHOSEN : FAINT),
    score: (i) => (data.score[i] === null ? FAINT : ramp(place(data.score[i]))),
  };
  let color = [];

  function recolor() {
    color = data.x.map((_, i) => COLORS[colors.value](i));
    const entries = {
      class: data.classes.map((name, i) => [hue(i, data.classes.length), name]).slice(0, 24),
      chosen: [[CHOSEN, "chosen"], [FAINT, "passed over"]],
      score: [[ramp(0), `lowest, ${scores[0]}`], [ramp(0.5), "median"], [ramp(1), `highest, ${scores.at(-1)}`], [FAINT, "passed over"]],
    }[colors.value];
    if (colors.value === "class" && data.classes.length > 24) entries.push(["transparent", `… ${data.classes.length} classes`]);
    legend.replaceChildren(...entries.map(([fill, name]) => {
      const [item, dot] = [document.createElement("li"), document.createElement("i")];
      dot.style.background = fill;
      item.append(dot, name);
      return item;
    }));
  }

  // --- drawing ------------------------------------------------------------------------------------------------------

  const box = () => canvas.getBoundingClientRect();
  const scale = ({ width, height }) => 0.94 * Math.min(width, height) * view.zoom;
  const shown = (x, y, b) => [b.width / 2 + (x - view.x) * scale(b), b.height / 2 + (y - view.y) * scale(b)];
  const under = (event, b = box()) => [
    view.x + (event.clientX - b.left - b.width / 2) / scale(b),
    view.y + (event.clientY - b.top - b.height / 2) / scale(b),
  ];

  function tile(context, i, x, y, side) {
    const { columns, side: source } = sheet.dataset;
    const [left, top] = [data.tile[i] % columns, Math.floor(data.tile[i] / columns)];
    context.drawImage(sheet, left * source, top * source, source, source, x, y, side, side);
  }

  function draw() {
    pending = 0;
    const [b, context] = [box(), canvas.getContext("2d")];
    [canvas.width, canvas.height] = [b.width * devicePixelRatio, b.height * devicePixelRatio];
    context.scale(devicePixelRatio, devicePixelRatio);
    const near = order.map((i) => [i, ...shown(data.x[i], data.y[i], b)])
      .filter(([, x, y]) => x > -20 && y > -20 && x < b.width + 20 && y < b.height + 20);
    const pictures = sheet?.complete && view.zoom > 1 && near.filter(([i]) => data.tile[i] >= 0).length <= MOST_PICTURES;
    const grown = Math.min(2, 0.75 + view.zoom / 4) * (data.x.length > 2000 ? 0.8 : 1);
    for (const [i, x, y] of near) {
      context.globalAlpha = chosen[i] ? 1 : 0.5;
      context.fillStyle = color[i];
      context.beginPath();
      if (pictures && data.tile[i] >= 0) {
        context.globalAlpha = 1;
        const edge = chosen[i] ? 3 : 1;
        context.fillRect(x - PICTURE / 2 - edge, y - PICTURE / 2 - edge, PICTURE + 2 * edge, PICTURE + 2 * edge);
        tile(context, i, x - PICTURE / 2, y - PICTURE / 2, PICTURE);
        continue;
      }
      context.arc(x, y, (chosen[i] ? 4 : 2.5) * grown, 0, 7);
      context.fill();
      if (chosen[i]) {
        [context.strokeStyle, context.lineWidth] = [getComputedStyle(canvas).backgroundColor, 1];
        context.stroke();
      }
    }
    canvas.dataset.drawn = near.length;
    if (lasso.length > 1) outline(context, b);
  }

  function outline(context, b) {
    context.globalAlpha = 1;
    [context.strokeStyle, context.lineWidth] = [getComputedStyle(canvas).color, 1.5];
    context.setLineDash([5, 4]);
    context.beginPath();
    polygon().forEach(([x, y]) => context.lineTo(...shown(x, y, b)));
    context.closePath();
    context.stroke();
  }

  const redraw = () => (pending ||= requestAnimationFrame(draw));

  // --- enclosing ----------------------------------------------------------------------------------------------------

  function polygon() {
    if (lasso.length !== 2) return lasso;
    const [[x0, y0], [x1, y1]] = lasso;
    return [[x0, y0], [x1, y0], [x1, y1], [x0, y1]];
  }

  /** Whether a point is inside: a ray from it crosses an odd number of edges. */
  function inside(x, y, corners) {
    return corners.filter(([x0, y0], i) => {
      const [x1, y1] = corners[(i + 1) % corners.length];
      return y0 > y !== y1 > y && x < x0 + ((y - y0) / (y1 - y0)) * (x1 - x0);
    }).length % 2 === 1;
  }

  const quoted = (name) => (/[",\n\r]/.test(name) ? `"${String(name).replaceAll('"', '""')}"` : name);

  function enclose() {
    const corners = polygon();
    const found = [...data.x.keys()].filter((i) => inside(data.x[i], data.y[i], corners));
    list.textContent = found.length ? [names.value, ...found.map((i) => quoted(data[names.value][i]))].join("\n") : "";
    count.textContent = `${found.length.toLocaleString("en")} enclosed, ${found.filter((i) => chosen[i]).length.toLocaleString("en")} of them chosen`;
    map.dataset.inside = found.length;
  }

  // --- the address --------------------------------------------------------------------------------------------------

  const numbers = (text) => (text ?? "").split(",").map(Number).filter(Number.isFinite);

  let saving = 0;
  function remember() { // not at every turn of a wheel: browsers allow few changes a second
    clearTimeout(saving);
    saving = setTimeout(() => {
      const round = (values) => values.map((value) => +value.toFixed(4)).join(",");
      const parts = [`color=${colors.value}`, `view=${round([view.x, view.y, view.zoom])}`];
      if (lasso.length > 1) parts.push(`lasso=${round(lasso.flat())}`);
      history.replaceState(null, "", `#${parts.join("&")}`);
    }, 300);
  }

  function recall() {
    const asked = new URLSearchParams(location.hash.slice(1));
    if (asked.get("color") in COLORS) colors.value = asked.get("color");
    colors.selectedIndex = Math.max(0, colors.selectedIndex); // scores were asked for, and there are none
    const [x, y, zoom] = numbers(asked.get("view"));
    if (zoom > 0) Object.assign(view, { x, y, zoom });
    const corners = numbers(asked.get("lasso"));
    lasso = corners.length >= 4 ? corners.flatMap((x, i) => (i % 2 ? [] : [[x, corners[i + 1]]])) : [];
    recolor();
    if (lasso.length) enclose();
    draw();
  }

  // --- what people do -----------------------------------------------------------------------------------------------

  function zoom(factor, [x, y] = [view.x, view.y]) {
    const next = Math.min(200, Math.max(0.5, view.zoom * factor));
    const kept = view.zoom / next; // what is under the pointer stays there
    Object.assign(view, { x: x + (view.x - x) * kept, y: y + (view.y - y) * kept, zoom: next });
    tip.hidden = true;
    redraw();
    remember();
  }

  function hover(event) {
    const b = box();
    const [px, py] = [event.clientX - b.left, event.clientY - b.top];
    const away = (i) => Math.hypot(...shown(data.x[i], data.y[i], b).map((p, axis) => p - [px, py][axis]));
    const [i, distance] = order.reduce((best, i) => (away(i) <= best[1] ? [i, away(i)] : best), [-1, 12]);
    tip.hidden = i < 0 || distance > 12;
    if (tip.hidden) return;
    const [picture, text] = tip.children;
    picture.hidden = data.tile[i] < 0;
    if (!picture.hidden) {
      picture.width = picture.height = 96;
      const context = picture.getContext("2d");
      context.imageSmoothingEnabled = sheet.dataset.side > 32;
      tile(context, i, 0, 0, 96);
    }
    const score = data.score[i] === null ? "" : `, score ${data.score[i]}`;
    const fate = chosen[i] ? `chosen, rank ${data.rank[i]}${score}` : "passed over";
    text.textContent = `${data.key[i]}\n${data.classes[data.label[i]] ?? "no class"}\n${fate}`;
    tip.style.left = `${Math.min(px + 14, b.width - tip.offsetWidth - 4)}px`;
    tip.style.top = `${Math.min(py + 14, b.height - tip.offsetHeight - 4)}px`;
  }

  let drag = null; // what the pointer does, and where it was last
  canvas.addEventListener("pointerdown", (event) => {
    if (!event.isPrimary) return; // a second finger
    drag = { encloses: event.shiftKey || lassoing.ariaPressed === "true", at: under(event) };
    if (drag.encloses) lasso = [drag.at];
    canvas.setPointerCapture(event.pointerId);
    tip.hidden = true;
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!event.isPrimary) return;
    if (!drag) return hover(event);
    const [dx, dy] = under(event).map((p, axis) => p - drag.at[axis]);
    if (!drag.encloses) Object.assign(view, { x: view.x - dx, y: view.y - dy }); // the point stays under the pointer
    else if (Math.hypot(dx, dy) * scale(box()) > 5) lasso.push((drag.at = under(event)));
    redraw();
  });
  const release = () => {
    if (drag?.encloses) {
      if (lasso.length < 3) lasso = []; // a click
      enclose();
      lassoing.ariaPressed = "false";
    }
    drag = null;
    redraw();
    remember();
  };
  canvas.addEventListener("pointerup", release);
  canvas.addEventListener("pointercancel", release);
  canvas.addEventListener("pointerleave", () => (tip.hidden = true));
  canvas.addEventListener("wheel", (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 400), under(event));
  }, { passive: false });
  lassoing.addEventListener("click", () => (lassoing.ariaPressed = String(lassoing.ariaPressed !== "true")));
  part("[name=in]").addEventListener("click", () => zoom(1.5));
  part("[name=out]").addEventListener("click", () => zoom(1 / 1.5));
  part("[name=reset]").addEventListener("click", () => {
    Object.assign(view, { x: 0.5, y: 0.5, zoom: 1 });
    redraw();
    remember();
  });
  colors.addEventListener("change", () => (recolor(), redraw(), remember()));
  names.addEventListener("change", enclose);
  list.addEventListener("focus", () => list.select());
  sheet?.addEventListener("load", redraw);
  addEventListener("resize", redraw);
  addEventListener("hashchange", recall);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", redraw);
  recall();
})();
