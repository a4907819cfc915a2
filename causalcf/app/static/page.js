// The page of `causalcf app`. The whole question lives in `state`; the server keeps nothing between two requests.
// One request is under way at most: what changes meanwhile is asked next, and what lies between is never asked.

import { drawGraph } from "/static/graph.js";
import { drawAnswer, drawNoise, drawUnits } from "/static/draw.js";
import { startExplain } from "/static/explain.js";
import { el, number } from "/static/dom.js";

const by = (id) => document.getElementById(id);
const TABS = ["see", "do", "imagine", "noise", "explain"];
const state = { unit: 0, worlds: [{}], noise: {}, residual: 1, samples: 0, seed: 0 };
let facts = null, world = 0, tab = "imagine", answer = null;

// ------------------------------------------------------------------ the state and the address

export function query() {
  const pairs = new URLSearchParams();
  pairs.set("unit", state.unit);
  if (state.worlds.length > 1) pairs.set("worlds", state.worlds.length);
  state.worlds.forEach((actions, i) => {
    for (const [node, value] of Object.entries(actions)) pairs.set(`do.${i}.${node}`, value);
  });
  for (const [site, value] of Object.entries(state.noise)) pairs.set(`noise.${site}`, value);
  if (Number(state.residual) !== 1) pairs.set("residual", state.residual);
  if (Number(state.samples) !== 0) pairs.set("samples", state.samples);
  if (Number(state.seed) !== 0) pairs.set("seed", state.seed);
  return pairs.toString();
}

function readAddress() {
  const pairs = new URLSearchParams(location.search);
  for (const name of ["unit", "residual", "samples", "seed"]) if (pairs.has(name)) state[name] = pairs.get(name);
  const count = Math.min(Math.max(Number(pairs.get("worlds")) || 1, 1), 6);
  state.worlds = Array.from({ length: count }, () => ({}));
  for (const [key, value] of pairs) {
    const [kind, at, ...rest] = key.split(".");
    if (kind === "do" && state.worlds[at]) state.worlds[at][rest.join(".")] = value;
    if (kind === "noise") state.noise[[at, ...rest].join(".")] = value;
  }
  if (TABS.includes(location.hash.slice(1))) tab = location.hash.slice(1);
}

function writeAddress() {
  history.replaceState(null, "", `?${query()}#${tab}`);
}

// ------------------------------------------------------------------ asking

async function get(name, more = "") {
  let reply;
  try {
    reply = await fetch(`/api/${name}?${query()}${more}`);
  } catch {
    throw new Error("The server does not answer. Is causalcf app still running?");
  }
  const found = await reply.json();
  if (found.error) throw new Error(found.error);
  return found;
}

let busy = false, waiting = false, settled = 0;
const times = [];

async function ask() {
  if (busy) { waiting = true; return; }
  busy = true;
  clearTimeout(settled);
  do {
    waiting = false;
    const started = performance.now();
    try {
      answer = await get("answer");
      show();
      tell("");
      times.push(performance.now() - started);
      showTimes();
    } catch (error) {
      tell(error.message);
    }
  } while (waiting);
  busy = false;
  writeAddress();
  settled = setTimeout(askMore, 150);
}

async function askMore() {
  const asked = query();
  const fresh = () => asked === query();
  try {
    if (tab === "see" || tab === "do") {
      const found = await get(tab, `&at.world=${world}`);
      if (fresh()) { drawUnits(by(tab).querySelector(".units"), found, facts); by("call").textContent = found.call; }
    } else if (tab === "noise") {
      const found = await get("noise");
      if (fresh()) drawNoise(by("sites"), found.sites, editNoise);
    } else if (tab === "imagine") {
      const found = await get("check", `&at.world=${world}`);
      if (fresh()) showCheck(found.sentence);
    }
  } catch (error) {
    if (fresh()) tell(error.message);
  }
}

function showTimes() {
  const recent = times.slice(-50).sort((a, b) => a - b);
  const middle = recent[Math.floor(recent.length / 2)];
  const truth = answer.ms.truth > 1 ? `, truth ${answer.ms.truth.toFixed(0)} ms` : "";
  by("latency").replaceChildren(`model ${answer.ms.answer.toFixed(0)} ms${truth}; on screen ${times.at(-1).toFixed(0)} ms`,
    el("span", { class: "wide" }, `; median of ${recent.length}: ${middle.toFixed(0)} ms`));
}

