// Numbers and times for people.

const whole = new Intl.NumberFormat('en');
const oneDigit = new Intl.NumberFormat('en', { maximumFractionDigits: 1 });
const clock = new Intl.DateTimeFormat('en-GB', { hour: '2-digit', minute: '2-digit', second: '2-digit' });

export const count = (number) => whole.format(Math.round(number));

/** Few digits: 0.4, 7.3, 512, 3,450, 12.3 k, 4.5 M. */
export function short(number) {
  if (number < 10) return oneDigit.format(number);
  if (number < 9_999.5) return whole.format(Math.round(number));
  return scaled(number, ['', 'k', 'M', 'G', 'T']);
}

/** Octets in powers of 1000: 512 B, 1.5 kB, 20.8 MB. */
export const octets = (number) => (number < 999.5 ? `${Math.round(number)} B` : scaled(number, ['B', 'kB', 'MB', 'GB', 'TB', 'PB']));

/** Bits of so many octets: 512 bit, 1.5 kbit, 20.8 Mbit. */
export const bits = (number) => (number * 8 < 999.5 ? `${Math.round(number * 8)} bit` : scaled(number * 8, ['bit', 'kbit', 'Mbit', 'Gbit', 'Tbit']));

function scaled(number, units) {
  let unit = 0;
  let value = number;
  while (value >= 999.5 && unit < units.length - 1) {
    value /= 1000;
    unit += 1;
  }
  const digits = value < 99.95 ? oneDigit.format(value) : whole.format(Math.round(value));
  return `${digits} ${units[unit]}`;
}

export const percent = (share) => {
  if (share === 0) return '0 %';
  if (share < 0.001) return '< 0.1 %';
  return `${oneDigit.format(share * 100)} %`;
};

/** A duration in milliseconds. */
export function duration(millis) {
  if (millis === 0) return '0';
  if (millis < 1) return `${Math.round(millis * 1000)} µs`;
  if (millis < 1000) return `${oneDigit.format(millis)} ms`;
  if (millis < 60_000) return `${(millis / 1000).toFixed(millis < 10_000 ? 2 : 1)} s`;
  return span(millis / 1000);
}

/** A longer duration in seconds, in its two largest units. */
export function span(seconds) {
  const all = Math.max(0, Math.round(seconds));
  const [days, hours, minutes] = [Math.floor(all / 86_400), Math.floor(all / 3600) % 24, Math.floor(all / 60) % 60];
  if (days) return hours && days < 30 ? `${days} d ${hours} h` : `${days} d`;
  if (hours) return `${hours} h ${minutes} min`;
  if (minutes) return minutes < 5 && all % 60 ? `${minutes} min ${all % 60} s` : `${minutes} min`;
  return `${all} s`;
}

/** The page has one clock: this machine's local time, whose zone it names. */
export const time = (millis) => clock.format(new Date(millis));

/** `UTC+1`, `UTC−3:30`, as it was or is at that moment. */
export function zone(millis) {
  const minutes = -new Date(millis).getTimezoneOffset();
  if (minutes === 0) return 'UTC';
  const [hours, rest] = [Math.floor(Math.abs(minutes) / 60), Math.abs(minutes) % 60];
  return `UTC${minutes < 0 ? '−' : '+'}${hours}${rest ? `:${String(rest).padStart(2, '0')}` : ''}`;
}

/** Date and time in full, with the digits of a second that are given. */
export function fullTime(millis, fraction = '') {
  const date = new Date(millis);
  const two = (number) => String(number).padStart(2, '0');
  const day = `${date.getFullYear()}-${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  return `${day} ${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}${fraction && `.${fraction}`} ${zone(millis)}`;
}

export const plural = (number, one, many = `${one}s`) => `${count(number)} ${number === 1 ? one : many}`;

/** Where a protocol has none, exporters send zeros, or ICMP's type and code. */
export const hasPorts = (transport) => ['tcp', 'udp', 'dccp', 'sctp', 'udplite', undefined, null].includes(transport);

export const endpoint = (address, port) => {
  if (!address) return port == null ? '–' : `:${port}`;
  if (port == null) return address;
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
};

// What the ports that everyone knows are for, with the protocol they are known by.
const SERVICES = {
  tcp: { 20: 'ftp-data', 21: 'ftp', 22: 'ssh', 23: 'telnet', 25: 'smtp', 53: 'dns', 80: 'http', 88: 'kerberos', 110: 'pop3', 139: 'netbios', 143: 'imap', 179: 'bgp', 389: 'ldap', 443: 'https', 445: 'smb', 465: 'smtps', 514: 'rsh', 587: 'submission', 636: 'ldaps', 853: 'dns over tls', 873: 'rsync', 993: 'imaps', 995: 'pop3s', 1433: 'mssql', 1883: 'mqtt', 2049: 'nfs', 3128: 'proxy', 3306: 'mysql', 3389: 'rdp', 5060: 'sip', 5432: 'postgresql', 5900: 'vnc', 6379: 'redis', 8080: 'http', 8443: 'https', 9092: 'kafka', 9100: 'printer', 10514: 'syslog', 27017: 'mongodb' },
  udp: { 53: 'dns', 67: 'dhcp', 68: 'dhcp', 69: 'tftp', 123: 'ntp', 137: 'netbios', 161: 'snmp', 162: 'snmp trap', 443: 'quic', 500: 'ike', 514: 'syslog', 1194: 'openvpn', 1812: 'radius', 2055: 'netflow', 3478: 'stun', 4500: 'ipsec', 4739: 'ipfix', 5060: 'sip', 5353: 'mdns', 6343: 'sflow', 51820: 'wireguard' },
};

export const service = (transport, port) => SERVICES[transport]?.[port];

/** `tcp/443 https`, `icmp`. */
export function protocol(transport, port) {
  if (!transport) return '–';
  const name = service(transport, port);
  return `${transport}${port == null ? '' : `/${port}`}${name ? ` ${name}` : ''}`;
}
