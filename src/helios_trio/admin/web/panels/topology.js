// The servers: who takes writes, who follows whom, how far behind, and how each of them does.

import { segment } from "../api.js";
import { el, patch } from "../dom.js";
import { clock, count, number, utc, words } from "../format.js";
import { badge, carryOut, facts, heading, nothing, order, stats, toneOf } from "../parts.js";
import { clustersOf, connect, lagOf } from "../topology_map.js";

class Topology {
  constructor(root, ctx) {
    this.ctx = ctx;
    this.head = el("div", {});
    this.map = el("div", { class: "map" });
    this.arrows = connect(this.map);
    root.append(this.head, el("div", { class: "map-frame" }, this.map));
    this.traffic = ctx.latest("traffic")?.backends ?? {};
  }

  update(topic, data) {
    if (topic === "traffic") this.traffic = data.backends;
    else this.topology = data;
    if (this.topology) this.draw();
  }

  draw() {
    const { topology } = this;
    patch(this.head, heading("Topology", primaryLine(topology)), problemOf(topology));
    const clusters = clustersOf(topology);
    const shown = clusters.map((cluster) => this.cluster(cluster));
    patch(this.map, shown.length ? shown : nothing("No servers are configured."));
    this.arrows.draw(clusters);
  }

  cluster({ id, leaders, followers }) {
    return el(
      "div",
      { class: "cluster", key: id },
      el(
        "div",
        { class: "leaders" },
        leaders.map((node) => this.card(node)),
      ),
      followers.length > 0 &&
        el(
          "div",
          { class: "followers" },
          followers.map((node) => this.card(node)),
        ),
    );
  }

  card(node) {
    const writes = node.name === this.topology.primary;
    return el(
      "article",
      { class: `card node ${toneOfNode(node)}`, key: node.name, "data-node": node.name, "aria-label": node.name },
      el(
        "header",
        {},
        el("h2", { class: "mono" }, node.name),
        badge(words(node.role)),
        writes && badge("writes", "good"),
        !node.in_service && badge("out of service", "careful"),
      ),
      el(
        "p",
        { class: "state" },
        el("span", { class: `dot ${toneOfHealth(node)}`, "aria-hidden": "true" }),
        stateOf(node),
      ),
      node.deposed && el("p", { class: "state muted" }, `It gets no writes: ${node.deposed}`),
      this.figures(node),
      this.details(node),
      this.orders(node),
    );
  }

  figures(node) {
    const traffic = this.traffic?.[node.name];
    return stats([
      ["Lag", node.in_recovery ? lagOf(node) : null],
      [
        "Circuit",
        node.circuit && (node.circuit === "closed" ? "closed" : badge(words(node.circuit), toneOf(node.circuit))),
      ],
      ["Sessions", el("a", { href: `#/sessions?backend=${segment(node.name)}` }, number(node.sessions))],
      ["Connections", number(node.connections)],
      ["Queries/s", traffic && number(traffic.queries_per_second)],
      ["New sessions go to", node.diverted_to.join(", ")],
    ]);
  }

  details(node) {
    return el(
      "details",
      {},
      el("summary", {}, "Details"),
      facts([
        ["Address", el("span", { class: "mono" }, `${node.host}:${node.port}`)],
        ["PostgreSQL", node.server_version],
        ["Configured as", node.configured_role],
        ["Replication", node.sync_state],
        ["Timeline", node.timeline],
        ["WAL up to", node.lsn && el("span", { class: "mono" }, node.lsn)],
        ["Replayed up to", node.replayed_lsn && el("span", { class: "mono" }, node.replayed_lsn)],
        ["System", node.system_identifier && el("span", { class: "mono" }, node.system_identifier)],
        ["Priority", node.priority],
        ["Region", node.region],
        ["Tags", node.tags.join(", ")],
        [
          "Looked at",
          node.checked_at &&
            el("time", { datetime: node.checked_at, title: utc(node.checked_at) }, clock(node.checked_at)),
        ],
      ]),
    );
  }

