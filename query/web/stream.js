// One live stream for all tabs of a browser, which opens six connections to a host: with a
// stream for each tab the seventh would wait for ever. The feed lives in a shared worker
// (feed.js); without one, in one of the tabs, which talk through a BroadcastChannel.

const retryAfter = 3000;      // ms
const forgetAfter = 300000;   // ms: a tab that has not been heard of is gone
const repeatEvery = 60000;    // ms: so often a tab says what it wants
const pollEvery = 10000;      // ms: for tabs whose series the stream has no room for
const mostSeries = 64;        // that a stream names, and of so many letters
const mostLetters = 30000;
const protocol = 1;           // of the messages: a tab of another version gets another worker

// Feed holds the stream. A port is what a tab is told through: {postMessage}. It is told
//   {kind: 'open'}     read the past, for what comes now follows
//   {kind: 'broken'}   there is no stream, and another try follows
//   {kind: 'lost'}     events are missing: read anew
//   {kind: 'window', data}, {kind: 'alert', data}
// and tells {kind: 'want', series} at first and again, and {kind: 'bye'}.
export class Feed {
  constructor() {
    this.tabs = new Map(); // port → {series, heard}
    this.stream = null;    // the open one, or the one that is tried
    this.next = null;      // that takes its place when it opens
    this.live = false;
    this.covered = new Set();
    this.timers = [
      setInterval(() => this.forget(), repeatEvery),
      setInterval(() => this.poll(), pollEvery),
    ];
  }

  attach(port) {
    port.onmessage = (e) => this.receive(port, e.data);
    if (port.start) port.start();
  }

  receive(port, message) {
    if (message.kind === 'bye') {
      this.tabs.delete(port);
      return this.settle();
    }
    const known = this.tabs.get(port);
    this.tabs.set(port, {series: message.series, heard: Date.now()});
    if (known && known.series === message.series) return;
    if (this.live && (!message.series || this.covered.has(message.series))) port.postMessage({kind: 'open'});
    else this.settle();
  }

  forget() {
    const oldest = Date.now() - forgetAfter;
    for (const [port, tab] of this.tabs) if (tab.heard < oldest) this.tabs.delete(port);
    if (this.tabs.size === 0) this.close();
  }

  // wanted is the series of the tabs, the newest first, as far as a stream can name them.
  wanted() {
    const all = new Set();
    let letters = 0;
    for (const {series} of [...this.tabs.values()].reverse()) {
      if (!series || all.has(series)) continue;
      letters += encodeURIComponent(series).length;
      if (all.size === mostSeries || letters > mostLetters) break;
      all.add(series);
    }
    return all;
  }

  poll() {
    if (!this.live) return;
    for (const [port, {series}] of this.tabs) if (series && !this.covered.has(series)) port.postMessage({kind: 'open'});
  }

  // settle changes streams a moment later, once for all that changes meanwhile.
  settle() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      if (this.tabs.size === 0) this.close();
      else this.connect();
    }, 20);
  }

  // connect opens a stream beside the one that is open, which it replaces when it has opened:
  // nothing is missed, and what comes twice is merged.
  connect() {
    const wanted = this.wanted();
    const same = wanted.size === this.covered.size && [...wanted].every((s) => this.covered.has(s));
    if (this.live && same) return;
    if (this.next) this.next.close();
    const query = [...wanted].map((s) => `series=${encodeURIComponent(s)}`).join('&') || 'only=alerts';
    const stream = new EventSource(`live?${query}`);
    this.next = stream;
    stream.onopen = () => {
      if (stream === this.next) {
        if (this.stream) this.stream.close();
        this.next = null;
      } else if (stream !== this.stream) {
        return stream.close();
      }
      const before = this.live && this.stream !== stream ? this.covered : new Set();
      const everybody = !this.live || this.stream === stream;
      this.stream = stream;
      this.live = true;
      this.covered = wanted;
      for (const [port, {series}] of this.tabs) if (everybody || !before.has(series)) port.postMessage({kind: 'open'});
    };
    stream.onerror = () => {
      if (stream === this.stream || !this.live) {
        this.live = false;
        this.tell({kind: 'broken'});
      }
      // The browser tries again by itself unless weir refused.
      if (stream.readyState !== EventSource.CLOSED || stream !== this.stream && stream !== this.next) return;
      if (stream === this.next) this.next = null;
      clearTimeout(this.settling);
      this.settling = setTimeout(() => this.tabs.size && this.connect(), retryAfter);
    };
    const current = () => stream === this.stream || stream === this.next;
    stream.addEventListener('window', (e) => {
      const data = JSON.parse(e.data);
      if (current()) for (const [port, tab] of this.tabs) if (tab.series === data.series) port.postMessage({kind: 'window', data});
    });
    stream.addEventListener('alert', (e) => current() && this.tell({kind: 'alert', data: JSON.parse(e.data)}));
    stream.addEventListener('lost', () => current() && this.tell({kind: 'lost'}));
  }

  tell(message) {
    for (const port of this.tabs.keys()) port.postMessage(message);
  }

  close() {
    clearTimeout(this.settling);
    for (const stream of [this.stream, this.next]) if (stream) stream.close();
    this.stream = this.next = null;
    this.live = false;
    this.covered = new Set();
  }

  end() {
    this.close();
    this.timers.forEach(clearInterval);
    this.tabs.clear();
  }
}

