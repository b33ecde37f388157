// The console: login, navigation, the stream, and the panel that is shown.

import { makeApi } from "./api.js";
import * as charts from "./charts.js";
import { confirm, toast } from "./dialogs.js";
import { el, patch } from "./dom.js";
import { clock } from "./format.js";
import { showLogin } from "./login.js";
import { heading, problemBox } from "./parts.js";
import { hideShell, listenForKeys, showAlerts, showHeader, showNavigation } from "./shell.js";
import { Stream } from "./stream.js";
import { applyTheme } from "./theme.js";

/** Kept by the browser until the tab is closed, and sent to nobody but the proxy. */
const KEPT = "helios.key";
/** Wanted whichever panel is shown: for the bar at the top, and to know that the line is alive. */
const ALWAYS = ["events", "topology", "traffic"];
/** Where a topic's picture is to be had while the stream has not brought one. */
const SNAPSHOTS = {
  topology: "/api/v1/topology",
  pools: "/api/v1/pools",
  migrations: "/api/v1/migration",
  failover: "/api/v1/failover/status",
  circuits: "/api/v1/circuit-breaker/status",
};

class Console {
  constructor(key, about) {
    this.about = about;
    this.api = makeApi(key, () => this.signOut("The proxy does not know this key any more."));
    this.latest = new Map();
    this.notices = [];
    this.state = { name: "connecting" };
    this.shown = null;
    this.stream = new Stream(key, ALWAYS, {
      hello: (hello) => this.greeted(hello),
      message: (topic, data) => this.heard(topic, data),
      state: (state) => this.stateIs(state),
      refused: () => this.signOut("The proxy does not know this key any more."),
    });
  }

  open() {
    this.onhash = () => this.route();
    addEventListener("hashchange", this.onhash);
    this.ticking = setInterval(() => this.state.name === "lost" && this.refreshAlerts(), 1000);
    this.stream.connect();
    this.route();
  }

  // -- the stream ------------------------------------------------------------------------------------------------

  async greeted(hello) {
    if (hello.started_at === this.about.started_at) {
      if (this.state.name === "lost") this.resumed(hello);
      return;
    }
    this.latest.clear();
    this.stream.forget();
    this.notices.push(
      `The proxy was restarted at ${clock(hello.started_at)}. Events and figures from before are gone.`,
    );
    this.about = await this.api("GET", "/api/v1/console");
    this.route(true);
  }

  /** The connection is back, and the panel may have missed something that is not sent again. */
  resumed(hello) {
    if (hello.missed) this.notices.push(`${hello.missed} events are not kept any more, and were missed.`);
    if (this.shown?.handle === null) this.route(true); // its script could not be loaded meanwhile
    else this.shown?.handle.resumed?.();
  }

  heard(topic, data) {
    if (data === null) return; // a process that has just begun has no traffic yet
    this.latest.set(topic, data);
    this.tell(topic, data);
    if (topic === "topology") this.refreshHeader();
  }

  tell(topic, data) {
    if (!this.shown?.topics.includes(topic)) return;
    try {
      this.shown.handle.update(topic, data);
    } catch (error) {
      console.error(error); // a panel that cannot show something must not end the stream
    }
  }

  stateIs(state) {
    this.state = state;
    this.refreshHeader();
    this.refreshAlerts();
  }

  refreshHeader() {
    const topology = this.latest.get("topology") ?? null;
    showHeader({ console: this.about, topology, state: this.state, signOut: () => this.signOut() });
  }

  refreshAlerts() {
    const { state, notices } = this;
    const dismiss = (at) => {
      notices.splice(at, 1);
      this.refreshAlerts();
    };
    showAlerts({ state, notices, retry: () => this.stream.retryNow(), dismiss });
  }

  // -- panels ----------------------------------------------------------------------------------------------------

  async route(again = false) {
    const { name, params } = this.place();
    if (!again && this.shown?.name === name && this.shown.handle?.route) return this.shown.handle.route(params);
    this.close();
    const entry = this.about.panels.find((each) => each.name === name);
    const shown = { name, topics: [], handle: null };
    this.shown = shown;
    showNavigation(this.about.panels, name);
    this.refreshHeader();
    this.refreshAlerts();
    document.title = `${entry.title} · helios_trio`;
    await this.mount(entry, shown, params);
  }

