// The other proxies that share the ledger: asked for while the page is seen, and shown as a line of proxies.

import { ask, button, make } from "./parts.js";

const PAUSE = 3000;

/** Ask for the fleet for as long as there is one, and hand each answer on that is not as the one before. */
export async function watch(take) {
  let before = "";
  for (;;) {
    if (!document.hidden) {
      let fleet;
      try { fleet = await ask("mcp/fleet.json"); } catch { fleet = undefined; } // the proxy does not answer, which the page says
      if (fleet === null && !before) { await new Promise((done) => setTimeout(done, 10 * PAUSE)); continue; }
      const text = JSON.stringify(fleet, (name, value) => (name === "silent" ? Math.round(value / 10) : value));
      if (fleet !== undefined && text !== before) { before = fleet === null ? "" : text; take(fleet); }
    }
    await new Promise((done) => setTimeout(done, PAUSE));
  }
}

/** The proxies, each with what it holds; a click finds that. */
export function strip(fleet, find) {
  const known = fleet.members.map((one) => {
    const words = [one.here ? "here" : "", one.dead ? `dead, heard of ${Math.round(one.silent)} s ago` : ""].filter(Boolean);
    const made = button(`${one.name}${words.length ? ` (${words.join(", ")})` : ""} `, () => find(one.here ? "here" : one.name), "Show what it holds");
    made.append(make("b", "", one.sessions.toLocaleString()));
    return make("li", one.dead ? "dead" : "", "", made);
  });
  if (fleet.free) known.push(make("li", "dead", `nobody ${fleet.free.toLocaleString()}`));
  const notes = [fleet.problem, fleet.left_out ? `${fleet.left_out.toLocaleString()} sessions of other proxies are not listed` : ""];
  return [make("span", "", "Fleet"), make("ul", "", "", ...known), ...notes.filter(Boolean).map((note) => make("span", "trouble", note))];
}
