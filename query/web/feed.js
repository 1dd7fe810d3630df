// The shared worker with the live stream of all tabs; see stream.js.

import {Feed} from './stream.js';

const feed = new Feed();
self.onconnect = (e) => feed.attach(e.ports[0]);
