// The page of Glimpse: captions the pictures that the user adds. Each picture has its own request, and so its own progress.
// The page uses no library and loads nothing from other origins. Text from the server or from a file is inserted as text,
// never as markup. Addresses are relative, because a proxy may serve the page under a path.

const AT_ONCE = 3; // requests in flight: enough to fill a batch, and few enough to leave room for other clients
const ATTEMPTS = 5; // attempts for a request that a busy server refuses
const PATIENCE_MS = 5 * 60 * 1000; // timeout of one request
const AT_A_TIME = 50; // cards that are made before the browser may handle events
const DEFAULTS = { beam: 5, n_best: 3 };
const VEIL = [9, 33, 30]; // colour of the veil over the parts of the picture with little attention,
const THICKEST = 175; // its largest opacity, of 255,
const OUTSIDE = 210; // and its opacity over the parts that the model did not see
const SURE = 0.5; // from this confidence on a caption is probably right,
const UNSURE = 0.25; // and below this one it is little more than a guess
const LEVELS = [0.1, 0.25, 0.5, 0.8]; // bounds between the tints, as in the legend

const $ = (id) => document.getElementById(id);
const settings = { ...DEFAULTS };
const words = new WeakMap(); // the element of a word -> its token
let items = []; // the cards in their order on the page, from top to bottom
let info = null; // the answer of /api/info
let token = ""; // kept in memory only, not in a cookie or in storage
let locked = false; // whether the server needs a token first
let running = 0;
let made = 0; // cards so far, for their ids
let pasted = 0;

// ---------------------------------------------------------------------------------------------------- Messages

const toSay = [];
let spokenAt = 0;

/** Announces a message to screen readers; messages are collected for a moment, so that 200 captions are one announcement. */
function announce(text) {
  toSay.push(text);
  if (toSay.length > 1) return; // it will be announced with those that are waiting
  setTimeout(() => {
    const all = toSay.splice(0);
    const few = all.length <= 3 ? all : [...all.slice(-2), `${$("summary").textContent}.`];
    $("live").textContent = few.join(" ");
    spokenAt = performance.now();
  }, Math.max(300, spokenAt + 2000 - performance.now()));
}

/** Shows a line in the bar at the top: an error, or a hint about an action that does not work. */
function tell(text, kind = "error") {
  const list = $("error-list");
  if (![...list.children].some((line) => line.textContent === text)) {
    list.append(Object.assign(document.createElement("li"), { textContent: text }));
  }
  while (list.children.length > 3) list.firstChild.remove();
  $("error-bar").dataset.kind = kind;
  $("error-bar").hidden = false;
  announce(text);
}

function dismiss() {
  $("error-list").replaceChildren();
  hide($("error-bar"), $("file-input"));
}

/** Hides an element; if the focus is inside, it moves to `heir`. */
function hide(element, heir) {
  const focused = element.contains(document.activeElement);
  element.hidden = true;
  if (focused) heir.focus();
}

window.addEventListener("error", (event) => tell(`Something went wrong in this page: ${event.error?.message ?? event.message}`));
window.addEventListener("unhandledrejection", (event) => {
  tell(`Something went wrong in this page: ${event.reason?.message ?? event.reason}`);
});

// ----------------------------------------------------------------------------------------------------- Numbers

function percent(probability) {
  const p = probability * 100;
  if (!(p >= 0)) return "unknown";
  if (p < 0.001) return "below 0.001%";
  return `${p >= 10 ? Math.round(p) : Number(p.toPrecision(2))}%`;
}

function milliseconds(ms) {
  return ms >= 10000 ? `${(ms / 1000).toFixed(1)} s` : `${ms < 10 ? ms.toFixed(1) : Math.round(ms)} ms`;
}

const count = (n, noun) => `${n} ${noun}${n === 1 ? "" : "s"}`;

// ---------------------------------------------------------------------------------------------------- Settings

/** Returns the greatest beam width, which is also the greatest number of sentences: a beam holds no more. */
const limit = () => info?.limits?.beam ?? 50;

