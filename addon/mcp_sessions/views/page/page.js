// The ledger, followed live. What comes from the wire is only ever set as text, never as markup.

import { strip, watch } from "./fleet.js";
import { ask, button, make } from "./parts.js";
import { sections } from "./rules.js";
import { deeds, facts, messages } from "./session.js";
import { clock, draw, lasting, ticks } from "./timeline.js";

const PAUSE = 300; // milliseconds between two questions, so that a busy proxy is not asked for every request
const RETRY = 2000;
const GROUPS = {
  all: () => true,
  live: (s) => ["open", "lost", "recovering", "leaving"].includes(s.state),
  trouble: (s) => ["lost", "stuck", "abandoned"].includes(s.state),
  recovered: (s) => s.recoveries > 0,
  violations: (s) => faults(s) > 0,
  streams: (s) => s.streams.length > 0,
  closed: (s) => s.state === "closed",
};
const ORDERS = {
  opened: (a, b) => b.opened - a.opened || b.n - a.n,
  used: (a, b) => b.used - a.used || b.n - a.n,
  requests: (a, b) => b.requests - a.requests || b.n - a.n,
  violations: (a, b) => faults(b) - faults(a) || b.n - a.n,
};
const COUNTED = ["clients", "open", "streams", "recovered", "ended", "violations"];
/** What the counters show when they are clicked. */
const COUNTERS = { clients: "all", open: "live", streams: "streams", recovered: "recovered", ended: "closed" };

const $ = (id) => document.getElementById(id);
const list = $("list"), rows = $("rows"), details = $("details"), rules = $("rules");
const sessions = new Map(), clients = new Map(), broken = new Map();
let holders = {}; // which other proxy holds a session that this one knows
let shared = false;
let items = [];
let place = new Map(); // number of a session: its index in items
let picked = 0, shown = 0, version = 0, run = null, ahead = 0;
let stale = true, asked = 0, arrived = false;
let ROW = 40; // pixels, as in the style
const pool = new Map(); // index: element
const faults = (session) => Object.values(session.violations).reduce((a, b) => a + b, 0);

/** The proxy that holds a session; empty where there is only one, and for one that is over. */
const holder = (session) => session.holder ?? (shared && session.state !== "closed" ? (holders[session.n] ?? "here") : "");

const now = () => Date.now() / 1000 + ahead;

// Following the ledger

async function follow() {
  for (;;) {
    try {
      const answer = await fetch(`mcp/changes.json?since=${version}&wait=${run === null ? "" : 1}`, { credentials: "same-origin" });
      if (answer.status === 403) { location.reload(); return; }
      if (!answer.ok) throw new Error(answer.status);
      const news = await answer.json();
      if (run !== null && news.run !== run) { sessions.clear(); clients.clear(); broken.clear(); version = 0; run = news.run; continue; }
      run = news.run;
      take(news);
      if (!news.more && !arrived) { arrived = true; goTo(); }
      $("link").textContent = "live";
      $("link").className = "live";
      if (!news.more) await pause(PAUSE);
    } catch {
      $("link").textContent = "the proxy does not answer";
      $("link").className = "";
      await pause(RETRY);
    }
  }
}

const pause = (time) => new Promise((done) => setTimeout(done, time));

function take(news) {
  ahead = news.now - Date.now() / 1000;
  version = news.version;
  for (const client of news.clients) clients.set(client.n, client);
  for (const session of news.sessions) sessions.set(session.n, session);
  for (const rule of news.rules) broken.set(rule.id, rule);
  for (const name of COUNTED) counters.get(name).textContent = news.totals[name].toLocaleString();
  if (news.sessions.length) stale = true;
  if (news.rules.length) drawRules();
  if (shown && news.sessions.some((s) => s.n === shown)) showDetails(shown, false);
  plan();
}

// Made once: a button that is made anew while it is pressed is never clicked.
const counters = new Map(COUNTED.map((name) => {
  const figure = make("b", "", "0");
  const made = button(`${name} `, () => choose(name));
  made.append(figure);
  $("totals").append(make("li", "", "", made));
  return [name, figure];
}));

function choose(counter) {
  if (counter === "violations") { open("rules"); return; }
  open("sessions");
  $("show").value = COUNTERS[counter];
  $("find").value = "";
  stale = true;
  plan();
}

// The list: only the rows in sight exist

const wordsFound = () => $("find").value.toLowerCase().split(/\s+/).filter(Boolean);

