// A session as a time line: which state it was in from when to when, and what happened at which moment.

const SAID = {
  "refused": "lost", "handshake": "the proxy shakes hands", "delete sent": "its client sends DELETE",
  "orphaned": "its client is gone", "ending": "the proxy sends DELETE", "delete answered": "ended",
};
const SVG = "http://www.w3.org/2000/svg";

/** What a moment of the history is called. */
export const said = (what) => SAID[what] ?? what;

/** [from, to, state] pieces of a session's life, in order; the last one ends now, or when the session ended. */
export function pieces(session, now) {
  const found = [];
  let from = session.opened;
  let state = "open";
  for (const [at, , next] of session.moments) {
    if (!next || next === state) continue;
    if (at > from) found.push([from, at, state]);
    from = at;
    state = next;
  }
  if (state !== "closed") found.push([from, Math.max(now, from), session.state]);
  return found;
}

/** Draw a session into an svg element that is `width` pixels wide and shows the time from `start` to `now`. */
export function draw(svg, session, start, now, width) {
  const scale = width / Math.max(now - start, 1);
  const x = (at) => Math.min(Math.max((at - start) * scale, 0), width);
  const parts = [];
  for (const [from, to, state] of pieces(session, now)) {
    if (to < start) continue;
    parts.push(shape("rect", `bar ${state}`, { x: x(from), y: 8, width: Math.max(x(to) - x(from), 2), height: 8, rx: 2 }));
  }
  if (session.used >= start) {
    parts.push(shape("rect", "used", { x: x(session.used) - 1, y: 5, width: 2, height: 14 }, `last used ${clock(session.used)}`));
  }
  const marks = []; // moments that fall on one spot share a mark: the look of the last, the words of all
  for (const [at, what, state] of session.moments) {
    if (!state || at < start) continue;
    const place = Math.min(Math.max(x(at), 6), width - 6);
    const before = marks.at(-1);
    const lost = state === "lost" || (before && place - before.place < 4 && before.lost);
    const words = `${clock(at)} ${said(what)}`;
    if (before && place - before.place < 4) marks[marks.length - 1] = { place: before.place, state, lost, words: `${before.words}\n${words}` };
    else marks.push({ place, state, lost, words });
  }
  for (const { place, state, lost, words } of marks) {
    if (state === "closed") { parts.push(shape("rect", "mark closed", { x: place - 5, y: 7, width: 10, height: 10, rx: 1 }, words)); continue; }
    if (lost && state === "open") parts.push(shape("circle", "mark lost", { cx: place, cy: 12, r: 8 }));
    parts.push(shape("circle", `mark ${state}`, { cx: place, cy: 12, r: 4.5 }, words));
  }
  svg.replaceChildren(...parts);
}

function shape(kind, name, attributes, title) {
  const made = document.createElementNS(SVG, kind);
  made.setAttribute("class", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (title) made.appendChild(document.createElementNS(SVG, "title")).textContent = title;
  return made;
}

/** A moment as a time of day; with its date when that is not today. */
export function clock(at) {
  const date = new Date(at * 1000);
  const time = date.toLocaleTimeString([], { hour12: false });
  return date.toDateString() === new Date().toDateString() ? time : `${date.toLocaleDateString()} ${time}`;
}

const UNITS = [["d", 86400], ["h", 3600], ["min", 60], ["s", 1]];

/** A duration in its two largest units: `1 min 15 s`. */
export function lasting(seconds) {
  let left = Math.max(0, Math.round(seconds));
  const words = [];
  for (const [unit, size] of UNITS) {
    const count = Math.floor(left / size);
    left -= count * size;
    if (count) words.push(`${count} ${unit}`);
    if (words.length && (words.length === 2 || !left)) break;
  }
  return words.slice(0, 2).join(" ") || "0 s";
}

const STEPS = [1, 2, 5, 10, 15, 30, 60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600, 43200, 86400, 172800, 604800];

/** Whole steps of time before now that have room for their names: `[seconds ago, share of the width]`. */
export function ticks(span, width) {
  const room = Math.max(1, Math.floor(width / 90));
  const step = STEPS.find((one) => span / one <= room) ?? Math.ceil(span / room / 604800) * 604800;
  const found = [];
  for (let ago = step; ago <= span; ago += step) found.push([ago, 1 - ago / span]);
  return found.filter(([, share]) => share * width >= 30 && (1 - share) * width >= 75);
}
