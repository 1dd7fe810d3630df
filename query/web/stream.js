// One live stream for all tabs of a browser: a browser opens six connections to a host, so with a
// stream for each tab the seventh would wait for ever. The feed lives in a shared worker (feed.js), or,
// without one, in one of the tabs, which talk through a BroadcastChannel.

const retryAfter = 3000;      // ms
const forgetAfter = 300000;   // ms: a tab that has been silent for so long is gone
const repeatEvery = 60000;    // ms: how often a tab repeats what it wants
const pollEvery = 10000;      // ms: for tabs whose series do not fit into the stream
const mostSeries = 64;        // that a stream names, and of so many letters
const mostLetters = 30000;
const protocol = 1;           // of the messages: a tab of another version gets another worker

// Feed has the stream. A tab gets messages through its port, {postMessage}:
//   {kind: 'open'}     read the past; from now on, events follow
//   {kind: 'broken'}   there is no stream; another attempt follows
//   {kind: 'lost'}     events are missing: read everything again
//   {kind: 'window', data}, {kind: 'alert', data}
// It sends {kind: 'want', series}, first and then from time to time, and {kind: 'bye'}.
export class Feed {
  constructor() {
    this.tabs = new Map(); // port → {series, heard}
    this.stream = null;    // the open one, or the one being opened
    this.next = null;      // the one that replaces it when it has opened
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

  // wanted are the series of the tabs, newest first, as far as a stream can name them.
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

  // settle changes streams a moment later, once for all changes until then.
  settle() {
    clearTimeout(this.settling);
    this.settling = setTimeout(() => {
      if (this.tabs.size === 0) this.close();
      else this.connect();
    }, 20);
  }

  // connect opens a stream beside the open one, which it replaces once it is open: nothing is missed, and
  // what comes twice is merged.
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
      // The browser tries again by itself, unless weir refused.
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

// follow calls hear with the feed's messages, and returns {want(series)}.
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

// own is a feed for this tab alone.
function own(hear) {
  const feed = new Feed(), port = {postMessage: hear};
  return (message) => feed.receive(port, message);
}

// elect gives the feed to one of the tabs: the one that claimed it last, which claims it again every
// second. Tabs that hear no claim for a while claim it, visible ones first, as a browser slows down the
// timers of the others.
function elect(hear, repeat) {
  const channel = new BroadcastChannel(`weir-${protocol}`);
  const id = `${Math.random()}`.slice(2);
  const here = {postMessage: hear};
  let feed = null, since = 0, owner = '', heard = Date.now() - 2500; // so that the first claim comes soon
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
      stepDown(); // the others no longer hear a claim
      owner = '';
    }
  };
}