  orders(node) {
    const { ctx } = this;
    const path = `/api/v1/nodes/${segment(node.name)}`;
    const check = el("button", { type: "button", onclick: () => this.examine(node.name) }, "Check now");
    if (!ctx.has("migrations")) return el("div", { class: "buttons" }, check);
    return el(
      "div",
      { class: "buttons" },
      check,
      node.in_service
        ? order(ctx, "Take out of service", () => this.ask(`${path}/disable`, leavingOf(node)))
        : order(ctx, "Put into service", () => this.ask(`${path}/enable`, comingOf(node))),
      order(ctx, "Drain", () => this.drain(node), { danger: true }),
    );
  }

  async examine(name) {
    const path = `/api/v1/backends/${segment(name)}/health`;
    await carryOut(
      this.ctx,
      () => this.ctx.api("GET", path),
      (found) => {
        const measured = Object.entries(found.checks).map(([what, value]) => `${words(what)} ${shown(value)}`);
        return [`${name} is ${found.status}`, found.reason, measured.join(", ")].filter(Boolean).join("; ");
      },
      (found) => found.status === "healthy",
    );
  }

  async ask(path, question) {
    const given = await this.ctx.confirm(question);
    if (given) await carryOut(this.ctx, () => this.ctx.api("POST", path, given), question.done);
  }

  async drain(node) {
    const given = await this.ctx.confirm({
      title: `Drain ${node.name}`,
      text:
        `Nobody new gets in, and ${count(node.sessions, "session")} there will be moved to other servers as soon as ` +
        "each of them can be. It stays out of service until it is put back.",
      verb: "Drain",
      danger: true,
    });
    if (given === null) return;
    const path = `/api/v1/backends/${segment(node.name)}/drain`;
    const body = { ...given, wait_for_idle: false };
    await carryOut(
      this.ctx,
      () => this.ctx.api("POST", path, body),
      (found) => `${node.name}: ${count(found.remaining, "session")} left`,
    );
  }
}

function primaryLine(topology) {
  const known = `who is primary is known by: ${topology.provider}`;
  if (topology.primary) return `Writes go to ${topology.primary} (${topology.primary_status}); ${known}.`;
  if (topology.pending_primary)
    return `Writes wait for ${topology.pending_primary}, which is not certain yet; ${known}.`;
  return `No server takes writes; ${known}.`;
}

function problemOf(topology) {
  return topology.provider_problem && el("p", { class: "problem" }, topology.provider_problem);
}

function stateOf(node) {
  if (node.healthy === null) return "not known yet";
  const health = node.healthy ? "healthy" : "unhealthy";
  return node.reason ? `${health}: ${node.reason}` : health;
}

function toneOfHealth(node) {
  if (node.healthy === null) return "plain";
  return node.healthy ? "good" : "bad";
}

function toneOfNode(node) {
  if (node.healthy === false || node.circuit === "open") return "bad";
  return !node.in_service || node.deposed ? "careful" : "";
}

function shown(value) {
  return typeof value === "boolean" ? (value ? "yes" : "no") : number(value);
}

function leavingOf(node) {
  return {
    title: `Take ${node.name} out of service`,
    text: `No new session gets in. ${count(node.sessions, "session")} there stay where they are.`,
    verb: "Take out of service",
    done: `${node.name} is out of service`,
  };
}

function comingOf(node) {
  return {
    title: `Put ${node.name} into service`,
    text: "New sessions may come again.",
    verb: "Put into service",
    done: `${node.name} is in service`,
  };
}

export default {
  topics: ["topology", "traffic"],
  mount(root, ctx) {
    const panel = new Topology(root, ctx);
    return {
      update: (topic, data) => panel.update(topic, data),
      unmount: () => panel.arrows.stop(),
    };
  },
};
