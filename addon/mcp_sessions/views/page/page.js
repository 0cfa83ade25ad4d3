// The ledger, followed live. What comes from the wire is only ever set as text, never as markup.

import { age, clock, draw, said } from "./timeline.js";

const ROW = 40; // pixels, as in the style
const PAUSE = 300; // milliseconds between two questions, so that a busy proxy is not asked for every request
const RETRY = 2000;
const GROUPS = {
  all: () => true,
  live: (s) => ["open", "lost", "recovering", "leaving"].includes(s.state),
  trouble: (s) => ["lost", "stuck", "abandoned"].includes(s.state),
  recovered: (s) => s.recoveries > 0,
  closed: (s) => s.state === "closed",
};

const $ = (id) => document.getElementById(id);
const list = $("list"), rows = $("rows"), details = $("details"), rules = $("rules");
const sessions = new Map(), clients = new Map(), broken = new Map();
let items = [];
let place = new Map(); // number of a session: its index in items
let picked = 0, shown = 0, version = 0, run = null, ahead = 0;
let stale = true, asked = 0;
const pool = new Map(); // index: element

/** An element with a class, text and children. */
function make(kind, name = "", text = "", ...children) {
  const made = document.createElement(kind);
  if (name) made.className = name;
  if (text !== "") made.textContent = text;
  made.append(...children);
  return made;
}

function link(text, href, away = false) {
  const made = make("a", "", text);
  made.href = href;
  if (away) { made.target = "_blank"; made.rel = "noopener noreferrer"; }
  return made;
}

const toFlow = (id, text = "flow") => link(text, `./#/flows/${encodeURIComponent(id)}/request`);
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
  $("totals").replaceChildren(...[
    ["clients", news.totals.clients], ["open", news.totals.open], ["streams", news.totals.streams],
    ["recovered", news.totals.recovered], ["ended", news.totals.ended], ["violations", news.totals.violations],
  ].map(([name, count]) => make("li", "", `${name} `, make("b", "", count.toLocaleString()))));
  if (news.sessions.length) stale = true;
  if (news.rules.length) drawRules();
  if (shown && news.sessions.some((s) => s.n === shown)) showDetails(shown, false);
  plan();
}

// The list: only the rows in sight exist

