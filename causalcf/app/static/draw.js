// Pictures and tables of an answer.

import { el, number, shown } from "/static/dom.js";

function figure(source, caption, alternative, kind = "") {
  const image = source
    ? el("img", { src: source, class: `pixels ${kind}`, alt: alternative })
    : el("div", { class: "missing" }, "not known");
  return el("figure", {}, image, el("figcaption", {}, caption));
}

export function drawAnswer(pictures, table, answer, said, facts) {
  const cards = said.map((words, i) => el("div", { class: "world" },
    ...(said.length > 1 ? [el("h3", {}, `World ${i + 1}: ${words || "nothing set"}`)] : []),
    ...answer.images.flatMap((image) => card(image, image.worlds[i], words))));
  pictures.replaceChildren(...(answer.images.length ? cards : []));
  drawValues(table, answer, facts);
}

function card(image, world, words) {
  const error = world.error === null ? "truth" : `truth; off by ${(255 * world.error).toFixed(1)} of 255`;
  const strip = el("div", { class: "pictures" },
    figure(image.factual, "factual", `${image.node}, as observed`),
    figure(world.counterfactual, world.draws.length ? "counterfactual, draw 1" : "counterfactual", `${image.node}, had ${words || "nothing"} been set`),
    figure(world.difference, "difference", "what became brighter (red) or darker (blue)", "signed"),
    figure(world.truth, error, "the true counterfactual"));
  if (!world.draws.length) return [strip];
  const draws = el("div", { class: "draws" },
    ...world.draws.map((draw, i) => figure(draw, `${i + 1}`, `draw ${i + 1}`)), figure(world.doubt, "doubt", "where the draws differ"));
  return [strip, draws];
}

function drawValues(table, answer, facts) {
  const several = answer.acted.length > 1;
  const truth = answer.values.some((row) => row.worlds.some((world) => world.truth !== null));
  const spread = answer.values.some((row) => row.worlds.some((world) => world.spread !== null));
  const columns = answer.acted.flatMap((_, i) => [
    several ? `world ${i + 1}` : "counterfactual", ...(several ? [] : ["change"]), ...(truth ? [several ? "its truth" : "truth"] : []),
    ...(spread ? ["draws"] : []),
  ]);
  const head = el("tr", {}, ...["", "factual", ...columns].map((name) => el("th", { scope: "col" }, name)));
  const rows = answer.values.map((row) => {
    const unit = facts.nodes.find((node) => node.name === row.node).unit;
    const cells = row.worlds.flatMap((world, i) => {
      const changed = world.value !== row.factual;
      const kind = answer.acted[i].includes(row.node) ? "acted" : changed ? "moved" : "";
      const change = world.moved === "" ? (changed ? "changed" : "") : (world.moved > 0 ? "+" : "") + number(world.moved);
      return [
        el("td", { class: kind }, shown(world.value)),
        ...(several ? [] : [el("td", {}, change === "0" ? "" : change)]),
        ...(truth ? [el("td", {}, world.truth === null ? "not known" : shown(world.truth))] : []),
        ...(spread ? [el("td", {}, world.spread || "")] : []),
      ];
    });
    const label = el("th", { scope: "row" }, row.node, ...(unit ? [" ", el("small", {}, unit)] : []));
    return el("tr", {}, label, el("td", {}, shown(row.factual)), ...cells);
  });
  table.replaceChildren(el("thead", {}, head), el("tbody", {}, ...rows));
}

export function drawUnits(target, found, facts) {
  target.replaceChildren(...found.units.map((unit) => {
    const words = Object.entries(unit.values).map(([node, value]) => `${node} ${shown(value)}`).join(", ");
    const images = Object.entries(unit.images).map(([node, source]) => el("img", { src: source, class: "pixels", alt: `${node}: ${words}` }));
    return el("figure", {}, ...images, el("figcaption", {}, words));
  }));
}

export function drawNoise(target, sites, edit) {
  if (target.contains(document.activeElement) && document.activeElement.type === "range") return; // a hand is on it
  target.replaceChildren(...sites.map((site) => {
    const parts = [el("h3", {}, site.name, " ", el("small", {}, site.shape.join(" x ")))];
    if (site.picture) parts.push(el("img", { src: site.picture, class: "pixels signed", alt: `${site.name} as a picture` }));
    if (!site.picture && !site.values.length) parts.push(el("p", { class: "quiet" }, "Too many components to show."));
    const sliders = site.values.map((value, i) => {
      const words = el("span", {}, value.toFixed(2));
      const slider = el("input", { type: "range", min: site.low, max: site.high, step: "any", "aria-label": `${site.name}, component ${i}` });
      slider.value = value;
      const label = el("label", { class: site.edited.includes(i) ? "edited" : "" }, el("span", {}, String(i)), slider, words);
      slider.oninput = () => { words.textContent = Number(slider.value).toFixed(2); label.className = "edited"; edit(`${site.name}.${i}`, slider.value); };
      return label;
    });
    return el("div", { class: site.values.length === 1 ? "site small" : "site" }, ...parts, el("div", { class: "sliders" }, ...sliders));
  }));
}
