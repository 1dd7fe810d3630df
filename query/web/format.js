// How values and times are written, and the only way in which text gets into the page: element() and
// write() set textContent, so labels are never HTML. Invisible characters of a label, and those that
// change the reading order, are shown by name.

// Control characters, direction marks and overrides, and other invisible characters.
const unseen = /[\u0000-\u001f\u007f-\u009f\u00ad\u034f\u061c\u115f\u1160\u17b4\u17b5\u180b-\u180f\u200b-\u200f\u2028-\u202e\u2060-\u206f\u3164\ufe00-\ufe0f\ufeff\uffa0\ufff0-\ufffb\u{e0000}-\u{e0fff}]/gu;

function nameOf(c) {
  const code = c.codePointAt(0);
  if (code < 0x100) return {10: '\\n', 9: '\\t', 13: '\\r'}[code] || `\\x${code.toString(16).padStart(2, '0')}`;
  return `\\u{${code.toString(16)}}`;
}

// shown is text as the page may show it, cut to at most so many characters.
export function shown(text, most = 300) {
  const all = String(text);
  const cut = all.length > most ? `${all.slice(0, most).replace(/[\ud800-\udbff]$/, '')}…` : all;
  return cut.replace(unseen, nameOf).replace(/(\p{M}{4})\p{M}+/gu, '$1…'); // and no piles of accents
}

// write sets the element's text, and its tooltip to more of it if it was too long.
export function write(e, text, most = 300) {
  e.textContent = shown(text, most);
  if (String(text).length > most) e.title = shown(text, 5000);
  else e.removeAttribute('title');
}

export function element(tag, className, text) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) write(e, text);
  return e;
}

const plain = new Intl.NumberFormat(undefined, {maximumSignificantDigits: 4});
const compact = new Intl.NumberFormat(undefined, {notation: 'compact', maximumSignificantDigits: 4});

export function number(v) {
  if (v === null || v === undefined || Number.isNaN(v)) return '–';
  const size = Math.abs(v);
  if (size !== 0 && (size < 1e-4 || size >= 1e15)) return v.toExponential(2);
  return (size < 1e5 ? plain : compact).format(v);
}

const clock = new Intl.DateTimeFormat(undefined, {hour: '2-digit', minute: '2-digit', second: '2-digit', hourCycle: 'h23'});
const minute = new Intl.DateTimeFormat(undefined, {hour: '2-digit', minute: '2-digit', hourCycle: 'h23'});
const day = new Intl.DateTimeFormat(undefined, {day: 'numeric', month: 'short'});

// time writes a moment in the reader's time zone, with the day unless that is today.
export function time(ms, withSeconds = true) {
  const t = (withSeconds ? clock : minute).format(ms);
  return new Date(ms).toDateString() === new Date().toDateString() ? t : `${day.format(ms)} ${t}`;
}

const units = [[86400e3, 'd'], [3600e3, 'h'], [60e3, 'min'], [1e3, 's']];

// duration writes a length of time as people do: 3 min 20 s, 40 min, 3 d 18 h.
export function duration(ms) {
  const i = units.findIndex(([size]) => ms >= size);
  if (i < 0) return '0 s';
  const [size, name] = units[i];
  const n = Math.floor(ms / size);
  if (n >= 10 || i + 1 === units.length) return `${n} ${name}`;
  const [smaller, smallerName] = units[i + 1];
  const m = Math.floor((ms - n * size) / smaller);
  return m ? `${n} ${name} ${m} ${smallerName}` : `${n} ${name}`;
}

// splitSeries splits a series' text into its metric and [name, value] pairs.
export function splitSeries(text) {
  const brace = text.indexOf('{');
  if (brace < 0) return {metric: text, labels: []};
  const labels = [...text.slice(brace).matchAll(/([^{,="]+)="((?:[^"\\]|\\.)*)"/g)].map((m) => [m[1], m[2]]);
  return {metric: text.slice(0, brace), labels};
}

export function chips(list, pairs) {
  list.replaceChildren(...pairs.map(([name, value]) => {
    const li = element('li');
    li.append(element('b', '', name), element('span', '', value));
    return li;
  }));
}
