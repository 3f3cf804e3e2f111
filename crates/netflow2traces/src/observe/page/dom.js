// Elements made of text, never of markup.

export const byId = (id) => document.getElementById(id);

const SVG = 'http://www.w3.org/2000/svg';

function fill(element, properties, children) {
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name === 'on') {
      for (const [event, listener] of Object.entries(value)) element.addEventListener(event, listener);
    } else if (name in element && name !== 'list' && !(element instanceof SVGElement)) {
      element[name] = value;
    } else {
      element.setAttribute(name, value);
    }
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined));
  return element;
}

export const make = (tag, properties, ...children) => fill(document.createElement(tag), properties, children);

export const makeSvg = (tag, properties, ...children) =>
  fill(document.createElementNS(SVG, tag), properties, children);

/** Touches the document only for a change, which is what a screen reader would hear of. */
export function setText(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

/** Rows of a table body by key: rows that stay keep their elements, and with them focus and selection. */
export function syncRows(body, items, keyOf, create, update) {
  const known = new Map([...body.children].map((row) => [row.dataset.key, row]));
  let place = body.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    let row = known.get(key);
    if (row) {
      known.delete(key);
    } else {
      row = create(item);
      row.dataset.key = key;
    }
    update(row, item);
    if (row === place) place = place.nextElementSibling;
    else body.insertBefore(row, place);
  }
  for (const row of known.values()) row.remove();
}

/** Somebody points at it, or works in it by keyboard. */
export const isInUse = (element) => element.matches(':hover') || element.contains(document.activeElement);

/**
 * The items in the order in which the table shows them now, new ones at the end, while somebody uses it: a row that
 * moves away under the pointer can't be used.
 */
export function steady(body, items, keyOf) {
  if (!isInUse(body)) return items;
  const places = new Map([...body.children].map((row, index) => [row.dataset.key, index]));
  const place = (item) => places.get(keyOf(item)) ?? places.size;
  return [...items].sort((one, other) => place(one) - place(other));
}

/** The cells of a new row: a name for each, `number` where figures stand in a column. */
export const makeRow = (...classes) =>
  make('tr', {}, classes.map((name, index) => (index === 0 ? make('th', { scope: 'row', className: name }) : make('td', { className: name }))));

/** Ends of flows, whose ports may stand on the next line: an IPv6 address and its port are too long for a phone. */
export const foldEnds = (text) => text.split(/(?<=\])(?=:\d)/).flatMap((part, index) => (index === 0 ? [part] : [make('wbr', {}), part]));
