// How much real traffic there is, and of whom: hosts, ports, interfaces and autonomous systems of the last minute.

import { byId, make, makeRow, setText, steady, syncRows } from './dom.js';
import { bits, count, plural, protocol, span } from './format.js';

let narrow = () => {};

export const onNarrow = (filter) => {
  narrow = filter;
};

/** Of each list: where its rows come from, what they are called, and what a click on one asks for. */
const LISTS = [
  {
    id: 'hosts',
    key: (row) => row.address,
    name: (row) => row.address,
    filter: (row) => ({ address: row.address }),
    sides: (row) => [row.sent, row.received],
  },
  {
    id: 'ports',
    key: (row) => `${row.transport} ${row.port}`,
    name: (row) => protocol(row.transport, row.port),
    filter: (row) => ({ port: row.port, protocol: row.transport ?? '' }),
    sides: (row) => [row.to, row.from],
  },
  {
    id: 'interfaces',
    key: (row) => `${row.exporter} ${row.interface}`,
    name: (row) => row.name ?? `ifIndex ${row.interface}`,
    note: (row) => `${row.exporter}${row.name ? `, ifIndex ${row.interface}` : ''}`,
    filter: (row) => ({ exporter: row.exporter, interface: row.interface }),
    sides: (row) => [row.sent, row.received],
  },
  {
    id: 'systems',
    key: (row) => String(row.as),
    name: (row) => `AS${row.as}`,
    note: (row) => row.organization ?? '',
    sides: (row) => [row.sent, row.received],
  },
];

export function showTops(tops) {
  const { seconds, octets: all, records } = tops;
  const isEmpty = records === 0;
  byId('tops-lists').hidden = isEmpty;
  byId('tops-empty').hidden = !isEmpty;
  setText(byId('tops-note'), isEmpty ? '' : `${bits(all / Math.max(1, seconds))}/s in ${plural(records, 'record')} of the last ${span(Math.max(1, seconds))}`);
  for (const list of LISTS) showList(list, tops[list.id], Math.max(1, seconds));
}

function showList(list, rows, seconds) {
  const place = byId(list.id);
  place.parentElement.hidden = rows.length === 0;
  const body = place.tBodies[0];
  const sum = (row) => list.sides(row).reduce((total, side) => total + side, 0);
  const largest = Math.max(1, ...rows.map(sum));
  const create = (row) => {
    const made = makeRow('name', 'number', 'number', 'bar-cell');
    const label = list.filter
      ? make('button', { className: 'link', 'aria-label': `Only ${list.name(row)}`, on: { click: () => narrow(list.filter(row)) } })
      : make('span', {});
    made.cells[0].append(label, make('span', { className: 'soft' }));
    made.cells[3].append(make('span', { className: 'bar' }, make('i', { className: 'sent' }), make('i', { className: 'received' })));
    return made;
  };
  syncRows(body, steady(body, rows, list.key), list.key, create, (made, row) => {
    const [label, note] = made.cells[0].children;
    setText(label, list.name(row));
    setText(note, list.note?.(row) ?? '');
    list.sides(row).forEach((side, index) => {
      setText(made.cells[index + 1], `${bits(side / seconds)}/s`);
      made.cells[index + 1].title = `${count(side)} bytes in ${span(seconds)}`;
      made.cells[3].firstChild.children[index].style.width = `${(side / largest) * 100}%`;
    });
  });
}
