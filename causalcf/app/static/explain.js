// The tab that explains a classifier: pick a method and a target, then scrub along the search.

import { el } from "/static/dom.js";

const figure = (image, caption) => el("figure", {}, image, el("figcaption", {}, caption));

function curve(frames) {
  // The probability of the target along the search, as a line of 300 x 60.
  const at = (frame, i) => `${(300 * i) / Math.max(1, frames.length - 1)},${58 - 56 * frame.probability}`;
  const space = "http://www.w3.org/2000/svg";
  const chart = document.createElementNS(space, "svg");
  chart.setAttribute("viewBox", "0 0 300 60");
  chart.setAttribute("class", "curve");
  chart.setAttribute("role", "img");
  chart.setAttribute("aria-label", "Probability of the target along the search");
  const line = document.createElementNS(space, "polyline");
  line.setAttribute("points", frames.map(at).join(" "));
  const dot = document.createElementNS(space, "circle");
  dot.setAttribute("r", 4);
  chart.append(line, dot);
  const move = (i) => { const [x, y] = at(frames[i], i).split(","); dot.setAttribute("cx", x); dot.setAttribute("cy", y); };
  return { chart, move };
}

function show(target, found, wanted) {
  const frame = el("img", { class: "pixels", alt: "the image at this step" });
  const change = el("img", { class: "pixels signed", alt: "what became brighter (red) or darker (blue)" });
  const words = el("p", { role: "status" });
  const last = found.frames.length - 1;
  const slider = el("input", { type: "range", min: 0, max: last, step: 1, id: "scrub" });
  const { chart, move } = curve(found.frames);
  const go = () => {
    const now = found.frames[Number(slider.value)];
    frame.src = now.image;
    change.src = now.difference;
    words.textContent = `Step ${now.step}: P(${wanted}) = ${now.probability.toFixed(2)}; the classifier says ${now.says}; ` +
      `its doubt is ${now.doubt.toFixed(2)} nats.`;
    move(Number(slider.value));
  };
  slider.oninput = go;
  slider.value = last;
  target.replaceChildren(
    el("div", { class: "pictures" },
      figure(el("img", { src: found.factual, class: "pixels", alt: "as observed" }), `factual; the classifier says ${found.says}`),
      figure(frame, "this step"), figure(change, "difference")),
    el("div", { class: "scrub" }, el("label", { for: "scrub" }, "Step"), slider, chart),
    words, ...found.warnings.map((warning) => el("p", { class: "outcome failed" }, warning)), el("p", { class: found.reached ? "outcome" : "outcome failed" },
      `${found.reason} ${found.steps} steps in ${(found.ms / 1000).toFixed(1)} s.`));
  go();
}

export function startExplain(panel, tab, facts, get, tell, told) {
  if (!facts.explain) { tab.hidden = true; return; }
  const method = el("select", { id: "method" }, ...facts.explain.methods.map((name) => el("option", {}, name)));
  const target = el("select", { id: "target" }, ...facts.explain.classes.map((name) => el("option", {}, name)));
  if (facts.explain.methods.includes("REVISE")) method.value = "REVISE";
  const go = el("button", { type: "button", id: "explain-go" }, "Explain");
  const found = el("div", { id: "explained" });
  go.onclick = async () => {
    go.disabled = true;
    go.textContent = "Searching ...";
    try {
      const answer = await get("explain", `&at.method=${encodeURIComponent(method.value)}&at.target=${encodeURIComponent(target.value)}`);
      tell("");
      show(found, answer, target.value);
      told(answer.call);
    } catch (error) {
      tell(error.message);
    }
    go.disabled = false;
    go.textContent = "Explain";
  };
  panel.replaceChildren(
    el("h2", {}, "What would have to change for the classifier to say something else?"),
    el("p", { class: "lead" }, `${facts.explain.name}. Nothing but the image's own noise is moved; its causes stay.`),
    el("div", { class: "row" }, el("label", { for: "method" }, "Method"), method, el("label", { for: "target" }, "Target"), target, go),
    found);
}
