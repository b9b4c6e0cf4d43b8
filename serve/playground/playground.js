"use strict";
const at = (id) => document.getElementById(id);
const LEAST_TINT = 0.08;
const MOST_TINT = 0.6;
const RETRY_MS = 2000;
let hues = {};
let stopping = null;

function hueOf(expert) {
  return hues[expert] ?? 210;
}

function percent(share) {
  return `${(100 * share).toFixed(share < 0.0995 ? 1 : 0)} %`;
}

async function problemOf(response) {
  try {
    return (await response.json()).error.message;
  } catch {
    return `The server answered ${response.status}.`;
  }
}

async function start() {
  const found = await fetchModels();
  if (found.models) return show(found.models);
  at("about").textContent = found.problem;
  // Not by loading the page anew: that would take the prompt and the focus.
  if (found.mayCome) setTimeout(start, RETRY_MS);
}

async function fetchModels() {
  try {
    const response = await fetch("v1/models");
    if (response.ok) return { models: (await response.json()).data };
    return { problem: await problemOf(response), mayCome: response.status === 503 };
  } catch (error) {
    return { problem: `The server cannot be reached: ${error.message}`, mayCome: true };
  }
}

function show(models) {
  const experts = models.filter((model) => model.xelm.kind === "expert");
  hues = Object.fromEntries(experts.map((model, i) => [model.id, Math.round((360 * i) / experts.length)]));
  for (const model of models) {
    const languages = model.xelm.languages.join(", ");
    const shown = languages ? `${model.id} (${languages})` : model.id;
    at("model").add(new Option(shown, model.id));
    at("beside").add(new Option(shown, model.id));
  }
  const { run, version } = models[0].xelm;
  at("about").textContent = `Run ${run}, version ${version}: ${experts.length} experts, ${models[0].max_model_len} tokens of context.`;
}

function bodyFor(model) {
  const body = {
    model,
    prompt: at("prompt").value,
    max_tokens: Number(at("tokens").value),
    temperature: Number(at("temperature").value),
    stream: true,
    xelm: { per_token: true },
  };
  if (at("seed").value !== "") body.seed = Number(at("seed").value);
  if (model === "ensemble") {
    if (at("language").value.trim()) body.xelm.language = at("language").value.trim();
    if (at("top_m").value !== "") body.xelm.top_m = Number(at("top_m").value);
  }
  return body;
}

async function* eventsOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let held = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) throw new Error("the stream ended before the text did");
    held += value;
    const events = held.split("\n\n");
    held = events.pop();
    for (const event of events) {
      const data = event.slice("data: ".length);
      if (data === "[DONE]") return;
      yield JSON.parse(data);
    }
  }
}

class Answer {
  constructor(model) {
    const part = at("answer").content.cloneNode(true);
    this.root = part.querySelector("section");
    this.root.querySelector("h2").textContent = model;
    this.text = this.root.querySelector(".text");
    this.text.dir = getComputedStyle(at("prompt")).direction; // it goes on with that text, whatever it begins with
    this.details = this.root.querySelector(".details");
    this.totals = [];
    this.count = 0;
    this.text.addEventListener("keydown", (event) => this.move(event));
    for (const kind of ["mouseover", "focusin"]) this.text.addEventListener(kind, (event) => this.explain(event.target));
    at("answers").append(part);
  }

  say(problem) {
    const place = this.root.querySelector(".problem");
    place.textContent = problem;
    place.hidden = false;
  }

  add(choice) {
    const { experts, pieces = [], tokens = [], token_weights: weights = [] } = choice.xelm ?? {};
    this.experts = experts ?? this.experts;
    if (choice.xelm?.language) this.speak(choice.xelm);
    pieces.forEach((piece, i) => this.token(piece, tokens[i], weights[i]));
    this.bars();
  }

  speak({ language, language_from: source, language_confidence: sure, language_weighs: weighs }) {
    const known = source === "identified" ? `identified, ${percent(sure)} sure` : "as told";
    const place = this.root.querySelector(".language");
    place.textContent = `Language: ${language} (${known}). The weights ${weighs ? "look" : "do not look"} at it.`;
    place.hidden = false;
    this.text.lang = language;
  }

  token(piece, name, weights) {
    const best = weights.indexOf(Math.max(...weights.map((weight) => weight ?? 0)));
    const span = document.createElement("span");
    span.className = "token";
    span.textContent = piece;
    span.tabIndex = this.text.children.length ? -1 : 0;
    span.dataset.name = name;
    span.dataset.expert = this.experts[best];
    span.style.setProperty("--hue", hueOf(this.experts[best]));
    span.style.setProperty("--weight", LEAST_TINT + (MOST_TINT - LEAST_TINT) * weights[best]);
    span.weights = weights;
    const shares = this.shares(weights);
    span.setAttribute("aria-label", `${piece}: ${shares}`);
    span.title = shares;
    this.text.append(span);
    this.totals = weights.map((weight, i) => (this.totals[i] ?? 0) + (weight ?? 0));
    this.count += 1;
  }