// follow has hear called with what the feed tells, and returns {want(series)}.
export function follow(hear) {
  const link = {series: '', send: null};
  const repeat = () => link.send && link.send({kind: 'want', series: link.series});
  const alone = () => {
    link.send = typeof BroadcastChannel === 'function' ? elect(hear, repeat) : own(hear);
    repeat();
  };
  if (typeof SharedWorker === 'function') {
    try {
      const worker = new SharedWorker('feed.js', {type: 'module', name: `weir-${protocol}`});
      worker.onerror = alone; // it cannot be loaded
      worker.port.onmessage = (e) => hear(e.data);
      worker.port.start();
      link.send = (message) => worker.port.postMessage(message);
    } catch {
      alone();
    }
  } else {
    alone();
  }
  setInterval(repeat, repeatEvery);
  addEventListener('pagehide', () => link.send && link.send({kind: 'bye'}));
  addEventListener('pageshow', (e) => e.persisted && repeat());
  return {want(series) { link.series = series; repeat(); }};
}

// own is a feed of this tab alone.
function own(hear) {
  const feed = new Feed(), port = {postMessage: hear};
  return (message) => feed.receive(port, message);
}

// elect has one of the tabs hold the feed: the one that claimed it last. It claims again
// every second; tabs that hear no claim for a while claim it, those that are seen first, as
// a browser slows the clocks of the others down.
function elect(hear, repeat) {
  const channel = new BroadcastChannel(`weir-${protocol}`);
  const id = `${Math.random()}`.slice(2);
  const here = {postMessage: hear};
  let feed = null, since = 0, owner = '', heard = Date.now() - 2500; // the first claim comes soon
  let others = new Map(); // ports by tab
  const claim = () => channel.postMessage({kind: 'claim', from: id, since});
  const stepDown = () => {
    if (feed) feed.end();
    feed = null;
    others = new Map();
  };
  const take = () => {
    feed = new Feed();
    since = Date.now();
    owner = id;
    claim();
    repeat();
  };
  channel.onmessage = ({data}) => {
    if (data.kind === 'claim') {
      if (feed && (data.since < since || data.since === since && data.from < id)) return claim();
      stepDown();
      heard = Date.now();
      if (owner !== data.from) {
        owner = data.from;
        repeat();
      }
    } else if (data.kind === 'ask') {
      if (feed) claim();
    } else if (data.kind === 'told') {
      if (data.to === id && data.from === owner) hear(data.message);
    } else if (feed && data.to === id) {
      if (!others.has(data.from)) {
        const to = data.from;
        others.set(to, {postMessage: (message) => channel.postMessage({kind: 'told', from: id, to, message})});
      }
      feed.receive(others.get(data.from), data);
      if (data.kind === 'bye') others.delete(data.from);
    }
  };
  channel.postMessage({kind: 'ask', from: id});
  setInterval(() => {
    if (feed) return claim();
    const patience = document.visibilityState === 'visible' ? 3000 : 6000;
    if (Date.now() - heard > patience + Math.random() * 500) take();
  }, 1000 * (0.5 + Math.random() / 2));
  return (message) => {
    if (feed) feed.receive(here, message);
    else if (owner) channel.postMessage({...message, from: id, to: owner});
    if (feed && message.kind === 'bye') {
      stepDown(); // the others hear no claim any more
      owner = '';
    }
  };
}