function clamp(name, value) {
  return Math.min(limit(), Math.max(1, Math.round(Number(value)) || DEFAULTS[name]));
}

/** Applies settings. There cannot be more sentences than the beam is wide, so the setting that is not `changed` is adapted. */
function setSettings(wanted, changed = "beam") {
  settings.beam = clamp("beam", wanted.beam);
  settings.n_best = clamp("n_best", wanted.n_best);
  if (settings.n_best > settings.beam) {
    if (changed === "beam") settings.n_best = settings.beam;
    else settings.beam = settings.n_best;
    announce(`Beam width ${settings.beam}, ${count(settings.n_best, "sentence")}.`);
  }
  $("beam").value = settings.beam;
  $("n-best").value = settings.n_best;
  offerRerun();
}

/** Stores the settings in the page's address, so that bookmarks and links contain them. */
function settingsToHash() {
  const usual = settings.beam === DEFAULTS.beam && settings.n_best === DEFAULTS.n_best;
  const hash = usual ? "" : `#beam=${settings.beam}&n_best=${settings.n_best}`;
  history.replaceState(null, "", location.pathname + location.search + hash);
}

function settingsFromHash() {
  const hash = new URLSearchParams(location.hash.slice(1));
  setSettings({ beam: hash.get("beam") ?? DEFAULTS.beam, n_best: hash.get("n_best") ?? DEFAULTS.n_best });
}

function stale(item) {
  return item.state === "done" && (item.settings.beam !== settings.beam || item.settings.n_best !== settings.n_best);
}

function offerRerun() {
  const old = items.filter(stale).length;
  $("rerun").textContent = `Describe ${count(old, "picture")} again`;
  if (old) $("rerun").hidden = false;
  else hide($("rerun"), $("results-title"));
}

// ------------------------------------------------------------------------------------------- Pictures come in

/** Returns what is wrong with a file, as far as the page can tell; the server checks the rest. */
function objection(file) {
  if (file.type && !file.type.startsWith("image/")) return "This is not a picture.";
  if (file.size === 0) return "This file is empty.";
  const most = info?.limits?.upload_mb;
  if (most && file.size > most * 1024 * 1024) {
    return `This picture is too large: ${(file.size / 1024 / 1024).toFixed(1)} MB, and the server takes up to ${most} MB.`;
  }
  return null;
}

async function addFiles(files) {
  const batch = [...files].map(makeItem);
  if (!batch.length) return;
  const fromSample = $("samples").contains(document.activeElement);
  document.body.classList.add("has-pictures");
  $("results").hidden = false;
  if (fromSample) $("results-title").focus(); // the sample's button is no longer shown
  items = [...batch, ...items]; // the newest on top, where they are seen first
  const before = $("cards").firstChild;
  for (let from = 0; from < batch.length; from += AT_A_TIME) {
    if (from) await new Promise((resume) => setTimeout(resume));
    const here = batch.slice(from, from + AT_A_TIME).filter((item) => items.includes(item));
    for (const item of here) {
      const why = objection(item.file);
      item.final = Boolean(why);
      setState(item, why ? "failed" : "waiting", why);
      inSight.observe(item.card);
    }
    const list = document.createDocumentFragment();
    list.append(...here.map((item) => item.row));
    $("cards").insertBefore(list, before?.isConnected ? before : null);
    pump();
  }
}

function makeItem(file) {
  const row = $("card").content.firstElementChild.cloneNode(true);
  const card = row.querySelector(".card");
  const name = file.name || "picture";
  card.id = `card-${++made}`;
  const heading = card.querySelector(".name");
  heading.id = `${card.id}-name`;
  heading.textContent = name;
  card.setAttribute("aria-labelledby", heading.id);
  card.querySelector("progress").setAttribute("aria-label", `Progress of ${name}`);
  for (const button of card.querySelectorAll("button")) describeBy(button, heading);
  const item = { file, name, row, card, state: "new", result: null, settings: null, stop: null, final: false };
  byCard.set(card, item);
  return item;
}

