// Who follows whom: servers that have the same data are one cluster, and arrows lead from its primary to its standbys.

import { svg } from "./dom.js";
import { bytes, seconds } from "./format.js";

const GUTTER = 14;

/**
 * `{id, leaders, followers, source}` for each set of servers with the same data; the one that takes writes first.
 * `source`: who is followed; undefined: it cannot be told.
 */
export function clustersOf(topology) {
  const clusters = new Map();
  for (const node of topology.nodes) {
    const id = clusterOf(node, topology);
    if (!clusters.has(id)) clusters.set(id, { id, leaders: [], followers: [] });
    clusters.get(id)[isFollower(node) ? "followers" : "leaders"].push(node);
  }
  const found = [...clusters.values()].map(withLeader).map((cluster) => withWriterFirst(cluster, topology));
  return found.sort((one, other) => writes(other, topology) - writes(one, topology));
}

/** A server that has not said whose data it has is shown with the primary: most often it is a standby of it. */
function clusterOf(node, topology) {
  const primary = topology.nodes.find((each) => each.name === topology.primary);
  return node.system_identifier ?? primary?.system_identifier ?? "unknown";
}

function isFollower(node) {
  return node.in_recovery ?? ["standby", "replica"].includes(node.role);
}

function withLeader(cluster) {
  return cluster.leaders.length ? cluster : { ...cluster, leaders: cluster.followers, followers: [] };
}

/** Where there are two primaries, one of them is a former one that has not been made a standby yet. */
function withWriterFirst(cluster, topology) {
  const writer = cluster.leaders.find((node) => node.name === topology.primary);
  const single = cluster.leaders.length === 1 ? cluster.leaders[0] : undefined;
  const others = cluster.leaders.filter((node) => node !== writer);
  return { ...cluster, leaders: writer ? [writer, ...others] : others, source: (writer ?? single)?.name };
}

function writes(cluster, topology) {
  return Number(cluster.leaders.some((node) => node.name === topology.primary));
}

/** How far a standby is behind, in words. */
export function lagOf(node) {
  const size = node.lag_bytes === null ? null : bytes(node.lag_bytes);
  if (node.lag_seconds === null) return size ?? "unknown";
  return [seconds(node.lag_seconds), size].filter(Boolean).join(" · ");
}

/** Draws arrows behind the cards of `map`, again whenever something has changed its place. */
export function connect(map) {
  const picture = svg("svg", { class: "arrows", "aria-hidden": "true" });
  const drawing = new Arrows(map, picture);
  const observer = new ResizeObserver(() => drawing.redraw());
  observer.observe(map);
  return {
    draw: (clusters) => drawing.take(clusters),
    stop: () => observer.disconnect(),
  };
}

class Arrows {
  constructor(map, picture) {
    Object.assign(this, { map, picture, clusters: [] });
  }

  take(clusters) {
    this.clusters = clusters;
    this.redraw();
  }

  redraw() {
    const links = this.clusters.flatMap(linksOf);
    const paths = links.map((link) => this.arrow(link)).filter(Boolean);
    this.picture.replaceChildren(...paths);
    if (this.picture.parentNode === null) this.map.before(this.picture);
  }

  arrow({ from, to, state }) {
    const [start, end] = [this.placeOf(from), this.placeOf(to)];
    if (start === null || end === null) return null;
    const [line, tip] = end.left > start.right ? beside(start, end) : below(start, end);
    return svg(
      "g",
      { class: `arrow ${state}` },
      svg("path", { class: "shaft", d: line }),
      svg("path", { class: "tip", d: tip }),
    );
  }

  /** Where a card is, seen from the corner of the picture. */
  placeOf(name) {
    const card = [...this.map.querySelectorAll("[data-node]")].find((each) => each.dataset.node === name);
    if (card === undefined) return null;
    const [own, place] = [this.map.getBoundingClientRect(), card.getBoundingClientRect()];
    return {
      left: place.left - own.left,
      right: place.right - own.left,
      top: place.top - own.top,
      middle: place.top - own.top + Math.min(place.height / 2, 40),
      bottom: place.bottom - own.top,
    };
  }
}

function linksOf({ source, followers }) {
  if (source === undefined) return [];
  return followers.map((node) => ({ from: source, to: node.name, state: linkState(node) }));
}

/** Connected as its primary says; broken; or nobody has told. */
function linkState(node) {
  if (node.healthy === false) return "broken";
  return node.sync_state ? "streaming" : "untold";
}

/** From the right side of one to the left side of the other. */
function beside(start, end) {
  const half = (start.right + end.left) / 2;
  const tip = `M${end.left - 8} ${end.middle - 4}L${end.left - 1} ${end.middle}L${end.left - 8} ${end.middle + 4}Z`;
  return [
    `M${start.right} ${start.middle}C${half} ${start.middle} ${half} ${end.middle} ${end.left - 7} ${end.middle}`,
    tip,
  ];
}

/** Down along the left side, where cards stand below each other. */
function below(start, end) {
  const x = end.left - GUTTER;
  const tip = `M${end.left - 8} ${end.middle - 4}L${end.left - 1} ${end.middle}L${end.left - 8} ${end.middle + 4}Z`;
  return [`M${start.left} ${start.middle}H${x}V${end.middle}H${end.left - 7}`, tip];
}
