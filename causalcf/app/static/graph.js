// The causal graph: acted nodes filled, what leads into them cut, each node with its value; hidden causes are dashed.

import { shown, svg } from "/static/dom.js";

const HALF = 18; // half of a node's height, in pixels

function path(edge, nodes) {
  const from = nodes[edge.from], to = nodes[edge.to];
  const points = [[from.x, from.y + HALF], ...edge.via, [to.x, to.y - HALF - 7]];
  // Several arrows into one node should not meet in one point.
  const last = points.length - 1;
  const slope = (points[last - 1][0] - to.x) * 0.18;
  points[last][0] += Math.max(-to.half + 10, Math.min(to.half - 10, slope));
  let line = `M ${points[0]}`;
  for (let i = 1; i < points.length; i += 1) {
    const [a, b] = [points[i - 1], points[i]];
    const middle = (a[1] + b[1]) / 2;
    line += ` C ${a[0]} ${middle}, ${b[0]} ${middle}, ${b}`;
  }
  return line;
}

// A hidden cause, as a bow beside the two nodes that share it.
function bow([a, b], nodes) {
  const [from, to] = [nodes[a], nodes[b]];
  const aside = 60 * (from.x + to.x > 2 * from.x ? -1 : 1);
  return `M ${from.x} ${from.y} Q ${(from.x + to.x) / 2 + aside} ${(from.y + to.y) / 2}, ${to.x} ${to.y}`;
}

export function drawGraph(target, facts, answer, world) {
  const { width, height, nodes, edges, arcs } = facts.graph;
  target.setAttribute("viewBox", `0 0 ${width} ${height}`);
  target.setAttribute("width", width);
  const head = svg("marker", { id: "head", viewBox: "0 0 8 8", refX: 1, refY: 4, markerWidth: 6, markerHeight: 6, orient: "auto" },
    svg("path", { d: "M0 0 L8 4 L0 8 Z", class: "head" }));
  const isCut = (edge) => answer.cut[world].some(([a, b]) => a === edge.from && b === edge.to);
  const lines = edges.map((edge) => svg("path", {
    d: path(edge, nodes), class: isCut(edge) ? "edge cut" : "edge", ...(isCut(edge) ? {} : { "marker-end": "url(#head)" }),
  }));
  const bows = arcs.map((pair) => svg("path", {
    d: bow(pair, nodes), class: pair.some((node) => answer.acted[world].includes(node)) ? "edge hidden cut" : "edge hidden",
  }));
  const boxes = Object.entries(nodes).map(([name, at]) => {
    const row = answer.values.find((one) => one.node === name);
    const state = answer.acted[world].includes(name) ? "acted" : answer.touched[world].includes(name) ? "touched" : "";
    const text = [svg("text", { x: at.x, y: at.y + (row ? -2 : 4) }, name)];
    if (row) text.push(svg("text", { x: at.x, y: at.y + 12, class: "value" }, shown(row.worlds[world].value)));
    return svg("g", { class: `node ${state}` },
      svg("rect", { x: at.x - at.half, y: at.y - HALF, width: 2 * at.half, height: 2 * HALF, rx: 9 }), ...text);
  });
  target.replaceChildren(svg("defs", {}, head), ...lines, ...bows, ...boxes);
}