const byCard = new WeakMap();
const describeBy = (element, by) => element.setAttribute("aria-describedby", by.id);
const part = (item, selector) => item.card.querySelector(selector);

async function addSample(name) {
  const answer = await fetch(`samples/${name}`, { headers: authorization() }).catch(() => null);
  if (!answer?.ok) return tell(`The sample ${name} could not be loaded.`);
  const picture = await answer.blob();
  return addFiles([new File([picture], name, { type: picture.type || "image/jpeg" })]);
}

/** Adds pictures from a drop or the clipboard; shows a hint if there are none. */
function addTransfer(transfer, verb) {
  const entries = [...transfer.items].map((entry) => entry.webkitGetAsEntry?.());
  if (entries.some((entry) => entry?.isDirectory)) {
    return tell("A folder cannot be dropped here: open it and drop the pictures in it.", "hint");
  }
  if (transfer.files.length) return addFiles(transfer.files);
  const text = transfer.getData("text/uri-list") || transfer.getData("text/plain");
  if (/^\s*(https?:|www\.)\S+\s*$/i.test(text)) {
    return tell(`That is an address, and pictures are not fetched from elsewhere: save the picture, then ${verb} it here.`, "hint");
  }
  return tell(`There is no picture in what you ${verb === "drop" ? "dropped" : "pasted"}.`, "hint");
}

/** Names a pasted picture: browsers call every pasted screenshot "image.png". */
function named(file) {
  const generic = /^image\.(\w+)$/.exec(file.name);
  return generic ? new File([file], `pasted-${++pasted}.${generic[1]}`, { type: file.type }) : file;
}

function paste(event) {
  const field = event.target.closest?.("input:not([type=file])");
  if (field && !event.clipboardData.files.length) return; // text for the field
  event.preventDefault();
  if (event.clipboardData.files.length) addFiles([...event.clipboardData.files].map(named));
  else addTransfer(event.clipboardData, "paste");
}

// Thumbnails: made only for cards that are about to be seen, and one at a time, because a large photo takes time and memory.
let drawing = Promise.resolve();
const inSight = new IntersectionObserver((seen) => {
  for (const { target, isIntersecting } of seen) {
    if (!isIntersecting) continue;
    inSight.unobserve(target);
    drawing = drawing.then(() => thumbnail(byCard.get(target)));
  }
}, { rootMargin: "400px" });

async function thumbnail(item) {
  if (item.final || !item.row.isConnected) return;
  const small = await shrunk(item.file).catch(() => item.file); // an older browser shows the file itself
  const image = part(item, ".thumbnail");
  const address = URL.createObjectURL(small);
  image.src = address;
  await image.decode().then(
    () => {
      image.alt = `Your picture ${item.name}`;
      image.hidden = false;
    },
    () => {}, // not a format that this browser supports; the server may support it
  );
  URL.revokeObjectURL(address);
}

async function shrunk(file) {
  const bitmap = await createImageBitmap(file, { resizeWidth: 640, resizeQuality: "medium" });
  const canvas = Object.assign(document.createElement("canvas"), { width: bitmap.width, height: bitmap.height });
  canvas.getContext("2d").drawImage(bitmap, 0, 0);
  bitmap.close();
  return new Promise((give, fail) => canvas.toBlob((blob) => (blob ? give(blob) : fail()), "image/webp", 0.85));
}

// --------------------------------------------------------------------------------------------------- Requests

const authorization = () => (token ? { Authorization: `Bearer ${token}` } : {});

/** Starts waiting requests, up to the limit. */
function pump() {
  while (!locked && running < AT_ONCE) {
    const next = items.find((item) => item.state === "waiting");
    if (!next) break;
    running += 1;
    const stop = new AbortController();
    next.stop = stop;
    describe(next, stop.signal)
      .catch((error) => {
        if (stop.signal.aborted) return; // cancelled or removed, so not a failure
        setState(next, "failed", `Something went wrong in this page: ${error.message}`);
      })
      .finally(() => {
        running -= 1;
        pump();
      });
  }
  summarize();
}