function arrange() {
  const wanted = GROUPS[$("show").value];
  const words = wordsFound();
  const order = ORDERS[$("order").value];
  const groups = new Map();
  for (const session of sessions.values()) {
    if (!wanted(session)) continue;
    if (words.length) {
      const client = clients.get(session.client);
      const rules = Object.keys(session.violations).join(" ");
      const text = `${session.label} #${session.n} ${session.state} ${session.endpoint} ${session.revision} ${client?.label} ${client?.says} ${rules} ${holder(session)}`.toLowerCase();
      if (!words.every((word) => text.includes(word))) continue;
    }
    const group = order ? 0 : session.client;
    if (!groups.has(group)) groups.set(group, []);
    groups.get(group).push(session);
  }
  items = [];
  place = new Map();
  for (const number of [...groups.keys()].sort((a, b) => b - a)) {
    const group = groups.get(number).sort(order ?? ((a, b) => b.n - a.n));
    if (!order) items.push({ client: number, count: group.length });
    for (const session of group) { place.set(session.n, items.length); items.push({ session: session.n }); }
  }
  rows.style.height = `${items.length * ROW}px`;
  $("nothing").hidden = items.length > 0;
  $("nothing").textContent = sessions.size ? "Nothing is like that." : "No MCP session yet. Point a client at the proxy, and it shows up here.";
  list.hidden = !items.length;
  stale = false;
}

function plan() {
  if (!asked) asked = requestAnimationFrame(paint);
}

function paint() {
  asked = 0;
  if ($("sessions").hidden) return;
  if (stale) { arrange(); for (const row of pool.values()) row.remove(); pool.clear(); }
  const first = Math.max(0, Math.floor(list.scrollTop / ROW) - 3);
  const last = Math.min(items.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 3);
  for (const [index, row] of pool) if (index < first || index >= last) { row.remove(); pool.delete(index); }
  const fresh = [];
  for (let index = first; index < last; index++) if (!pool.has(index)) { const row = makeRow(items[index], index); pool.set(index, row); fresh.push(row); }
  rows.append(...fresh);
  drawLines();
  const active = picked && pool.get(place.get(picked));
  if (active) list.setAttribute("aria-activedescendant", active.id); else list.removeAttribute("aria-activedescendant");
}

