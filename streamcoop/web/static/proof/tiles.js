/** A published log's tree, read a tile at a time (C2SP tlog-tiles), as ledger/tiles.py lays it out. */

import { HASH_BYTES } from "./bytes.js";
import { NoVerdict, malformed } from "./refused.js";
import { rootOf } from "./tree.js";

const HEIGHT = 8;
export const WIDTH = 1 << HEIGHT;
export const ENTRIES = "entries";
const LENGTH_BYTES = 2;

/**
 * @typedef {(path: string) => Promise<Uint8Array>} Read
 *   the bytes of a file of the log; NoVerdict `missing` where there is none
 */

/**
 * Where a tile of a level, or a bundle of entries, is found: `tile/0/x001/x234/067.p/112`.
 * @param {number | "entries"} kind
 * @param {bigint} index
 * @param {number} [width]
 * @returns {string}
 */
export function tilePath(kind, index, width = WIDTH) {
  const groups = [String(index % 1000n).padStart(3, "0")];
  for (let rest = index / 1000n; rest; rest /= 1000n) groups.unshift(`x${String(rest % 1000n).padStart(3, "0")}`);
  return `tile/${kind}/${groups.join("/")}${width === WIDTH ? "" : `.p/${width}`}`;
}

/**
 * How wide a level's tile is in a tree of `size` leaves; 0 where there is none.
 * @param {number} level
 * @param {bigint} index
 * @param {bigint} size
 * @returns {number}
 */
export function widthOf(level, index, size) {
  const rest = (size >> BigInt(HEIGHT * level)) - index * BigInt(WIDTH);
  return rest < 0n ? 0 : Number(rest < BigInt(WIDTH) ? rest : BigInt(WIDTH));
}

/** A published tree of `size` leaves: what proofs are made from. Each tile is read once. */
export class Tiles {
  /** @type {Map<string, Promise<Uint8Array>>} */
  #kept = new Map();
  #read;

  /**
   * @param {bigint} size
   * @param {Read} read
   */
  constructor(size, read) {
    this.size = size;
    this.#read = read;
    /** @type {import("./tree.js").Subtree} */
    this.subtree = async (level, index) => {
      const first = index << BigInt(level % HEIGHT);
      const tile = await this.#tile(Math.floor(level / HEIGHT), first / BigInt(WIDTH));
      const begin = Number(first % BigInt(WIDTH));
      const hashes = [];
      for (let at = begin; at < begin + (1 << level % HEIGHT); at++) {
        hashes.push(tile.subarray(at * HASH_BYTES, (at + 1) * HASH_BYTES));
      }
      return rootOf(hashes);
    };
  }

  /**
   * @param {number} level
   * @param {bigint} index
   * @returns {Promise<Uint8Array>}
   */
  #tile(level, index) {
    const name = `${level} ${index}`;
    const kept = this.#kept.get(name) ?? this.#readTile(level, index);
    this.#kept.set(name, kept);
    return kept;
  }

  /**
   * @param {number} level
   * @param {bigint} index
   * @returns {Promise<Uint8Array>}
   */
  async #readTile(level, index) {
    const width = widthOf(level, index, this.size);
    const { data, path, isWhole } = await readWidest(this.#read, level, index, width);
    if (data.length !== (isWhole ? WIDTH : width) * HASH_BYTES) throw malformed("tile", { path });
    return data.subarray(0, width * HASH_BYTES);
  }

  /**
   * The entries of a bundle, as many as the tree has.
   * @param {bigint} index
   * @returns {Promise<Uint8Array[]>}
   */
  async entries(index) {
    const width = widthOf(0, index, this.size);
    const { data, path, isWhole } = await readWidest(this.#read, ENTRIES, index, width);
    const entries = [];
    let place = 0;
    while (place + LENGTH_BYTES <= data.length) {
      const begin = place + LENGTH_BYTES;
      place = begin + ((data[place] << 8) | data[place + 1]);
      entries.push(data.subarray(begin, place));
    }
    if (place !== data.length || entries.length !== (isWhole ? WIDTH : width)) throw malformed("bundle", { path });
    return entries.slice(0, width);
  }
}

/**
 * The partial file that a size asks for, or the full one that took its place.
 * @param {Read} read
 * @param {number | "entries"} kind
 * @param {bigint} index
 * @param {number} width
 */
async function readWidest(read, kind, index, width) {
  const path = tilePath(kind, index, width);
  try {
    return { data: await read(path), path, isWhole: width === WIDTH };
  } catch (failed) {
    if (!(failed instanceof NoVerdict) || failed.code !== "missing" || width === WIDTH) throw failed;
  }
  const whole = tilePath(kind, index);
  return { data: await read(whole), path: whole, isWhole: true };
}