async function describe(item, signal) {
  item.settings = { ...settings };
  for (let attempt = 1; ; attempt += 1) {
    const sent = token;
    setState(item, "uploading");
    const answer = await post(item, signal);
    if (answer.status === 200 && answer.body?.captions?.length) return finish(item, answer.body);
    if (answer.status === 401) {
      setState(item, "waiting", "Waiting for the token");
      return sent === token ? lock() : undefined; // otherwise a new token was entered meanwhile
    }
    if (![429, 503].includes(answer.status) || attempt === ATTEMPTS) return fail(item, answer);
    const seconds = Math.ceil(Math.min(60, Math.max(1, answer.retryAfter)));
    setState(item, "busy", `The server is busy. Trying again in ${seconds} s (attempt ${attempt + 1} of ${ATTEMPTS})…`);
    await sleep(seconds * 1000, signal);
  }
}

/** Sends one request, with XMLHttpRequest because fetch does not report the progress of an upload. */
function post(item, signal) {
  return new Promise((answer, stopped) => {
    const request = new XMLHttpRequest();
    const form = new FormData();
    form.append("image", item.file, item.name);
    const query = new URLSearchParams(item.settings);
    if (info?.attention) query.set("attention", 1);
    request.open("POST", `api/caption?${query}`);
    for (const [name, value] of Object.entries(authorization())) request.setRequestHeader(name, value);
    request.timeout = PATIENCE_MS;
    request.upload.onprogress = (event) => {
      if (event.lengthComputable) progress(item, event.loaded / event.total);
    };
    request.upload.onload = () => setState(item, "looking");
    request.onload = () => answer({
      status: request.status,
      body: parsed(request.responseText),
      retryAfter: Number(request.getResponseHeader("Retry-After")) || 2,
    });
    request.onerror = () => answer({ status: 0 });
    request.ontimeout = () => answer({ status: 408 });
    signal.addEventListener("abort", () => {
      request.abort();
      stopped(signal.reason);
    });
    request.send(form);
  });
}

function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return null; // a proxy in between may answer in HTML
  }
}

function sleep(ms, signal) {
  return new Promise((wake, stopped) => {
    const timer = setTimeout(wake, ms);
    signal.addEventListener("abort", () => {
      clearTimeout(timer);
      stopped(signal.reason);
    });
  });
}

const REASONS = {
  0: "The server cannot be reached, or the file cannot be read any more.",
  200: "The server's answer makes no sense.",
  408: "This took too long.",
  413: "The picture is too large for the server.",
  415: "The server cannot read this as a picture.",
  429: "The server has had too many requests.",
  503: "The server is too busy.",
};

function fail(item, { status, body }) {
  item.final = [400, 413, 415].includes(status); // another attempt with this picture would fail too
  setState(item, "failed", body?.error ?? REASONS[status] ?? `The server answered with status ${status}.`);
}

function finish(item, result) {
  item.result = result;
  showResult(item);
  setState(item, "done");
  const unsure = trust(result.captions[0])?.level === "unsure" ? "not sure, perhaps " : "";
  announce(`${item.name}: ${unsure}${result.captions[0].text}.`);
}

function cancel(item) {
  item.stop?.abort();
  setState(item, "cancelled");
  announce(`${item.name} is cancelled.`);
  pump();
}

function again(some) {
  for (const item of some) setState(item, "waiting");
  pump();
}

function remove(item) {
  const heirs = [item.row.nextElementSibling, item.row.previousElementSibling];
  const focused = item.row.contains(document.activeElement);
  item.stop?.abort();
  inSight.unobserve(item.card);
  items = items.filter((other) => other !== item);
  item.row.remove();
  if (!items.length) return clear();
  if (focused) heirs.find(Boolean)?.querySelector(".name").focus();
  announce(`${item.name} is removed.`);
  return pump();
}

