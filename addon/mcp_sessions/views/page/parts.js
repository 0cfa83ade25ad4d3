// What the page is made of: elements, links, and requests to the proxy. What comes from the wire is only ever set as text.

/** An element with a class, text and children. */
export function make(kind, name = "", text = "", ...children) {
  const made = document.createElement(kind);
  if (name) made.className = name;
  if (text !== "") made.textContent = text;
  made.append(...children);
  return made;
}

/** A link; to another site it opens a tab of its own. */
export function link(text, href, away = false) {
  const made = make("a", "", text);
  made.href = href;
  if (away) { made.target = "_blank"; made.rel = "noopener noreferrer"; }
  return made;
}

/** A button that does something. */
export function button(text, act, title = "") {
  const made = make("button", "", text);
  made.type = "button";
  if (title) made.title = title;
  made.addEventListener("click", act);
  return made;
}

/** A link to a flow in mitmweb. */
export const toFlow = (id, text = "flow") => link(text, `./#/flows/${encodeURIComponent(id)}/request`);

/** What the proxy answers to a question. */
export async function ask(path) {
  const answer = await fetch(path, { credentials: "same-origin" });
  if (!answer.ok) throw new Error(await answer.text());
  return answer.json();
}

/** Have the proxy do something; it takes it only with the token that its own cookie holds. */
export async function tell(path) {
  const token = /(?:^|; )_(?:mitmproxy_)?xsrf=([^;]*)/.exec(document.cookie)?.[1] ?? "";
  const answer = await fetch(path, { method: "POST", credentials: "same-origin", headers: { "X-XSRFToken": decodeURIComponent(token) } });
  if (!answer.ok) throw new Error((await answer.text()) || answer.statusText);
}