function arrange() {
  const wanted = GROUPS[$("show").value];
  const words = $("find").value.toLowerCase().split(/\s+/).filter(Boolean);
  const groups = new Map();
  for (const session of sessions.values()) {
    if (!wanted(session)) continue;
    if (words.length) {
      const client = clients.get(session.client);
      const text = `${session.label} #${session.n} ${session.state} ${session.endpoint} ${session.revision} ${client?.label} ${client?.says}`.toLowerCase();
      if (!words.every((word) => text.includes(word))) continue;
    }
    if (!groups.has(session.client)) groups.set(session.client, []);
    groups.get(session.client).push(session);
  }
  items = [];
  place = new Map();
  for (const number of [...groups.keys()].sort((a, b) => b - a)) {
    const group = groups.get(number).sort((a, b) => b.n - a.n);
    items.push({ client: number, count: group.length });
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
    const state = client?.gone ? `gone since ${clock(client.gone)}` : client?.connections ? "connected" : "no connection";
    row.append(make("span", "soft", `${item.count} ${item.count === 1 ? "session" : "sessions"} · ${state}`));
    return row;
  }
  const session = sessions.get(item.session);
  row.dataset.session = session.n;
  row.classList.toggle("picked", session.n === picked);
  row.setAttribute("aria-selected", String(session.n === picked));
  const about = [];
  if (session.recoveries) about.push(`recovered ×${session.recoveries}`);
  if (session.streams.length) about.push(`${session.streams.length} ${session.streams.length === 1 ? "stream" : "streams"}`);
  const faults = Object.values(session.violations).reduce((a, b) => a + b, 0);
  if (faults) about.push(`⚠ ${faults}`);
  if (session.enders) about.push(`by the ${session.enders}`);
  if (session.kept) about.push("kept");
  row.append(
    make("span", "label cut", session.label), make("span", `chip ${session.state}`, session.state),
    make("span", "about soft cut", about.join(" · ")), document.createElementNS("http://www.w3.org/2000/svg", "svg"),
  );
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
  $("axis").replaceChildren(...[0, 0.25, 0.5, 0.75, 1].map((part) => {
    const tick = make("span", "", part === 1 ? "now" : `${age((time - start) * (1 - part))} ago`);
    tick.style.left = `${left + measured.width * part}px`;
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

list.addEventListener("keydown", (event) => {
  const far = Math.max(1, Math.floor(list.clientHeight / ROW) - 1);
  const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: far, PageUp: -far, Home: -items.length, End: items.length };
  if (event.key in moves) { event.preventDefault(); step(moves[event.key]); }
  else if (event.key === "Enter" && picked) { event.preventDefault(); showDetails(picked, true); details.focus(); }
});
rows.addEventListener("click", (event) => {
  const row = event.target.closest(".row[data-session]");
  if (row) pick(Number(row.dataset.session), true);
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape") { hideDetails(); }
  else if (event.key === "/" && !/INPUT|SELECT/.test(document.activeElement.tagName)) { event.preventDefault(); $("find").focus(); }
});
list.addEventListener("scroll", plan, { passive: true });
addEventListener("resize", plan);
for (const id of ["show", "find"]) $(id).addEventListener("input", () => { stale = true; plan(); });
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

// Details of one session

async function showDetails(number, anew) {
  const before = shown;
  shown = number;
  let session;
  try {
    const answer = await fetch(`mcp/sessions/${number}.json`, { credentials: "same-origin" });
    if (!answer.ok) return;
    session = await answer.json();
  } catch { return; }
  if (shown !== number) return;
  const top = anew && before !== number ? 0 : details.scrollTop;
  const close = make("button", "", "Close");
  close.addEventListener("click", hideDetails);
  const client = clients.get(session.client);
  const facts = [
    ["client", [client?.label, client?.says].filter(Boolean).join(" · ")], ["endpoint", session.endpoint],
    ["revision", session.revision || "unknown"], ["opened", `${clock(session.opened)} by ${session.by}`],
    ["last used", `${clock(session.used)} (${age(now() - session.used)} ago)`],
    ["requests", session.requests], ["recovered", session.recoveries > 1 ? `${session.recoveries} times` : session.recoveries ? "once" : "never"],
  ];
  if (session.enders) facts.push(["ended by", session.enders === "proxy" ? "the proxy" : "its client"]);
  if (session.evidence) facts.push(["evidence", session.evidence]);
  if (session.owners.length > 1) facts.push(["used by", session.owners.map(([label]) => label).join(", ")]);
  const parts = [
    make("h2", "", "", make("span", "", `Session ${session.label}`), make("span", `chip soft ${session.state}`, session.state), close),
    make("dl", "", "", ...facts.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", String(value))])),
  ];
  if (session.streams.length) {
    parts.push(make("h3", "", "Open streams"), make("ul", "", "", ...session.streams.map(([flow, since]) =>
      make("li", "", "", make("time", "", clock(since)), toFlow(flow, "GET stream"), ` open for ${age(now() - since)}`))));
  }
  const faults = Object.entries(session.violations);
  if (faults.length) {
    parts.push(make("h3", "", "Violations"), make("ul", "", "", ...faults.map(([rule, times]) => {
      const go = make("button", "", `${rule} ${broken.get(rule)?.name ?? ""}`);
      go.addEventListener("click", () => { open("rules"); $(`rule-${rule}`)?.setAttribute("open", ""); $(`rule-${rule}`)?.scrollIntoView(); });
      return make("li", "", "", go, ` × ${times}`);
    })));
  }
  parts.push(make("h3", "", "History"), make("ol", "", "", ...session.history.map(([at, what, detail]) =>
    make("li", "", "", make("time", "", clock(at)), make("b", "", said(what)), detail ? ` ${detail}` : ""))));
  if (session.flows.length) {
    parts.push(make("h3", "", "Flows"), make("ul", "", "", ...session.flows.toReversed().map(([id, at, comment]) =>
      make("li", "", "", make("time", "", clock(at)), toFlow(id, comment || "flow")))));
  }
  details.replaceChildren(...parts);
  const appears = details.hidden;
  details.hidden = false;
  details.scrollTop = top;
  if (appears) plan();
}

function hideDetails() {
  if (details.hidden) return;
  shown = 0;
  details.hidden = true;
  list.focus();
  plan();
}

// Violations by rule

function drawRules() {
  const opened = new Set([...rules.querySelectorAll("details[open]")].map((element) => element.id));
  const sorted = [...broken.values()].sort((a, b) => a.id.localeCompare(b.id));
  rules.replaceChildren(...sorted.map((rule) => {
    const element = make("details");
    element.id = `rule-${rule.id}`;
    element.open = opened.has(element.id);
    element.append(
      make("summary", "", "", make("b", "", rule.id), ` ${rule.name} `, make("span", "times", `× ${rule.times.toLocaleString()} `),
        make("span", rule.level, `${rule.party} ${rule.level}`)),
      make("p", "", rule.summary),
      make("ul", "", "", ...rule.latest.toReversed().map((case_) => {
        const line = make("li", "", "", make("time", "", clock(case_.at)), [case_.client, case_.session && `session ${case_.session}`, case_.detail].filter(Boolean).join(" · "));
        if (case_.flow) line.append(" · ", toFlow(case_.flow));
        if (/^https:\/\/modelcontextprotocol\.io\//.test(case_.clause)) line.append(" · ", link("clause", case_.clause, true));
        return line;
      })),
    );
    return element;
  }));
  if (!sorted.length) rules.replaceChildren(make("p", "soft", "No rule was broken."));
}

// The token is in the cookie now, and has no business in the address bar.
if (location.search) history.replaceState(null, "", location.pathname);
drawRules();
setInterval(() => { if (!document.hidden) plan(); }, 1000);
follow();