function clear() {
  for (const item of items.splice(0)) item.stop?.abort();
  $("cards").replaceChildren();
  document.body.classList.remove("has-pictures");
  hide($("results"), $("file-input"));
  if (document.activeElement === document.body) $("file-input").focus();
  announce("All pictures are removed.");
  offerRerun();
  pump();
}

/** Stops all requests until a token is entered: shows the field for it. */
function lock() {
  if (locked) return;
  locked = true;
  $("token-form").hidden = false;
  $("token").focus();
  if (token) tell("The server does not accept this token.");
  else announce("This server asks for a token.");
}

function unlock(event) {
  event.preventDefault();
  const given = $("token").value.trim();
  if (!/^[\x21-\x7e]+$/.test(given)) return tell("A token has no spaces and no letters beyond those of English.");
  token = given;
  locked = false;
  $("token").value = "";
  dismiss();
  hide($("token-form"), $("file-input"));
  pump();
  return loadInfo();
}

// ------------------------------------------------------------------------------------------------------ Cards

const STATUS = { waiting: "Waiting…", uploading: "Uploading…", looking: "Looking…", cancelled: "Cancelled." };

function setState(item, state, message) {
  item.state = state;
  item.card.dataset.state = state;
  part(item, ".status").textContent = message ?? STATUS[state] ?? "";
  if (state === "uploading" || state === "looking") part(item, "progress").removeAttribute("value");
  const heading = part(item, ".name");
  for (const element of item.card.querySelectorAll("[data-show]")) {
    if (element.dataset.show.split(" ").includes(state)) element.hidden = false;
    else hide(element, heading);
  }
  if (item.final) part(item, "[data-action=retry]").hidden = true;
  if (state === "failed" || state === "busy") announce(`${item.name}: ${message}`);
  if (state === "done" || state === "failed") summarize();
}

function progress(item, share) {
  if (item.state !== "uploading") return;
  part(item, "progress").value = share;
  part(item, ".status").textContent = `Uploading… ${Math.floor(share * 100)}%`;
}

function summarize() {
  const done = items.filter((item) => item.state === "done").length;
  const failed = items.filter((item) => item.state === "failed");
  const parts = [`${done} of ${count(items.length, "picture")} described`];
  if (failed.length) parts.push(`${failed.length} failed`);
  $("summary").textContent = parts.join(", ");
  const hopeful = failed.some((item) => !item.final);
  if (hopeful) $("retry-failed").hidden = false;
  else hide($("retry-failed"), $("results-title"));
  const any = items.some((item) => item.result);
  $("legend").hidden = !any;
  for (const id of ["download-json", "download-csv"]) $(id).disabled = !any;
  offerRerun();
}

/** Returns a caption's confidence as a level for its style and a text; nothing if the model gives no confidence. */
function trust({ confidence }) {
  if (!Number.isFinite(confidence)) return null;
  const chance = `${percent(confidence)} chance that most of it is right`;
  if (confidence < UNSURE) return { level: "unsure", words: `Not sure, this is a guess: ${chance}.` };
  if (confidence < SURE) return { level: "perhaps", words: `Perhaps: ${chance}.` };
  return { level: "likely", words: `Probably: ${chance}.` };
}

function showResult(item) {
  const [best, ...others] = item.result.captions;
  const trusted = trust(best);
  part(item, ".result").dataset.trust = trusted?.level ?? "";
  part(item, ".trust").textContent = trusted?.words ?? "";
  part(item, ".trust").hidden = !trusted;
  part(item, ".caption").replaceChildren(...sentence(best));
  const tags = item.result.tags ?? [];
  part(item, ".tags").textContent = `Recognised: ${tags.map(({ name, p }) => `${name} (${percent(p)})`).join(", ")}`;
  part(item, ".tags").hidden = !tags.length;
  part(item, ".chance").textContent = `Chance of just this sentence: ${percent(Math.exp(best.log_prob))}`;
  part(item, ".alternatives").replaceChildren(...others.map((caption, at) => alternative(item, caption, at + 1)));
  part(item, ".others").hidden = !others.length;
  part(item, ".timings").textContent = timings(item.result.ms);
  part(item, ".result").hidden = false;
}

