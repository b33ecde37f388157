// Builds and patches DOM nodes. Names and texts of databases, users and applications are whatever a client likes them
// to be: they only ever become text nodes or attributes from a short list, never markup.

const SVG = "http://www.w3.org/2000/svg";
const KEY = Symbol("key");
const HANDLERS = Symbol("handlers");
/** What people change by themselves, which a newer picture must not undo. */
const OWN = { DETAILS: ["open"], DIALOG: ["open"], OPTION: ["selected"], INPUT: ["value", "checked"] };
const FORBIDDEN = new Set(["style", "srcdoc", "src"]);

/**
 * An HTML element. `props`: attributes; `onclick` and the like take functions; `key` tells siblings apart when the
 * element is patched; null, undefined and false leave an attribute out, true makes it empty.
 */
export function el(tag, props = {}, ...children) {
  return build(document.createElement(tag), props, children);
}

/** The same for SVG. */
export function svg(tag, props = {}, ...children) {
  return build(document.createElementNS(SVG, tag), props, children);
}

function build(node, props, children) {
  for (const [name, value] of Object.entries(props ?? {})) {
    setProperty(node, name, value);
  }
  append(node, children);
  return node;
}

function setProperty(node, name, value) {
  if (value === null || value === undefined || value === false) return;
  if (name === "key") node[KEY] = String(value);
  else if (name.startsWith("on")) listen(node, name.slice(2), value);
  else node.setAttribute(name, checked(name, value));
}

function checked(name, value) {
  const text = value === true ? "" : String(value);
  const leadsAway = name === "href" && !text.startsWith("#");
  if (FORBIDDEN.has(name) || leadsAway) throw new Error(`the attribute ${name}="${text}" is not allowed`);
  return text;
}

/** Handlers are looked up when something happens, so that a patch can exchange them. */
function listen(node, type, handler) {
  node[HANDLERS] ??= {};
  if (!(type in node[HANDLERS])) node.addEventListener(type, dispatch);
  node[HANDLERS][type] = handler;
}

function dispatch(event) {
  return event.currentTarget[HANDLERS]?.[event.type]?.(event);
}

function append(node, children) {
  for (const child of children.flat(Infinity)) {
    if (child === null || child === undefined || child === false || child === true) continue;
    node.append(child instanceof Node ? child : String(child));
  }
}

/**
 * Makes the children of `parent` like `children` with as few changes as possible: the focus, a selection, the place
 * something was scrolled to and what was typed all stay.
 */
export function patch(parent, ...children) {
  const wanted = document.createDocumentFragment();
  append(wanted, children);
  patchChildren(parent, wanted);
}

function patchChildren(parent, wanted) {
  const keyed = new Map();
  for (const node of parent.childNodes) {
    if (node[KEY] !== undefined) keyed.set(node[KEY], node);
  }
  let place = parent.firstChild;
  for (const next of [...wanted.childNodes]) {
    const match = matching(next, place, keyed);
    if (match === null) {
      parent.insertBefore(next, place);
      continue;
    }
    if (match === place) place = place.nextSibling;
    else parent.insertBefore(match, place);
    patchNode(match, next);
  }
  while (place !== null) {
    const gone = place;
    place = place.nextSibling;
    gone.remove();
  }
}

/** The node there is that can be made into `next`; one with a key is found wherever it stands. */
function matching(next, place, keyed) {
  if (next[KEY] !== undefined) {
    const found = keyed.get(next[KEY]) ?? null;
    keyed.delete(next[KEY]);
    return found !== null && found.nodeName === next.nodeName ? found : null;
  }
  return place !== null && place[KEY] === undefined && place.nodeName === next.nodeName ? place : null;
}

function patchNode(node, next) {
  if (node.nodeType === Node.TEXT_NODE) {
    if (node.data !== next.data) node.data = next.data;
    return;
  }
  patchAttributes(node, next);
  patchHandlers(node, next);
  patchChildren(node, next);
}

function patchAttributes(node, next) {
  const own = OWN[node.nodeName] ?? [];
  for (const { name } of [...node.attributes]) {
    if (!next.hasAttribute(name) && !own.includes(name)) node.removeAttribute(name);
  }
  for (const { name, value } of next.attributes) {
    if (node.getAttribute(name) !== value && !own.includes(name)) node.setAttribute(name, value);
  }
}

function patchHandlers(node, next) {
  for (const type of Object.keys(node[HANDLERS] ?? {})) {
    if (!(type in (next[HANDLERS] ?? {}))) node[HANDLERS][type] = undefined;
  }
  for (const [type, handler] of Object.entries(next[HANDLERS] ?? {})) listen(node, type, handler);
}
