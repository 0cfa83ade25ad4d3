// The violations: by rule, each with its latest cases, and a search of their own.

import { link, make, toFlow } from "./parts.js";
import { clock } from "./timeline.js";

/** The sections for these rules, with only the cases that contain all words. */
export function sections(broken, words, opened) {
  const found = [];
  for (const rule of [...broken].sort((a, b) => a.id.localeCompare(b.id))) {
    const about = `${rule.id} ${rule.name} ${rule.party} ${rule.level} ${rule.summary}`.toLowerCase();
    const missing = words.filter((word) => !about.includes(word));
    const cases = rule.latest.filter((one) => {
      const text = `${one.client} ${one.session} ${one.detail}`.toLowerCase();
      return missing.every((word) => text.includes(word));
    });
    if (cases.length) found.push(section(rule, cases, opened.has(`rule-${rule.id}`) || missing.length > 0));
  }
  return found;
}

function section(rule, cases, open) {
  const element = make("details");
  element.id = `rule-${rule.id}`;
  element.open = open;
  element.append(
    make("summary", "", "", make("b", "", rule.id), ` ${rule.name} `, make("span", "times", `× ${rule.times.toLocaleString()} `),
      make("span", rule.level, `${rule.party} ${rule.level}`)),
    make("p", "", rule.summary),
  );
  if (rule.times > cases.length) element.append(make("p", "soft", `The latest ${cases.length.toLocaleString()} of ${rule.times.toLocaleString()}:`));
  const clients = Map.groupBy ? Map.groupBy(cases, (one) => one.client) : grouped(cases);
  for (const [client, those] of [...clients].sort(([a], [b]) => a.localeCompare(b))) {
    element.append(make("h2", "", client || "unknown client"), make("ul", "", "", ...those.toReversed().map(line)));
  }
  return element;
}

function grouped(cases) {
  const groups = new Map();
  for (const one of cases) groups.set(one.client, [...(groups.get(one.client) ?? []), one]);
  return groups;
}

function line(one) {
  const words = [one.session && `session ${one.session}`, one.detail].filter(Boolean).join(" · ");
  const made = make("li", "", "", make("time", "", clock(one.at)), words);
  if (one.flow) made.append(" · ", toFlow(one.flow));
  if (/^https:\/\/modelcontextprotocol\.io\//.test(one.clause)) made.append(" · ", link("clause", one.clause, true));
  return made;
}