  async mount(entry, shown, params) {
    const main = document.getElementById("main");
    try {
      const panel = await load(entry.name);
      if (this.shown !== shown) return; // somebody has gone on to another one meanwhile
      const root = el("div", { class: `panel panel-${entry.name}` });
      shown.topics = panel.topics ?? [];
      this.choose(shown.topics);
      shown.handle = panel.mount(root, this.context(params));
      main.replaceChildren(root);
      await this.supply(shown);
    } catch (error) {
      main.replaceChildren(heading(entry.title), problemBox(error));
    }
  }

  /** Topics that nobody asks for any more grow old: their pictures are not kept. */
  choose(topics) {
    const wanted = [...new Set([...ALWAYS, ...topics])];
    for (const topic of this.latest.keys()) {
      if (!wanted.includes(topic)) this.latest.delete(topic);
    }
    this.stream.choose(wanted);
  }

  /** What there is for a panel already, and from the API what there is not. */
  async supply(shown) {
    for (const topic of shown.topics) {
      if (this.latest.has(topic)) this.tell(topic, this.latest.get(topic));
    }
    const missing = shown.topics.filter((topic) => topic in SNAPSHOTS && !this.latest.has(topic));
    await Promise.all(missing.map((topic) => this.ask(topic)));
  }

  async ask(topic) {
    try {
      const found = await this.api("GET", SNAPSHOTS[topic]);
      if (!this.latest.has(topic)) this.heard(topic, found);
    } catch (error) {
      if (error.status !== 404) toast(error.message, "bad"); // 404: it is switched off
    }
  }

  context(params) {
    return {
      api: this.api,
      role: this.about.role,
      who: this.about.who,
      params,
      latest: (topic) => this.latest.get(topic),
      has: (name) => this.about.panels.some((each) => each.name === name),
      confirm,
      toast,
      el,
      charts,
      go,
    };
  }

  /** The panel and its parameters by the address; what is not there leads to the first one. */
  place() {
    const [path, query = ""] = location.hash.replace(/^#\/?/, "").split("?");
    const known = this.about.panels.some((each) => each.name === path);
    return {
      name: known ? path : this.about.panels[0].name,
      params: Object.fromEntries(new URLSearchParams(query)),
    };
  }

  step(by) {
    const names = this.about.panels.map((each) => each.name);
    const at = names.indexOf(this.place().name);
    go(names[(at + by + names.length) % names.length]);
  }

  close() {
    this.shown?.handle?.unmount?.();
    this.shown = null;
  }

  signOut(why = "") {
    sessionStorage.removeItem(KEPT);
    removeEventListener("hashchange", this.onhash);
    clearInterval(this.ticking);
    this.stream.stop();
    this.close();
    current = null;
    document.querySelectorAll("dialog").forEach((dialog) => dialog.close());
    hideShell();
    enter(why);
  }
}

/** The panel's script; throws an Error that can be shown. */
async function load(name) {
  try {
    return (await import(`./panels/${name}.js`)).default;
  } catch (error) {
    if (!(error instanceof TypeError)) throw error; // what browsers throw when it could not be fetched
    throw new Error("This panel has not been loaded before, and the proxy cannot be reached now.");
  }
}

let current = null;

function go(panel, params = {}) {
  const query = new URLSearchParams(params).toString();
  location.hash = `#/${panel}${query ? `?${query}` : ""}`;
}

/** With the key that is kept, or with one that is asked for. */
async function enter(why = "") {
  const key = sessionStorage.getItem(KEPT);
  if (key === null) return showLogin(document.getElementById("main"), why, open);
  try {
    await open(key);
  } catch (error) {
    if (error.status === 401) sessionStorage.removeItem(KEPT);
    showLogin(document.getElementById("main"), error.message, open);
  }
}

/** Throws a Problem: the key is not known, or nobody answers. */
async function open(key) {
  const about = await makeApi(key, () => {})("GET", "/api/v1/console");
  sessionStorage.setItem(KEPT, key);
  current = new Console(key, about);
  current.open();
}

function skipToContent(event) {
  event.preventDefault();
  document.getElementById("main").focus();
}

applyTheme();
document.getElementById("skip").addEventListener("click", skipToContent);
listenForKeys((by) => current?.step(by));
patch(document.getElementById("main"));
enter();
