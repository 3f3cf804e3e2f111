// One trace as a waterfall, and the attributes of the selected span.

import { byId, foldEnds, make, setText } from './dom.js';
import { count, duration, endpoint, fullTime, hasPorts, plural } from './format.js';

/** Rows that a browser shows easily. */
const MAX_ROWS = 400;

const dialog = byId('trace');
let traceUrl = null;
let asked = 0;
let onClose = () => {};

export const setTraceUrl = (url) => {
  traceUrl = url;
};

export const onTraceClosed = (listener) => {
  onClose = listener;
};

byId('trace-close').addEventListener('click', () => dialog.close());
let opener = null;
dialog.addEventListener('close', () => {
  onClose();
  // The row that opened it may have been removed, or the URL opened it.
  const place = opener?.isConnected && opener !== document.body ? opener : byId('records-scroll');
  place.focus({ preventScroll: true });
});
// A click outside.
dialog.addEventListener('click', (event) => {
  if (event.target === dialog) dialog.close();
});

export async function openTrace(trace, span) {
  asked += 1;
  const mine = asked;
  setText(byId('trace-title'), `Trace ${trace.slice(0, 8)}…${trace.slice(-4)}`);
  byId('trace-title').title = trace;
  setText(byId('trace-about'), 'Loading');
  byId('trace-rows').replaceChildren();
  byId('trace-details').replaceChildren();
  byId('trace-body').hidden = false;
  const link = byId('trace-link');
  link.hidden = !traceUrl;
  if (traceUrl) link.href = traceUrl.replaceAll('{trace_id}', trace);
  if (!dialog.open) {
    opener = document.activeElement;
    dialog.showModal();
  }
  let answer;
  try {
    const response = await fetch(`/api/traces/${trace}`);
    answer = response.ok ? await response.json() : { problem: await response.text() };
  } catch {
    answer = { problem: 'The daemon does not answer.' };
  }
  if (mine !== asked || !dialog.open) return;
  byId('trace-body').hidden = Boolean(answer.problem);
  if (answer.problem) setText(byId('trace-about'), answer.problem);
  else show(read(answer), span);
}

/** Spans of an OTLP/JSON request as a tree in rows, times in nanoseconds. */
function read({ resourceSpans }) {
  const spans = [];
  for (const { resource, scopeSpans } of resourceSpans) {
    for (const { spans: some } of scopeSpans ?? []) {
      for (const span of some) {
        spans.push({
          id: span.spanId,
          parent: span.parentSpanId ?? '',
          name: span.name,
          start: BigInt(span.startTimeUnixNano ?? 0),
          end: BigInt(span.endTimeUnixNano ?? 0),
          error: span.status?.code === 2 ? (span.status.message ?? 'error') : null,
          attributes: values(span.attributes),
          resource: values(resource?.attributes),
          children: [],
        });
      }
    }
  }
  const byIds = new Map(spans.map((span) => [span.id, span]));
  const roots = [];
  for (const span of spans) (byIds.get(span.parent)?.children ?? roots).push(span);
  const rows = [];
  const walk = (some, depth) => {
    some.sort((one, other) => (one.start < other.start ? -1 : one.start > other.start ? 1 : 0));
    for (const span of some) {
      rows.push({ ...span, depth });
      walk(span.children, depth + 1);
    }
  };
  walk(roots, 0);
  return rows;
}

const values = (attributes) => new Map((attributes ?? []).map(({ key, value }) => [key, plain(value)]));

function plain(value) {
  if (!value) return '';
  const [kind, content] = Object.entries(value)[0] ?? ['', ''];
  if (kind === 'arrayValue') return (content.values ?? []).map(plain).join(', ');
  return String(content);
}

/** The start and end of the lanes, and how much later the processing spans are if they would be far outside. */
function range(rows) {
  const first = (some) => some.reduce((least, row) => (row.start < least ? row.start : least), some[0].start);
  const last = (some) => some.reduce((most, row) => (row.end > most ? row.end : most), some[0].end);
  const flows = rows.filter(isFlow);
  const work = rows.filter((row) => !isFlow(row));
  if (flows.length && work.length) {
    const [start, end] = [first(flows), last(flows)];
    const later = first(work) - end;
    // Old flows, such as of a replayed capture, would all be slivers.
    if (later > 4n * (end - start) && later > 1_000_000_000n) return [start, end, later];
  }
  return [first(rows), last(rows), 0n];
}

const isFlow = (row) => row.name === 'netflow.flow' || !row.name.startsWith('netflow.');

