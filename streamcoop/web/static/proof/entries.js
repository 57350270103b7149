/** The few kinds of entries that receipts and keys stand in, and the openings, as ledger/entries.py has them. */

import { concat, u16, u64, unhex, utf8 } from "./bytes.js";
import { decode, isRecord } from "./canonical.js";
import { ProofRefused, malformed } from "./refused.js";

/** @typedef {Record<string, any>} Entry */

const VERSION = 1;
const PARTS_MAX = 64;
const KEYS_MAX = 8;
const KEY_TEXT_MAX = 4_000;
const BASIS_POINTS = 10_000;

const DIGEST = /^[0-9a-f]{64}$/;
const UUID = /^[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}$/;

/** @type {import("./tree.js").SumKind} */
export const PLAYS_TREE = { tag: "plays", amounts: ["price_micro"] };
/** @type {import("./tree.js").SumKind} */
export const WALLETS_TREE = { tag: "wallets", amounts: ["opening_micro", "in_micro", "spent_micro", "closing_micro"] };
/** @type {Record<string, number>} */
export const PLAY_KINDS = { play: 1, buyout: 2 };

/** @typedef {(value: unknown) => boolean} Check */

/**
 * @param {unknown} value
 * @returns {value is string}
 */
export const isDigest = (value) => typeof value === "string" && DIGEST.test(value);
/**
 * @param {unknown} value
 * @returns {value is string}
 */
export const isUuid = (value) => typeof value === "string" && UUID.test(value);
/**
 * @param {unknown} value
 * @returns {value is number}
 */
export const isInteger = (value) => Number.isSafeInteger(value);

/** @type {Check} */
const isCount = (value) => isInteger(value) && value >= 0;
/** @type {Check} */
const isSome = (value) => isInteger(value) && value > 0;
/** @type {Check} */
const isShare = (value) =>
  isRecord(value, ["payee", "share_bp"]) &&
  isDigest(value.payee) &&
  isCount(value.share_bp) &&
  value.share_bp <= BASIS_POINTS;
/** @type {Check} */
const isKeyText = (value) => typeof value === "string" && [...value].length <= KEY_TEXT_MAX;
/** @type {(of: Check, most: number) => Check} */
const list = (of, most) => (value) =>
  Array.isArray(value) && value.length > 0 && value.length <= most && value.every(of);

/** @type {Record<string, Record<string, Check>>} */
const FORMS = {
  plays: { batch: isSome, epoch: isInteger, track: isUuid, count: isSome, sum_micro: isSome, root: isDigest },
  wallets: {
    epoch: isInteger,
    count: isCount,
    opening_micro: isCount,
    in_micro: isCount,
    spent_micro: isCount,
    closing_micro: isCount,
    root: isDigest,
  },
  split: { split: isUuid, track: isUuid, effective_epoch: isInteger, payees: list(isShare, PARTS_MAX) },
  keys: { keys: list(isKeyText, KEYS_MAX), signatures: list(isKeyText, KEYS_MAX) },
};

/**
 * An entry's fields, if it is of this kind and of its form, to the letter.
 * @param {Uint8Array} data
 * @param {string} kind
 * @returns {Entry}
 */
export function parseEntry(data, kind) {
  const entry = decode(data);
  if (typeof entry !== "object" || entry === null || Array.isArray(entry)) throw malformed("entry");
  if (entry.type !== kind) throw new ProofRefused("other-entry", { field: "type", expected: kind, found: entry.type });
  const form = FORMS[kind];
  if (!isRecord(entry, [...Object.keys(form), "type", "v"]) || entry.v !== VERSION) throw malformed("entry", { kind });
  for (const [field, check] of Object.entries(form)) {
    if (!check(entry[field])) throw malformed("entry", { kind, field });
  }
  return entry;
}

// --- Openings ---

/** @param {string} id */
const uuidBytes = (id) => unhex(id.replaceAll("-", ""));

/**
 * @param {{play: string, listener: string, track: string, epoch: number, ordinal: number, kind: string,
 *   price_micro: number}} opening
 * @returns {Uint8Array}
 */
export const playOpening = ({ play, listener, track, epoch, ordinal, kind, price_micro }) =>
  concat(
    utf8("p"),
    ...[play, listener, track].map(uuidBytes),
    u64(epoch),
    u16(ordinal),
    Uint8Array.of(PLAY_KINDS[kind]),
    u64(price_micro),
  );

/**
 * @param {{listener: string, epoch: number}} opening
 * @returns {Uint8Array}
 */
export const walletOpening = ({ listener, epoch }) => concat(utf8("w"), uuidBytes(listener), u64(epoch));

/**
 * @param {{payee: string, split: string}} opening
 * @returns {Uint8Array}
 */
export const payeeOpening = ({ payee, split }) => concat(utf8("y"), uuidBytes(payee), uuidBytes(split));