function alternative(item, caption, at) {
  const line = document.createElement("li");
  const said = Object.assign(document.createElement("span"), { className: "sentence", id: `${item.card.id}-${at}` });
  said.append(...sentence(caption));
  const figure = Object.assign(document.createElement("span"), { className: "figure" });
  figure.textContent = percent(Math.exp(caption.log_prob));
  const copy = Object.assign(document.createElement("button"), { type: "button", className: "small quiet", textContent: "Copy" });
  copy.dataset.action = "copy";
  copy.dataset.at = at;
  describeBy(copy, said);
  line.append(said, figure, copy);
  return line;
}

function timings(ms = {}) {
  const parts = ["decode", "encode", "generate"].filter((step) => Number.isFinite(ms[step]));
  const all = parts.map((step) => `${step} ${milliseconds(ms[step])}`);
  if (info?.device) all.push(`on ${info.device}`);
  return all.join(" · ");
}

/** Builds the nodes of a caption: its words in their tints, and the text between them. */
function sentence({ text, tokens = [] }) {
  const nodes = [];
  let from = 0;
  for (const one of tokens) {
    const at = text.indexOf(one.text, from);
    if (at < 0 || !one.text) continue; // a token that is not part of the text, such as the end mark
    if (at > from) nodes.push(text.slice(from, at));
    nodes.push(word(one));
    from = at + one.text.length;
  }
  if (from < text.length) nodes.push(text.slice(from));
  const first = nodes.find((node) => node.tabIndex === -1);
  if (first) first.tabIndex = 0; // Tab moves between sentences, the arrow keys between words
  return nodes;
}

function word(one) {
  const span = document.createElement("span");
  const sure = Math.exp(one.log_prob);
  span.className = "word";
  span.textContent = one.text;
  span.tabIndex = -1;
  span.dataset.level = 1 + LEVELS.filter((edge) => sure >= edge).length;
  words.set(span, one);
  return span;
}

// ------------------------------------------------------------------------------- Words: figures and where it looked

let pointed = null;
let leaving = 0;

function point(at) {
  clearTimeout(leaving);
  if (at === pointed) return;
  unpoint();
  const one = words.get(at);
  if (!one) return;
  pointed = at;
  const tip = $("tooltip");
  tip.textContent = `${one.text}: ${percent(Math.exp(one.log_prob))} sure`;
  tip.hidden = false;
  describeBy(at, tip);
  place(tip, at.getClientRects()[0]);
  showAttention(at, one.attention);
}

function unpoint() {
  clearTimeout(leaving);
  if (!pointed) return;
  pointed.removeAttribute("aria-describedby");
  pointed.closest(".card")?.querySelector(".attention")?.setAttribute("hidden", "");
  pointed = null;
  $("tooltip").hidden = true;
}

/** Places the tooltip above the word, or below it if there is no room, and always within the window. */
function place(tip, box) {
  const { width, height } = tip.getBoundingClientRect();
  const left = Math.max(8, Math.min(box.left + box.width / 2 - width / 2, document.documentElement.clientWidth - width - 8));
  const top = box.top - height - 4 >= 0 ? box.top - height - 4 : box.bottom + 4;
  tip.style.left = `${left + window.scrollX}px`;
  tip.style.top = `${top + window.scrollY}px`;
}