function makeRow(item, index) {
  const row = make("div", "row");
  row.style.transform = `translateY(${index * ROW}px)`;
  row.id = `row-${index}`;
  row.setAttribute("role", "option");
  if (item.client !== undefined) {
    const client = clients.get(item.client);
    row.classList.add("client");
    row.setAttribute("aria-disabled", "true");
    row.append(make("span", "cut", client?.label ?? "unknown"), make("span", "soft cut", client?.says ?? ""));
    const state = client?.elsewhere ? "seen by other proxies only" : client?.gone ? `gone since ${clock(client.gone)}` : client?.connections ? "connected" : "no connection";
    row.append(make("span", "soft", `${item.count} ${item.count === 1 ? "session" : "sessions"} · ${state}`));
    return row;
  }
  const session = sessions.get(item.session);
  row.dataset.session = session.n;
  row.classList.toggle("picked", session.n === picked);
  row.setAttribute("aria-selected", String(session.n === picked));
  const about = [];
  if (ORDERS[$("order").value]) about.push(clients.get(session.client)?.label ?? "unknown");
  const held = holder(session);
  if (held && held !== "here") about.push(`held by ${held}`);
  const broke = Object.entries(session.violations);
  if (broke.length) about.push(`⚠ ${broke.map(([rule, times]) => (times > 1 ? `${rule} ×${times}` : rule)).join(" ")}`);
  if (session.enders) about.push(`by the ${session.enders}`);
  if (session.recoveries) about.push(`recovered ×${session.recoveries}`);
  if (session.streams.length) about.push(`${session.streams.length} ${session.streams.length === 1 ? "stream" : "streams"}`);
  if (session.kept) about.push("kept");
  row.append(
    make("span", "label cut", session.label), make("span", `chip ${session.state}`, session.state),
    make("span", "where soft cut", session.endpoint.replace(/^\w+:\/\//, "")), make("span", "about soft cut", about.join(" · ")), document.createElementNS("http://www.w3.org/2000/svg", "svg"),
  );
  row.title = [session.endpoint, ...about].join("\n");
  row.lastChild.setAttribute("role", "img");
  row.lastChild.setAttribute("aria-label", `opened ${clock(session.opened)}, last used ${clock(session.used)}`);
  return row;
}

function drawLines() {
  const time = now();
  const span = Number($("span").value);
  let start = time - span;
  if (!span) { start = time; for (const session of sessions.values()) if (session.opened < start) start = session.opened; }
  let measured = null;
  for (const row of pool.values()) {
    if (!row.dataset.session) continue;
    const svg = row.lastChild;
    measured ??= svg.getBoundingClientRect();
    draw(svg, sessions.get(Number(row.dataset.session)), start, time, measured.width);
  }
  if (!measured) return;
  const left = measured.left - list.getBoundingClientRect().left;
  const marks = [...ticks(time - start, measured.width).map(([ago, share]) => [`${lasting(ago)} ago`, share]), ["now", 1]];
  $("axis").replaceChildren(...marks.map(([text, share]) => {
    const tick = make("span", "", text);
    tick.style.left = `${left + measured.width * share}px`;
    return tick;
  }));
}

// Choosing

function pick(number, open) {
  picked = number;
  for (const row of pool.values()) {
    if (!row.dataset.session) continue;
    const yes = Number(row.dataset.session) === number;
    row.classList.toggle("picked", yes);
    row.setAttribute("aria-selected", String(yes));
  }
  const index = place.get(number);
  if (index !== undefined) {
    if (index * ROW < list.scrollTop + ROW) list.scrollTop = Math.max(0, (index - 1) * ROW);
    else if ((index + 1) * ROW > list.scrollTop + list.clientHeight) list.scrollTop = (index + 1) * ROW - list.clientHeight;
  }
  plan();
  if (open) showDetails(number, true);
}

function step(by) {
  let index = place.get(picked) ?? (by > 0 ? -1 : items.length);
  const way = Math.sign(by);
  let wanted = null;
  for (let left = Math.abs(by); left > 0;) {
    index += way;
    if (index < 0 || index >= items.length) break;
    if (items[index].session !== undefined) { wanted = items[index].session; left--; }
  }
  if (wanted !== null) pick(wanted, shown > 0);
}

function key(event) {
  const far = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
  const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: far, PageUp: -far, Home: -items.length, End: items.length };
  if (event.key in moves) { event.preventDefault(); step(moves[event.key]); }
  else if (event.key === "Enter" && picked) { event.preventDefault(); showDetails(picked, true); details.focus(); }
}

list.addEventListener("keydown", key);
rows.addEventListener("click", (event) => {
  const row = event.target.closest(".row[data-session]");
  if (row) pick(Number(row.dataset.session), true);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { hideDetails(); }
  else if (event.target === document.body && !$("sessions").hidden) key(event); // nobody has to click into the list first
  else if (event.key === "/" && !/INPUT|SELECT/.test(document.activeElement.tagName)) { event.preventDefault(); $("find").focus(); }
});
list.addEventListener("scroll", plan, { passive: true });
function fit() {
  ROW = parseInt(getComputedStyle(document.documentElement).getPropertyValue("--row"), 10) || 40;
  stale = true;
  plan();
}
addEventListener("resize", fit);
for (const id of ["show", "order", "find"]) $(id).addEventListener("input", () => { stale = true; plan(); drawRules(); });
$("span").addEventListener("input", plan);

// Tabs

const tabs = [["tab-sessions", "sessions"], ["tab-rules", "rules"]];
function open(which) {
  for (const [tab, panel] of tabs) {
    const yes = panel === which;
    $(tab).setAttribute("aria-selected", String(yes));
    $(tab).tabIndex = yes ? 0 : -1;
    $(panel).hidden = !yes;
  }
  for (const one of document.querySelectorAll(".of-sessions")) one.hidden = which !== "sessions";
  plan();
}
for (const [tab, panel] of tabs) {
  $(tab).addEventListener("click", () => open(panel));
  $(tab).addEventListener("keydown", (event) => {
    if (!["ArrowLeft", "ArrowRight"].includes(event.key)) return;
    const other = tabs.find(([name]) => name !== tab);
    open(other[1]);
    $(other[0]).focus();
  });
}

// Details of one session, and its messages

let page = "facts"; // or "messages"

async function showDetails(number, anew) {
  const before = shown;
  shown = number;
  if (number < 0) { showHeld(sessions.get(number)); return; }
  let session;
  try { session = await ask(`mcp/sessions/${number}.json`); } catch { return; }
  if (shown !== number) return;
  address(page === "messages" ? `session-${number}/messages` : `session-${number}`);
  if (!anew && page === "messages" && details.dataset.shows === `${number}/messages`) { details.refresh(session); return; }
  const top = anew && before !== number ? 0 : details.scrollTop;
  const tab = (name, text) => {
    const made = button(text, () => { page = name; details.dataset.shows = ""; showDetails(number, false); });
    made.setAttribute("role", "tab");
    made.setAttribute("aria-selected", String(page === name));
    return made;
  };
  const choice = make("div", "", "", tab("facts", "About"), tab("messages", "Messages"));
  choice.setAttribute("role", "tablist");
  choice.setAttribute("aria-label", "Of this session");
  const title = make("h2", "", "", make("span", "", `Session ${session.label}`), make("span", `chip soft ${session.state}`, session.state), button("Close", hideDetails));
  const parts = [title, ...deeds(session), choice];
  let said = null;
  if (page === "messages") { said = messages(session); parts.push(...said.parts); }
  else parts.push(...facts(session, clients.get(session.client), broken, now(), showRule, holder(session)));
  details.dataset.shows = `${number}/${page}`;
  details.refresh = (fresh) => { title.children[1].className = `chip soft ${fresh.state}`; title.children[1].textContent = fresh.state; said?.show(); };
  details.classList.toggle("wide", page === "messages");
  details.replaceChildren(...parts);
  const appears = details.hidden;
  details.hidden = false;
  details.scrollTop = top;
  said?.show();
  if (appears) plan();
}

/** A session that only other proxies know: what the ledger says of it is all there is here. */
function showHeld(session) {
  if (!session) { hideDetails(); return; }
  const title = make("h2", "", "", make("span", "", `Session ${session.label}`), make("span", `chip soft ${session.state}`, session.state), button("Close", hideDetails));
  const known = facts({ ...session, owners: [], flows: [], history: [] }, clients.get(session.client), broken, now(), showRule, session.holder);
  details.classList.remove("wide");
  details.dataset.shows = "";
  details.replaceChildren(title, ...known, make("p", "soft", "Its messages and its history are with the proxies that have seen it."));
  const appears = details.hidden;
  details.hidden = false;
  address("");
  if (appears) plan();
}

// The fleet, where the ledger is shared: its sessions have numbers below zero

function takeFleet(fleet) {
  for (const known of [sessions, clients]) for (const n of known.keys()) if (n < 0) known.delete(n);
  shared = fleet !== null;
  holders = fleet?.holders ?? {};
  for (const session of fleet?.sessions ?? []) sessions.set(session.n, session);
  for (const client of fleet?.clients ?? []) clients.set(client.n, client);
  $("fleet").hidden = !shared;
  drawFleet(fleet);
  if (shown < 0) showHeld(sessions.get(shown));
  stale = true;
  plan();
}

let drawn = "";
function drawFleet(fleet) {
  const { members = [], free, left_out, problem } = fleet ?? {};
  const text = JSON.stringify([members.map((one) => [one.name, one.here, one.dead, one.sessions]), free, left_out, problem]);
  if (text === drawn) return; // a button that is made anew while it is pressed is never clicked
  drawn = text;
  $("fleet").replaceChildren(...(fleet ? strip(fleet, (words) => { open("sessions"); $("find").value = words; stale = true; plan(); }) : []));
}

function hideDetails() {
  if (details.hidden) return;
  shown = 0;
  details.hidden = true;
  details.dataset.shows = "";
  address("");
  list.focus();
  plan();
}

// Violations by rule

function drawRules() {
  const opened = new Set([...rules.querySelectorAll("details[open]")].map((element) => element.id));
  const found = sections(broken.values(), wordsFound(), opened);
  rules.replaceChildren(...(found.length ? found : [make("p", "soft", broken.size ? "Nothing is like that." : "No rule was broken.")]));
}

function showRule(rule) {
  open("rules");
  address(`rule-${rule}`);
  if (!$(`rule-${rule}`)) { $("find").value = ""; drawRules(); }
  $(`rule-${rule}`)?.setAttribute("open", "");
  $(`rule-${rule}`)?.scrollIntoView();
}

// Addresses: of a session, its messages, a rule

function address(hash) {
  history.replaceState(null, "", hash ? `#${hash}` : location.pathname);
}

function goTo() {
  const [, number, inMessages] = /^#session-(\d{1,12})(\/messages)?$/.exec(location.hash) ?? [];
  const [, rule] = /^#rule-(MCP\d{3})$/.exec(location.hash) ?? [];
  if (number) { open("sessions"); page = inMessages ? "messages" : "facts"; pick(Number(number), true); }
  else if (rule) showRule(rule);
}
addEventListener("hashchange", goTo);

// The token is in the cookie now, and has no business in the address bar.
if (location.search) history.replaceState(null, "", location.pathname + location.hash);
fit();
drawRules();
setInterval(() => { if (!document.hidden) plan(); }, 1000);
follow();
watch(takeFleet);
