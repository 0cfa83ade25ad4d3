// One session: what it is, what a user may do to it, what was said in it, and its history.

import { ask, button, link, make, tell, toFlow } from "./parts.js";
import { clock, lasting, said } from "./timeline.js";

/** The facts, violations, history and flows of a session. */
export function facts(session, client, names, now, toRule, holder) {
  const known = [
    ["client", [client?.label, client?.says].filter(Boolean).join(" · ")], ["endpoint", session.endpoint],
    ["revision", session.revision || "unknown"], ["opened", `${clock(session.opened)} by ${session.by}`],
    ["last used", `${clock(session.used)} (${lasting(now - session.used)} ago)`],
    ["requests", session.requests], ["recovered", session.recoveries > 1 ? `${session.recoveries} times` : session.recoveries ? "once" : "never"],
  ];
  if (holder) known.push(["held by", holder === "here" ? "this proxy" : holder]);
  if (session.kept) known.push(["kept", "not ended by the proxy"]);
  if (session.enders) known.push(["ended by", session.enders === "proxy" ? "the proxy" : "its client"]);
  if (session.evidence) known.push(["evidence", session.evidence]);
  if (session.owners.length > 1) known.push(["used by", session.owners.map(([label]) => label).join(", ")]);
  const parts = [make("dl", "", "", ...known.flatMap(([name, value]) => [make("dt", "", name), make("dd", "", String(value))]))];
  if (session.streams.length) {
    parts.push(make("h3", "", "Open streams"), make("ul", "", "", ...session.streams.map(([flow, since]) =>
      make("li", "", "", make("time", "", clock(since)), toFlow(flow, "GET stream"), ` open for ${lasting(now - since)}`))));
  }
  const faults = Object.entries(session.violations);
  if (faults.length) {
    parts.push(make("h3", "", "Violations"), make("ul", "", "", ...faults.map(([rule, times]) =>
      make("li", "", "", button(`${rule} ${names.get(rule)?.name ?? ""}`, () => toRule(rule)), ` × ${times}`))));
  }
  if (session.history.length) parts.push(make("h3", "", "History"), make("ol", "", "", ...session.history.map(([at, what, detail]) =>
    make("li", "", "", make("time", "", clock(at)), make("b", "", said(what)), detail ? ` ${detail}` : ""))));
  if (session.flows.length) {
    parts.push(make("h3", "", "Flows"), make("ul", "", "", ...session.flows.toReversed().map(([id, at, comment]) =>
      make("li", "", "", make("time", "", clock(at)), toFlow(id, comment || "flow")))));
  }
  return parts;
}

/** The buttons, and a line that says why something could not be done. */
export function deeds(session) {
  const trouble = make("p", "trouble");
  trouble.setAttribute("role", "alert");
  const path = `mcp/sessions/${session.n}`;
  const act = (deed) => async () => {
    try { await tell(`${path}/${deed}`); trouble.textContent = ""; } catch (e) { trouble.textContent = e.message; }
  };
  const end = async () => {
    if (confirm(`End session ${session.label} now? Its DELETE is sent to the server, whoever uses it.`)) await act("end")();
  };
  const over = session.state === "closed";
  const made = [];
  if (!over) {
    made.push(button("End", end, "Send its DELETE now, whoever uses it"));
    made.push(session.kept ? button("Keep no longer", act("unkeep"), "The proxy may end it again") : button("Keep", act("keep"), "The proxy never ends it"));
    made.push(button("Reinit", act("reinit"), "Shake hands with the server anew in the client's place"));
  }
  const file = link("Export", `${path}/export.zip`);
  file.download = "";
  file.title = "What was recorded of it, without secrets";
  return [make("div", "deeds", "", ...made, file), trouble];
}

/** What was said in a session; a search asks again. */
export function messages(session) {
  const find = make("input");
  find.type = "search";
  find.placeholder = "method, tool, id, rule …";
  find.setAttribute("aria-label", "Find in messages");
  const body = make("tbody");
  const note = make("p", "soft");
  const head = make("tr", "", "", ...["after", "way", "message", "took", "size"].map((name) => { const cell = make("th", "", name); cell.scope = "col"; return cell; }));
  let asked = 0;
  const show = async () => {
    const mine = ++asked;
    let news;
    try { news = await ask(`mcp/sessions/${session.n}/messages.json?find=${encodeURIComponent(find.value)}`); } catch (e) { note.textContent = e.message; return; }
    if (mine !== asked) return;
    body.replaceChildren(...news.messages.map((one) => line(one, news.messages[0].at)));
    const words = [];
    if (news.left_out) words.push(`${news.left_out} flows before these are too much to read at once.`);
    if (!news.messages.length) words.push(find.value ? "Nothing is like that." : "mitmweb has no flow of this session any more.");
    note.textContent = words.join(" ");
  };
  find.addEventListener("input", show);
  const table = make("table", "messages", "", make("thead", "", "", head), body);
  return { parts: [find, note, table], show };
}

function line(one, began) {
  const answer = one.kind === "response" || one.kind === "error";
  const text = make("td");
  const flow = toFlow(one.flow, `${answer ? `${one.kind} to ` : ""}${one.what}`);
  text.append(flow, one.id ? ` #${one.id}` : "", ...one.notes.map((note) => make("span", "note", note)));
  const row = make("tr", one.kind, "",
    make("td", "number", `${(one.at - began).toFixed(3)} s`), make("td", "", one.way), text,
    make("td", "number", one.took === null ? "" : `${Math.round(one.took * 1000)} ms`), make("td", "number", one.size ? `${one.size.toLocaleString()} B` : ""));
  row.title = clock(one.at);
  return row;
}