/** Draws a word's attention: a veil over the picture, more transparent where the weight is higher. */
function showAttention(at, weights) {
  const card = at.closest(".card");
  const image = card?.querySelector(".thumbnail");
  const { attention_grid: [rows, columns] = [], attention_region: region = [0, 0, 1, 1] } = byCard.get(card)?.result ?? {};
  if (!rows || weights?.length !== rows * columns || !image?.naturalWidth) return;
  const most = Math.max(...weights) || 1;
  const grid = Object.assign(document.createElement("canvas"), { width: columns, height: rows });
  const veils = new ImageData(columns, rows);
  weights.forEach((weight, place) => veils.data.set([...VEIL, THICKEST * (1 - weight / most)], place * 4));
  grid.getContext("2d").putImageData(veils, 0, 0);
  // It has the picture's size, so that `object-fit` places both alike.
  const canvas = card.querySelector(".attention");
  Object.assign(canvas, { width: image.naturalWidth, height: image.naturalHeight, hidden: false });
  const pen = canvas.getContext("2d");
  const [left, top, width, height] = [0, 1, 2, 3].map((i) => region[i] * (i % 2 ? canvas.height : canvas.width));
  pen.fillStyle = `rgb(${VEIL.join(" ")} / ${OUTSIDE / 255})`; // parts that the model did not see are darkest
  pen.fillRect(0, 0, canvas.width, canvas.height);
  pen.clearRect(left, top, width, height);
  pen.imageSmoothingQuality = "high";
  pen.drawImage(grid, left, top, width, height);
}

function walk(event) {
  const here = event.target;
  if (!words.has(here)) return undefined;
  const all = [...here.parentElement.querySelectorAll(".word")];
  const at = all.indexOf(here);
  const to = { ArrowLeft: at - 1, ArrowRight: at + 1, Home: 0, End: all.length - 1 }[event.key];
  if (to === undefined) return undefined;
  event.preventDefault();
  const next = all[to];
  if (!next) return undefined;
  here.tabIndex = -1;
  next.tabIndex = 0;
  return next.focus();
}

// ---------------------------------------------------------------------------------------- Out: copies and files

async function copy(text, button) {
  if (navigator.clipboard) await navigator.clipboard.writeText(text).catch(() => copyByHand(text));
  else copyByHand(text); // over plain HTTP from another machine browsers give no access to the clipboard
  const before = button.dataset.label ?? button.textContent;
  button.dataset.label = before;
  button.textContent = "Copied";
  announce(`Copied: ${text}`);
  clearTimeout(button.timer);
  button.timer = setTimeout(() => (button.textContent = before), 1500);
}

function copyByHand(text) {
  const focused = document.activeElement;
  const field = Object.assign(document.createElement("textarea"), { value: text, className: "unseen" });
  document.body.append(field);
  field.select();
  const copied = document.execCommand("copy");
  field.remove();
  focused?.focus();
  if (!copied) throw new Error("the browser does not let it copy; select the text instead");
}

function altAttribute(text) {
  const escapes = { "&": "&amp;", '"': "&quot;", "<": "&lt;", ">": "&gt;" };
  return `alt="${text.replace(/[&"<>]/g, (sign) => escapes[sign])}"`;
}

/** Returns a token without its attention weights, which only the overlay uses. */
function withoutAttention({ attention, ...token }) {
  return token;
}

function results() {
  return items.filter((item) => item.result).map(({ result, name }) => {
    const { attention_grid, attention_region, ...rest } = result;
    const captions = result.captions.map((caption) => ({ ...caption, tokens: caption.tokens?.map(withoutAttention) }));
    return { ...rest, captions, image: name };
  });
}

/** Quotes a field of CSV. Text that a spreadsheet would take for a formula gets an apostrophe in front. */
function csvText(text) {
  const safe = /^[\s]*[=+\-@\t\r\n|]/.test(text) ? `'${text}` : text;
  return `"${safe.replaceAll('"', '""')}"`;
}

function csv(all) {
  const figure = (number) => (Number.isFinite(number) ? Number(number.toPrecision(6)) : "");
  const lines = all.flatMap(({ image, captions }) => captions.map(({ text, log_prob, confidence }, at) =>
    [csvText(image), at + 1, csvText(text), figure(Math.exp(log_prob)), Number(log_prob), figure(confidence)].join(",")));
  return `${["image,rank,caption,probability,log_prob,confidence", ...lines].join("\r\n")}\r\n`;
}

function download(name, type, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type }));
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  announce(`${name} is downloaded.`);
}

// ---------------------------------------------------------------------------------------------------- The start