function show(rows, chosen) {
  const [start, end, later] = range(rows);
  const whole = Number(end - start) || 1;
  const exporter = rows[0].resource.get('netflow.exporter.address');
  const cut = rows.length > MAX_ROWS ? `, the first ${count(MAX_ROWS)} shown` : '';
  const parts = [plural(rows.length, 'span') + cut, `${duration(whole / 1e6)} from ${fullTime(Number(start / 1_000_000n))}`];
  if (later) parts.push(`received ${duration(Number(later) / 1e6)} later`);
  if (exporter) parts.push(`exporter ${exporter}`);
  setText(byId('trace-about'), parts.join(' · '));
  const ticks = [0, 0.25, 0.5, 0.75, 1].map((share) => make('span', {}, duration((whole * share) / 1e6)));
  const axis = make('div', { className: 'row axis-row', 'aria-hidden': 'true' }, make('span', { className: 'name' }), make('span', { className: 'lane ticks' }, ...ticks));
  const list = make('ol', {});
  let first = null;
  for (const row of rows.slice(0, MAX_ROWS)) {
    const item = makeRow(row, start, whole);
    list.append(make('li', {}, item));
    if (row.id === chosen) first = [item, row];
  }
  byId('trace-rows').replaceChildren(axis, list);
  const [item, row] = first ?? [list.firstChild.firstChild, rows[0]];
  choose(item, row);
  item.scrollIntoView({ block: 'center' });
  item.focus({ preventScroll: true });
}

function flowOf({ attributes: all }) {
  const end = (side) => endpoint(all.get(`${side}.address`), hasPorts(all.get('network.transport')) ? all.get(`${side}.port`) : null);
  return `${end('source')} → ${end('destination')}`;
}

function makeRow(row, start, whole) {
  const bar = make('i', { className: `span ${isFlow(row) ? 'flow' : 'work'}${row.error === null ? '' : ' failed'}` });
  const left = Math.min((Number(row.start - start) / whole) * 100, 100);
  const width = Math.min((Number(row.end - row.start) / whole) * 100, 100 - left);
  bar.style.left = `min(${left}%, 100% - 3px)`;
  bar.style.width = `max(3px, ${width}%)`;
  const length = make('span', { className: 'length' }, duration(Number(row.end - row.start) / 1e6));
  // Wherever there is room: after the bar, before it, or on it.
  if (left + width > 80 && left < 20) {
    length.classList.add('inside');
    length.style.left = `calc(${left}% + 6px)`;
  } else if (left + width > 80) length.style.right = `calc(${100 - left}% + 6px)`;
  else length.style.left = `calc(${left + width}% + 6px)`;
  const name = make('span', { className: 'name' }, ...(isFlow(row) ? foldEnds(flowOf(row)) : [row.name]));
  name.style.paddingInlineStart = `${row.depth * 14}px`;
  name.title = row.name;
  const item = make('button', { className: 'row', 'aria-pressed': 'false' }, name, make('span', { className: 'lane' }, bar, length));
  item.addEventListener('click', () => choose(item, row));
  return item;
}

function choose(item, row) {
  for (const other of byId('trace-rows').querySelectorAll('[aria-pressed="true"]')) other.setAttribute('aria-pressed', 'false');
  item.setAttribute('aria-pressed', 'true');
  const parts = [make('h3', { id: 'trace-span' }, row.name)];
  if (row.error !== null) parts.push(make('p', { className: 'last-error' }, row.error));
  const times = new Map([['starts', iso(row.start)], ['ends', iso(row.end)], ['span ID', row.id]]);
  parts.push(table('Times', times), table('Attributes', row.attributes), table('Resource', row.resource));
  byId('trace-details').replaceChildren(...parts.filter(Boolean));
}

function iso(nanos) {
  return fullTime(Number(nanos / 1_000_000n), String(nanos % 1_000_000_000n).padStart(9, '0'));
}

function table(title, map) {
  if (map.size === 0) return null;
  const rows = [...map].map(([key, value]) => make('tr', {}, make('th', { scope: 'row' }, ...foldable(key)), make('td', {}, value)));
  return make('table', { className: 'attributes' }, make('caption', {}, title), make('tbody', {}, ...rows));
}

/** A name that is too long for a line breaks after a dot, not within a word. */
function foldable(key) {
  return key.split(/(?<=\.)/).flatMap((part, index) => (index === 0 ? [part] : [make('wbr', {}), part]));
}
