// The stream of live figures: one WebSocket, opened again for as long as the page is open.

import { ROOT } from "./api.js";

const FIRST_PAUSE = 500;
const LONGEST_PAUSE = 15_000;
/** Traffic comes every second: a line that is silent for so long leads nowhere any more. */
const SILENCE = 10_000;

/** Close codes of the proxy (RFC 6455 leaves 4000 and above to us). */
const WRONG_KEY = 4401;
const REASONS = {
  1001: "The proxy is stopping",
  1008: "The proxy closed the connection: it was sent something it does not know",
  1013: "The proxy closed the connection: too many streams, or this page reads too slowly",
  4408: "The proxy closed the connection: the key came too late",
};

/**
 * `listener`: `{hello(data), message(topic, data, id), state(state), refused()}`. A state is `{name}`, one of
 * "connecting", "live" and "lost"; a lost one has `reason`, `since` and `retryAt` (milliseconds since 1970).
 */
export class Stream {
  constructor(key, topics, listener) {
    this.key = key;
    this.topics = topics;
    this.listener = listener;
    this.lastEventId = null;
    this.available = null;
    this.pause = FIRST_PAUSE;
    this.lostSince = null;
    this.socket = null;
  }

  /** Topics wanted from now on. */
  choose(topics) {
    if (sameWords(topics, this.topics)) return;
    this.topics = topics;
    if (this.available !== null) this.socket.send(JSON.stringify({ topics: this.chosen() }));
  }

  /** Those of the wanted topics that there are: what is switched off has none. */
  chosen() {
    return this.topics.filter((topic) => this.available.includes(topic));
  }

  connect() {
    clearTimeout(this.timer);
    if (this.lostSince === null) this.listener.state({ name: "connecting" });
    const socket = new WebSocket(this.url());
    this.socket = socket;
    // The key is no part of the URL, which ends up in logs.
    socket.onopen = () => socket.send(JSON.stringify({ key: this.key }));
    socket.onmessage = (event) => this.take(JSON.parse(event.data));
    socket.onclose = (event) => this.closed(socket, event.code);
    this.watch(socket);
  }

  url() {
    const url = new URL("api/v1/stream", ROOT);
    url.protocol = url.protocol === "https:" ? "wss:" : "ws:";
    if (this.lastEventId !== null) url.searchParams.set("last_event_id", String(this.lastEventId));
    return url;
  }

  take({ topic, id, data }) {
    this.watch(this.socket);
    if (topic === "hello") return this.greeted(data);
    if (id !== null && id !== undefined) this.lastEventId = id;
    this.listener.message(topic, data, id);
  }

  greeted(hello) {
    this.pause = FIRST_PAUSE;
    this.lostSince = null;
    this.available ??= hello.topics;
    this.lastEventId ??= hello.last_event_id;
    this.listener.hello(hello);
    this.listener.state({ name: "live" });
    this.socket.send(JSON.stringify({ topics: this.chosen() }));
  }

  /** Begin to wait for the next message. */
  watch(socket) {
    clearTimeout(this.silence);
    this.silence = setTimeout(() => {
      socket.onclose = null;
      socket.close();
      this.lost("The proxy has gone silent");
    }, SILENCE);
  }

  closed(socket, code) {
    if (socket !== this.socket) return;
    if (code === WRONG_KEY) {
      this.stop();
      this.listener.refused();
    } else {
      this.lost(
        REASONS[code] ?? (this.lostSince === null ? "The connection was lost" : "The proxy cannot be reached"),
      );
    }
  }

  lost(reason) {
    clearTimeout(this.silence);
    this.available = null;
    this.lostSince ??= Date.now();
    const wait = this.pause * (0.75 + Math.random() / 2); // many pages must not come back in the same moment
    this.pause = Math.min(LONGEST_PAUSE, this.pause * 2);
    this.listener.state({ name: "lost", reason, since: this.lostSince, retryAt: Date.now() + wait });
    this.timer = setTimeout(() => this.connect(), wait);
  }

  /** Events of a process that is gone have ids of their own. */
  forget() {
    this.lastEventId = null;
  }

  /** Do not wait any longer. */
  retryNow() {
    if (this.lostSince === null) return;
    this.pause = FIRST_PAUSE;
    this.socket.onclose = null;
    this.socket.close();
    this.connect();
  }

  stop() {
    clearTimeout(this.timer);
    clearTimeout(this.silence);
    this.socket.onclose = null;
    this.socket.close();
  }
}

function sameWords(one, other) {
  return one.length === other.length && one.every((word) => other.includes(word));
}
