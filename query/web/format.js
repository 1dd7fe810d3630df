// How values and times read, and the only way that text gets into the page:
// element() sets textContent, so labels are never HTML.

export function element(tag, className, text) {
  const e = document.createElement(tag);
  if (className) e.className = className;
  if (text !== undefined) e.textContent = text;
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

// time writes a moment in the reader's own zone, with the day when it is not today.
export function time(ms, withSeconds = true) {
  const t = (withSeconds ? clock : minute).format(ms);
  return new Date(ms).toDateString() === new Date().toDateString() ? t : `${day.format(ms)} ${t}`;
}

const units = [[86400e3, 'd'], [3600e3, 'h'], [60e3, 'min'], [1e3, 's']];

// duration writes a length as people say it: 3 min 20 s, 40 min, 3 d 18 h.
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