async function loadInfo() {
  const answer = await fetch("api/info", { headers: authorization() }).catch(() => null);
  if (answer?.status === 401) return lock();
  if (!answer?.ok) return tell("The server does not say what it is. Is it still running?");
  info = await answer.json();
  const { version, device, threads, model = {}, limits = {} } = info;
  const about = [`Glimpse ${version}`, model.encoder, threads ? `${device}, ${count(threads, "thread")}` : device];
  $("info").textContent = about.filter(Boolean).join(" · ");
  if (limits.upload_mb) $("limits").textContent = `JPEG, PNG, WebP, GIF, BMP and TIFF, up to ${limits.upload_mb} MB each.`;
  for (const hint of document.querySelectorAll(".looked")) hint.hidden = !info.attention;
  $("beam").max = limit();
  $("n-best").max = limit();
  return setSettings(settings);
}

const ACTIONS = {
  cancel,
  remove,
  retry: (item) => again([item]),
  copy: (item, button) => copy(item.result.captions[button.dataset.at ?? 0].text, button),
  "copy-alt": (item, button) => copy(altAttribute(item.result.captions[0].text), button),
};

function listenToCards() {
  const cards = $("cards");
  cards.addEventListener("click", (event) => {
    const button = event.target.closest("[data-action]");
    if (button) ACTIONS[button.dataset.action](byCard.get(button.closest(".card")), button);
  });
  cards.addEventListener("keydown", walk);
  document.addEventListener("keydown", (event) => event.key === "Escape" && unpoint());
  cards.addEventListener("focusin", (event) => point(event.target));
  cards.addEventListener("focusout", unpoint);
  cards.addEventListener("pointerover", (event) => words.has(event.target) && point(event.target));
  // The pointer may move onto the tooltip, to read or copy its text.
  const leave = () => {
    clearTimeout(leaving);
    leaving = setTimeout(unpoint, 200);
  };
  cards.addEventListener("pointerout", leave);
  $("tooltip").addEventListener("pointerover", () => clearTimeout(leaving));
  $("tooltip").addEventListener("pointerout", leave);
}

function listenToDrops() {
  // The whole window accepts drops: a picture dropped beside the zone must not replace the page.
  const drag = (on) => document.body.classList.toggle("dragging", on);
  window.addEventListener("dragover", (event) => {
    event.preventDefault();
    drag(true);
  });
  window.addEventListener("dragleave", (event) => event.relatedTarget || drag(false));
  window.addEventListener("drop", (event) => {
    event.preventDefault();
    drag(false);
    addTransfer(event.dataTransfer, "drop");
  });
  document.addEventListener("paste", paste);
}

function listen() {
  for (const id of ["file-input", "camera-input"]) {
    $(id).addEventListener("change", (event) => {
      const chosen = [...event.target.files];
      event.target.value = ""; // so that choosing this file again is a change
      addFiles(chosen);
    });
  }
  for (const button of document.querySelectorAll("[data-sample]")) {
    button.addEventListener("click", () => addSample(button.dataset.sample));
  }
  for (const [id, name] of [["beam", "beam"], ["n-best", "n_best"]]) {
    $(id).addEventListener("change", () => {
      setSettings({ ...settings, [name]: $(id).value }, name);
      settingsToHash();
    });
  }
  window.addEventListener("hashchange", settingsFromHash);
  $("rerun").addEventListener("click", () => again(items.filter(stale)));
  $("retry-failed").addEventListener("click", () => again(items.filter((item) => item.state === "failed" && !item.final)));
  $("download-json").addEventListener("click", () =>
    download("captions.json", "application/json", `${JSON.stringify(results(), null, 2)}\n`));
  $("download-csv").addEventListener("click", () => download("captions.csv", "text/csv", csv(results())));
  $("clear").addEventListener("click", clear);
  $("error-close").addEventListener("click", dismiss);
  $("token-form").addEventListener("submit", unlock);
  listenToCards();
  listenToDrops();
}

settingsFromHash();
listen();
loadInfo();