function tell(sentence) {
  by("alert").hidden = !sentence;
  by("alert").textContent = sentence;
  by("answer").classList.toggle("refused", Boolean(sentence));
  by("pictures").classList.toggle("stale", Boolean(sentence));
  by("values").classList.toggle("stale", Boolean(sentence));
}

// ------------------------------------------------------------------ showing

const sayValue = (value) => (isNaN(value) ? String(value) : number(Number(value)));
const sayWorld = (actions) => Object.entries(actions).map(([node, value]) => `${node} = ${sayValue(value)}`).join(", ");

function show() {
  drawGraph(by("graph"), facts, answer, world);
  const acted = answer.acted[world], cut = [...new Set(answer.cut[world].map((edge) => edge[1]))];
  const set = `${acted.join(" and ")} ${acted.length > 1 ? "are" : "is"} set`;
  const all = acted.length === cut.length;
  by("graph-words").textContent = !acted.length ? "Nothing is set: drag a slider to act."
    : !cut.length ? `${set}.` : `${set}${all ? " and" : `; ${cut.join(" and ")} ${cut.length > 1 ? "are" : "is"}`} cut from ${cut.length > 1 ? "their" : "its"} causes.`;
  drawAnswer(by("pictures"), by("values"), answer, state.worlds.map(sayWorld), facts);
  const copyOf = () => [...by("pictures").children].slice(world, world + 1).map((e) => e.cloneNode(true));
  by("glance").replaceChildren(...copyOf());
  by("strip").replaceChildren(...copyOf());
  if (tab === "imagine" || tab === "noise") by("call").textContent = answer.call;
  const reasons = new Set(answer.no_truth.map((why, i) => why && (answer.images.length > 0 && state.worlds.length > 1 ? `World ${i + 1}: ${why}` : why)));
  by("no-truth").textContent = [...reasons].filter(Boolean).join(" ");
  showControls();
  showWorlds();
  showAsked();
}

function showAsked() {
  const actions = sayWorld(state.worlds[world]) || "nothing";
  const image = facts.nodes.find((node) => node.kind === "Image")?.name || "everything else";
  by("see").querySelector(".asked").textContent = `P(${image} | ${actions})`;
  by("do").querySelector(".asked").textContent = `P(${image} | do(${actions}))`;
  const been = Object.entries(state.worlds[world]).map(([node, value]) => `its ${node} ${sayValue(value)}`).join(" and ");
  by("imagine").querySelector(".asked").textContent = been
    ? `Unit ${state.unit}, had ${been.replace(/^its (\S+) /, "its $1 been ")}` : `Unit ${state.unit}, as it is`;
}

function showCheck(sentence) {
  by("check").textContent = sentence;
  by("check").classList.toggle("extrapolates", sentence.startsWith("This question"));
}

function showWorlds() {
  by("worlds").replaceChildren(...state.worlds.map((_, i) => el("button", {
    type: "button", "aria-pressed": String(i === world), onclick: () => { world = i; show(); askMore(); },
  }, `World ${i + 1}`)));
  by("add").textContent = state.worlds.length > 1 ? "Add" : "Add a world";
  by("add").hidden = state.worlds.length >= 6;
  by("remove").hidden = state.worlds.length < 2;
}

function showControls() {
  for (const node of facts.nodes) {
    const control = by("controls").querySelector(`[data-node="${CSS.escape(node.name)}"]`);
    if (!control) continue;
    const acted = node.name in state.worlds[world];
    control.classList.toggle("acted", acted);
    const value = answer.values.find((row) => row.node === node.name).worlds[world].value;
    for (const input of control.querySelectorAll("input, select")) {
      if (input === document.activeElement && acted && input.type !== "range") continue;
      if (acted && input === document.activeElement) continue;
      input.value = input.type === "number" ? Number(Number(value).toPrecision(4)) : value;
    }
  }
}

// ------------------------------------------------------------------ controls

function makeControls() {
  by("source").textContent = `${facts.model} on ${facts.data}`;
  by("controls").replaceChildren(...facts.nodes.filter((node) => node.input !== "none").map(makeControl));
}