  shares(weights) {
    const named = weights.map((weight, i) => [weight ?? 0, this.experts[i]]).sort((a, b) => b[0] - a[0]);
    return named.filter(([weight]) => weight > 0.0005).map(([weight, name]) => `${name} ${percent(weight)}`).join(", ");
  }

  explain(target) {
    if (!target.weights) return;
    this.details.textContent = `“${target.dataset.name}”: ${this.shares(target.weights)}`;
  }

  move(event) {
    if (event.altKey || event.ctrlKey || event.metaKey) return; // the browser's own
    const tokens = [...this.text.children];
    const rtl = getComputedStyle(this.text).direction === "rtl";
    const next = { ArrowRight: rtl ? -1 : 1, ArrowLeft: rtl ? 1 : -1, Home: -Infinity, End: Infinity }[event.key];
    if (!next || !tokens.length) return;
    event.preventDefault();
    const from = tokens.indexOf(document.activeElement);
    const to = Math.min(tokens.length - 1, Math.max(0, from + next));
    tokens[from].tabIndex = -1;
    tokens[to].tabIndex = 0;
    tokens[to].focus();
  }

  bars() {
    const rows = (this.experts ?? []).map((name, i) => {
      const share = this.count ? this.totals[i] / this.count : 0;
      const bar = document.createElement("div");
      bar.className = "bar";
      bar.setAttribute("role", "listitem");
      bar.style.setProperty("--hue", hueOf(name));
      bar.style.setProperty("--share", share);
      for (const [kind, text] of [["name", name], ["track", ""], ["share", percent(share)]]) {
        const cell = document.createElement("span");
        cell.className = kind;
        cell.textContent = text;
        bar.append(cell);
      }
      const fill = document.createElement("div");
      fill.className = "fill";
      bar.querySelector(".track").append(fill);
      return bar;
    });
    this.root.querySelector(".bars").replaceChildren(...rows);
  }
}

// Whether the text came to its end.
async function follow(model, signal) {
  const answer = new Answer(model);
  try {
    const response = await fetch("v1/completions", {
      method: "POST",
      headers: { "content-type": "application/json" },
      body: JSON.stringify(bodyFor(model)),
      signal,
    });
    if (!response.ok) {
      answer.say(await problemOf(response));
      return false;
    }
    for await (const event of eventsOf(response)) {
      if (event.error) {
        answer.say(event.error.message);
        return false;
      }
      event.choices.forEach((choice) => answer.add(choice));
    }
    return true;
  } catch (error) {
    if (error.name !== "AbortError") answer.say(`The connection failed: ${error.message}`);
    return false;
  }
}

async function run(event) {
  event.preventDefault();
  if (stopping) return;
  const asked = [at("model").value, at("beside").value].filter(Boolean);
  if (!asked.length) {
    at("said").textContent = "The models are not there yet.";
    return;
  }
  stopping = new AbortController();
  at("answers").replaceChildren();
  at("run").disabled = true;
  at("stop").disabled = false;
  at("said").textContent = "Writing…";
  const ended = await Promise.all(asked.map((model) => follow(model, stopping.signal)));
  at("said").textContent = stopping.signal.aborted ? "Stopped." : ended.every(Boolean) ? "Done." : "Failed.";
  stopping = null;
  at("run").disabled = false;
  at("stop").disabled = true;
}

function curlCommand() {
  const quoted = JSON.stringify(bodyFor(at("model").value)).replaceAll("'", "'\\''");
  const url = new URL("v1/completions", location.href).href;
  return `curl -N ${url} -H 'content-type: application/json' -H "Authorization: Bearer $XELM_API_KEY" -d '${quoted}'`;
}

at("form").addEventListener("submit", run);
at("stop").addEventListener("click", () => stopping?.abort());
at("prompt").addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) at("form").requestSubmit();
});
at("sample").addEventListener("change", () => {
  const found = SAMPLES.find(([code]) => code === at("sample").value);
  if (found) at("prompt").value = found[2];
});
at("curl").addEventListener("click", async () => {
  if (!at("form").reportValidity()) return;
  try {
    await navigator.clipboard.writeText(curlCommand());
    at("said").textContent = "Copied.";
  } catch {
    at("said").textContent = curlCommand();
  }
});
for (const [code, name] of SAMPLES) at("sample").add(new Option(`${name} (${code})`, code));
start();
