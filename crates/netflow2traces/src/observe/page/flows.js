// The latest records, and the conversations.

import { byId, foldEnds, isInUse, make, makeRow, setText, steady, syncRows } from './dom.js';
import { count, duration, endpoint, fullTime, hasPorts, octets, percent, plural, protocol, service, short, span, time, zone } from './format.js';

/** Rows of the table of records. */
const MAX_ROWS = 40;
/** Conversations before "Show more". */
const FEW = 8;

const body = byId('records').tBodies[0];
let latest = [];
let newer = 0;
let isPaused = false;
let counts = null;
let hasFilter = false;
let openTrace = () => {};
let filterBy = () => {};

export const onTrace = (open) => {
  openTrace = open;
};

export const onFilter = (filter) => {
  filterBy = filter;
};

byId('pause').addEventListener('click', (event) => {
  isPaused = !isPaused;
  event.currentTarget.setAttribute('aria-pressed', String(isPaused));
  setText(event.currentTarget, isPaused ? 'Continue' : 'Pause');
  draw();
});

/** A table whose rows move under the pointer, or while one has the focus, can't be used. */
const isHeld = () => isPaused || byId('trace').open || isInUse(body);

byId('trace').addEventListener('close', () => draw());
setText(byId('zone'), zone(Date.now()));

body.addEventListener('mouseleave', () => draw());
body.addEventListener('focusout', () => queueMicrotask(draw));

export function forgetRecords(filtered) {
  latest = [];
  counts = null;
  newer = 0;
  hasFilter = filtered;
  body.replaceChildren();
  draw();
}

export function showRecords(look) {
  if (look.counts) counts = look.counts;
  newer += look.counts?.matched ?? 0;
  const known = new Set(latest.map((record) => record.span));
  latest = [...look.records.filter((record) => !known.has(record.span)), ...latest].slice(0, MAX_ROWS);
  draw();
}

function draw() {
  if (!isHeld() || body.rows.length === 0) {
    newer = 0;
    syncRows(body, latest, (record) => record.span, create, () => {});
  }
  byId('records').hidden = latest.length === 0;
  const empty = byId('records-empty');
  empty.hidden = latest.length > 0;
  setText(empty, hasFilter ? 'No record matches so far. New ones are checked as they arrive.' : 'Flow records appear here as they arrive.');
  setText(byId('records-note'), note());
}

function note() {
  if (isPaused) return `paused, ${count(newer)} newer`;
  if (newer > 0 && isHeld()) return `held while you use the table, ${count(newer)} newer`;
  if (!counts || counts.flow_spans === 0) return '';
  const { matched, passed_over: over, flow_spans: all } = counts;
  const looked = over > 0 ? `, ${percent((all - over) / all)} of the spans examined` : '';
  return hasFilter ? `${short(matched)} matching per second${looked}` : `${short(all)} per second${looked}`;
}

function create(record) {
  const row = makeRow('nowrap', 'address', 'address', 'nowrap', 'number', 'number', 'number', 'address', '');
  row.dataset.trace = record.trace;
  const cells = row.cells;
  const port = hasPorts(record.transport) ? [record.source_port, record.destination_port] : [null, null];
  const [source, destination] = [endpoint(record.source, port[0]), endpoint(record.destination, port[1])];
  setText(cells[0], time(record.end));
  cells[0].title = fullTime(record.end);
  cells[1].append(...foldEnds(source));
  cells[2].append(...foldEnds(destination));
  const known = service(record.transport, port[1]) ?? service(record.transport, port[0]);
  cells[3].append(record.transport ?? '–', known ? make('span', { className: 'soft' }, ` ${known}`) : '');
  setText(cells[4], count(record.octets));
  setText(cells[5], count(record.packets));
  if (record.sampling) cells[4].title = cells[5].title = `as exported; the exporter samples one packet in ${count(record.sampling)}`;
  setText(cells[6], duration(record.duration));
  setText(cells[7], record.exporter);
  cells[7].title = interfaces(record);
  cells[8].append(make('button', { className: 'link', 'aria-label': `Trace of the flow from ${source} to ${destination}` }, 'Trace'));
  row.addEventListener('click', () => {
    // Selecting text must not open the trace.
    if (!String(getSelection())) openTrace(record.trace, record.span);
  });
  return row;
}

/** Where the flow came in and went out, by name or ifIndex. */
function interfaces(record) {
  const [input, output] = record.interfaces.map((index, end) => record.interface_names[end] ?? index);
  const parts = [input == null ? '' : `in ${input}`, output == null ? '' : `out ${output}`];
  return parts.filter(Boolean).join(', ');
}

let showAll = false;
let lastConversations = null;
byId('conversations-more').addEventListener('click', () => {
  showAll = !showAll;
  showConversations(lastConversations);
});

export function showConversations(answer) {
  lastConversations = answer;
  const { heaviest, octets: all, seconds, conversations } = answer;
  byId('conversations').hidden = heaviest.length === 0;
  byId('conversations-empty').hidden = heaviest.length > 0;
  const more = byId('conversations-more');
  more.hidden = heaviest.length <= FEW;
  setText(more, showAll ? 'Show fewer' : `Show ${heaviest.length - FEW} more`);
  setText(byId('conversations-note'), heaviest.length ? `${octets(all)} in ${plural(conversations, 'conversation')}, reported in the last ${span(Math.max(1, seconds))}` : '');
  const table = byId('conversations').tBodies[0];
  const key = (row) => `${row.client} ${row.server} ${row.transport} ${row.port}`;
  const shown = steady(table, showAll ? heaviest : heaviest.slice(0, FEW), key);
  const largest = heaviest[0] ? sum(heaviest[0]) : 1;
  const create = (item) => {
    const row = makeRow('address', 'address', 'nowrap', 'number', 'number', 'number', 'bar-cell', '');
    const show = () => filterBy({ address: item.client, peer: item.server, port: item.port ?? '', protocol: item.transport ?? '' });
    row.cells[7].append(make('button', { className: 'link', 'aria-label': `Records of ${item.client} with ${item.server}`, on: { click: show } }, 'Records'));
    row.cells[6].append(make('span', { className: 'bar' }, make('i', { className: 'sent' }), make('i', { className: 'received' })));
    return row;
  };
  syncRows(table, shown, key, create, (row, item) => {
    const about = item.is_estimate ? '≈ ' : '';
    setText(row.cells[0], item.client);
    setText(row.cells[1], item.server);
    setText(row.cells[2], protocol(item.transport, item.port));
    setText(row.cells[3], about + octets(item.from_client));
    setText(row.cells[4], about + octets(item.from_server));
    if (item.is_estimate) row.cells[3].title = row.cells[4].title = 'estimated: the exporter samples packets, or only a share of the spans was examined';
    setText(row.cells[5], percent(all > 0 ? sum(item) / all : 0));
    const [sent, received] = row.cells[6].firstChild.children;
    sent.style.width = `${(item.from_client / largest) * 100}%`;
    received.style.width = `${(item.from_server / largest) * 100}%`;
  });
}

const sum = (item) => item.from_client + item.from_server;