function makeControl(node) {
  const name = node.unit ? [node.name, " ", el("small", {}, node.unit)] : [node.name];
  const act = (value) => { state.worlds[world] = { ...state.worlds[world], [node.name]: value }; ask(); };
  const free = el("button", { type: "button", class: "free", "aria-label": `Let ${node.name} follow its causes` }, "Let go");
  free.onclick = () => { const { [node.name]: _, ...rest } = state.worlds[world]; state.worlds[world] = rest; ask(); };
  const id = `act-${node.name}`;
  const parts = [el("label", { for: id }, ...name)];
  if (node.input === "choice") {
    const select = el("select", { id }, ...node.choices.map((choice) => el("option", { value: choice }, choice)));
    select.onchange = () => act(select.value);
    parts.push(select, free);
  } else {
    const inside = (round, end) => Number((round(end / node.step) * node.step).toPrecision(12));
    const slider = el("input", {
      type: "range", id, step: node.step, min: inside(Math.ceil, node.low), max: inside(Math.floor, node.high),
    });
    const typed = el("input", { type: "number", step: "any", "aria-label": `${node.name}, typed; ${node.support}` });
    slider.oninput = () => { typed.value = slider.value; act(slider.value); };
    typed.onchange = () => { slider.value = typed.value; act(typed.value); };
    parts.push(typed, free, slider);
  }
  return el("div", { class: "control", "data-node": node.name }, ...parts);
}

function editNoise(site, value) {
  state.noise = { ...state.noise, [site]: value };
  ask();
}

// ------------------------------------------------------------------ tabs and buttons

function choose(name) {
  tab = name;
  for (const one of TABS) {
    by(one).hidden = one !== name;
    by(`tab-${one}`).setAttribute("aria-selected", String(one === name));
    by(`tab-${one}`).tabIndex = one === name ? 0 : -1;
  }
  if (answer) { show(); writeAddress(); askMore(); }
}

async function copy(button, text) {
  const said = button.textContent;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    button.textContent = "Copying is not allowed here";
  }
  setTimeout(() => { button.textContent = said; }, 1500);
}

function listen() {
  TABS.forEach((name, i) => {
    by(`tab-${name}`).onclick = () => choose(name);
    by(`tab-${name}`).onkeydown = (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (!move) return;
      const open = TABS.filter((one) => !by(`tab-${one}`).hidden);
      const next = open[(open.indexOf(TABS[i]) + move + open.length) % open.length];
      choose(next);
      by(`tab-${next}`).focus();
    };
  });
  const pick = (unit) => { state.unit = unit; state.noise = {}; by("unit").value = unit; ask(); };
  by("unit").onchange = () => pick(by("unit").value);
  by("previous").onclick = () => pick(Math.max(0, Number(state.unit) - 1));
  by("next").onclick = () => pick(Math.min(facts.rows - 1, Number(state.unit) + 1));
  by("random").onclick = () => pick(Math.floor(Math.random() * facts.rows));
  for (const name of ["samples", "residual", "seed"]) by(name).onchange = () => { state[name] = by(name).value; ask(); };
  by("add").onclick = () => { state.worlds.push({ ...state.worlds[world] }); world = state.worlds.length - 1; ask(); };
  by("remove").onclick = () => { state.worlds.splice(world, 1); world = Math.max(0, world - 1); ask(); };
  by("undo").onclick = () => { state.noise = {}; ask(); };
  by("copy").onclick = () => copy(by("copy"), by("call").textContent);
  by("share").onclick = () => { writeAddress(); copy(by("share"), location.href); };
}

async function start() {
  readAddress();
  try {
    facts = await (await fetch("/api/facts")).json();
  } catch {
    tell("The server does not answer. Is causalcf app still running?");
    return;
  }
  makeControls();
  listen();
  by("unit").value = state.unit;
  by("unit").max = facts.rows - 1;
  for (const name of ["samples", "residual", "seed"]) by(name).value = state[name];
  startExplain(by("explain"), by("tab-explain"), facts, get, tell, (call) => { by("call").textContent = call; });
  if (by(`tab-${tab}`).hidden) tab = "imagine";
  choose(tab);
  await ask();
}

start();
