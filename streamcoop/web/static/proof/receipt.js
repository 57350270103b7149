/**
 * Receipts (C2SP tlog-proof) as ledger/receipts.py has them: that a play, a wallet's line or a payee's part of a split
 * is in the log.
 */

import { HASH_BYTES, b64, find, hex, number, plain, unb64, unhex, unutf8 } from "./bytes.js";
import { decode, isRecord } from "./canonical.js";
import {
  PLAYS_TREE,
  PLAY_KINDS,
  WALLETS_TREE,
  isDigest,
  isInteger,
  isUuid,
  parseEntry,
  payeeOpening,
  playOpening,
  walletOpening,
} from "./entries.js";
import { parseCheckpoint, parseNote, verified } from "./note.js";
import { ProofRefused, malformed } from "./refused.js";
import { PATH_MAX, commitment, leafHash, verifyInclusion, verifySum } from "./tree.js";

/** What is verified of a receipt, in this order. */
export const STEPS = ["signature", "inclusion", "commitment", "sum"];

const HEAD = "c2sp.org/tlog-proof@v1";
const RECEIPT_BYTES_MAX = 1 << 20;
const UINT16_MAX = 0xffff;
const BLANK = [0x0a, 0x0a];
const PLAY_FIELDS = ["play", "listener", "track", "epoch", "ordinal", "kind", "price_micro"];
/** @type {Record<string, string[]>} */
const FIELDS = {
  play: ["type", "entry", "index", "path", "salt", "opening"],
  wallet: ["type", "entry", "index", "path", "salt", "opening", "amounts"],
  payee: ["type", "entry", "salt", "opening"],
};
/** @type {Record<string, string>} */
const ENTRY_KINDS = { play: "plays", wallet: "wallets", payee: "split" };

/**
 * @typedef {object} Proof A tlog-proof whose signatures are not verified yet.
 * @property {Uint8Array} extra
 * @property {bigint} index
 * @property {Uint8Array[]} path
 * @property {import("./note.js").Note} checkpoint
 * @property {import("./note.js").Head} head
 *
 * @typedef {object} ShownHead The signed head that a receipt is under.
 * @property {string} origin
 * @property {number} size
 * @property {string} root base 64
 * @property {string} note all of it, with its signatures
 *
 * @typedef {object} ShownPlay
 * @property {"play"} type
 * @property {number} at the index of the entry
 * @property {import("./entries.js").Entry} entry the public `plays` entry: its `count`, `sum_micro`, `batch`…
 * @property {ShownHead} head
 * @property {string} commitment hexadecimal
 * @property {string} play
 * @property {string} listener
 * @property {string} track
 * @property {number} epoch
 * @property {number} ordinal
 * @property {"play" | "buyout"} kind
 * @property {number} price_micro
 *
 * @typedef {object} ShownWallet
 * @property {"wallet"} type
 * @property {number} at
 * @property {import("./entries.js").Entry} entry the public `wallets` entry
 * @property {ShownHead} head
 * @property {string} commitment
 * @property {string} listener
 * @property {number} epoch
 * @property {number} opening_micro
 * @property {number} in_micro
 * @property {number} spent_micro
 * @property {number} closing_micro
 *
 * @typedef {object} ShownPayee
 * @property {"payee"} type
 * @property {number} at
 * @property {import("./entries.js").Entry} entry the public `split` entry
 * @property {ShownHead} head
 * @property {string} commitment what the log calls her in this split
 * @property {string} payee
 * @property {string} split
 * @property {string} track
 * @property {number} share_bp
 *
 * @typedef {ShownPlay | ShownWallet | ShownPayee} Shown
 */

/**
 * A tlog-proof from its bytes.
 * @param {Uint8Array} data
 * @returns {Proof}
 */
export function parseReceipt(data) {
  if (data.length > RECEIPT_BYTES_MAX) throw new ProofRefused("too-long", { what: "receipt", bytes: data.length });
  const blank = find(data, BLANK);
  if (blank < 0) throw malformed("receipt");
  const told = data.subarray(0, blank);
  if (told.some((byte) => byte > 0x7f)) throw malformed("receipt");
  const lines = unutf8(told, "receipt").split("\n");
  if (lines.shift() !== HEAD) throw malformed("receipt");
  const extra = lines[0]?.startsWith("extra ") ? unb64(lines.shift()?.slice("extra ".length) ?? "") : new Uint8Array();
  const index = lines.shift();
  if (!index?.startsWith("index ")) throw malformed("receipt");
  if (lines.length > PATH_MAX) throw malformed("receipt", { path: lines.length });
  const path = lines.map(unb64);
  if (path.some((one) => one.length !== HASH_BYTES)) throw malformed("receipt");
  const checkpoint = parseNote(data.subarray(blank + BLANK.length));
  const head = parseCheckpoint(checkpoint.text);
  return { extra, index: number(index.slice("index ".length)), path, checkpoint, head };
}

/**
 * What a receipt shows: under the head that one of these keys signed.
 *
 * `passed` is told each of STEPS as soon as it holds, in their order, and what it holds of: where this throws, the next
 * one is what does not.
 * @param {Proof} proof
 * @param {readonly import("./note.js").VerifierKey[]} keys
 * @param {(step: string, facts: Record<string, unknown>) => void} [passed]
 * @returns {Promise<Shown>}
 */
export async function checkReceipt(proof, keys, passed = () => {}) {
  const told = decode(proof.extra);
  const type = told?.type;
  if (typeof type !== "string" || !Object.hasOwn(FIELDS, type)) throw new ProofRefused("unknown-kind", { kind: type });
  if (!isRecord(told, FIELDS[type]) || typeof told.entry !== "string") throw malformed("extra");
  await verified(proof.checkpoint, keys);
  const { origin, size, root } = proof.head;
  passed("signature", { origin });
  const data = unb64(told.entry);
  await verifyInclusion(await leafHash(data), proof.index, proof.head.size, proof.path, proof.head.root);
  passed("inclusion", { at: plain(proof.index), size: plain(size), log: b64(root) });
  const entry = parseEntry(data, ENTRY_KINDS[type]);
  const head = { origin, size: plain(size), root: b64(root), note: proof.checkpoint.whole };
  const found = { at: plain(proof.index), entry, head };
  if (type === "play") return { type, ...found, ...(await checkPlay(told, entry, passed)) };
  if (type === "wallet") return { type, ...found, ...(await checkWallet(told, entry, passed)) };
  return { type: "payee", ...found, ...(await checkPayee(told, entry, passed)) };
}

/**
 * The commitment to a play in hexadecimal, as a promise and a receipt tell it.
 * @param {any} opening with the fields of the service's answer
 * @param {string} salt hexadecimal
 * @returns {Promise<string>}
 */
export async function playCommitment(opening, salt) {
  if (!isRecord(opening, PLAY_FIELDS)) throw malformed("opening");
  const { play, listener, track, epoch, ordinal, kind, price_micro } = opening;
  if (![play, listener, track].every(isUuid) || ![epoch, ordinal, price_micro].every(isInteger)) {
    throw malformed("opening");
  }
  if (typeof kind !== "string" || !Object.hasOwn(PLAY_KINDS, kind)) throw malformed("opening", { field: "kind" });
  if (ordinal <= 0 || ordinal > UINT16_MAX || price_micro < 0) throw malformed("opening");
  return hex(await commitment(saltBytes(salt), playOpening(/** @type {any} */ (opening))));
}

/**
 * @param {Record<string, any>} told
 * @param {import("./entries.js").Entry} entry
 * @param {(step: string, facts: Record<string, unknown>) => void} passed
 */
async function checkPlay(told, entry, passed) {
  const named = await playCommitment(told.opening, told.salt);
  const { play, listener, track, epoch, ordinal, kind, price_micro } = told.opening;
  requireEntry(entry, { track, epoch });
  passed("commitment", { commitment: named });
  await requireLine(PLAYS_TREE, named, [price_micro], told, entry, [entry.sum_micro]);
  passed("sum", { count: entry.count, sum_micro: entry.sum_micro, root: entry.root });
  return { commitment: named, play, listener, track, epoch, ordinal, kind, price_micro };
}

/**
 * @param {Record<string, any>} told
 * @param {import("./entries.js").Entry} entry
 * @param {(step: string, facts: Record<string, unknown>) => void} passed
 */
async function checkWallet(told, entry, passed) {
  const { opening, amounts } = told;
  if (!isRecord(opening, ["listener", "epoch"])) throw malformed("opening");
  const { listener, epoch } = opening;
  if (!isUuid(listener) || !isInteger(epoch)) throw malformed("opening");
  if (!Array.isArray(amounts) || amounts.length !== WALLETS_TREE.amounts.length || !amounts.every(isInteger)) {
    throw malformed("amounts");
  }
  requireEntry(entry, { epoch });
  const [opening_micro, in_micro, spent_micro, closing_micro] = amounts;
  if (BigInt(opening_micro) + BigInt(in_micro) - BigInt(spent_micro) !== BigInt(closing_micro)) {
    throw new ProofRefused("does-not-add-up", { opening_micro, in_micro, spent_micro, closing_micro });
  }
  const named = hex(await commitment(saltBytes(told.salt), walletOpening({ listener, epoch })));
  passed("commitment", { commitment: named });
  const sums = WALLETS_TREE.amounts.map((name) => entry[name]);
  await requireLine(WALLETS_TREE, named, amounts, told, entry, sums);
  passed("sum", { count: entry.count, root: entry.root });
  return { commitment: named, listener, epoch, opening_micro, in_micro, spent_micro, closing_micro };
}

/**
 * @param {Record<string, any>} told
 * @param {import("./entries.js").Entry} entry
 * @param {(step: string, facts: Record<string, unknown>) => void} passed
 */
async function checkPayee(told, entry, passed) {
  const { opening } = told;
  if (!isRecord(opening, ["payee", "split"])) throw malformed("opening");
  const { payee, split } = opening;
  if (!isUuid(payee) || !isUuid(split)) throw malformed("opening");
  const named = hex(await commitment(saltBytes(told.salt), payeeOpening({ payee, split })));
  requireEntry(entry, { split });
  const part = entry.payees.find((/** @type {any} */ share) => share.payee === named);
  if (!part) throw new ProofRefused("not-named", { split });
  passed("commitment", { commitment: named });
  passed("sum", { share_bp: part.share_bp });
  return { commitment: named, payee, split, track: entry.track, share_bp: part.share_bp };
}

/**
 * @param {import("./entries.js").Entry} entry
 * @param {Record<string, unknown>} opened
 */
function requireEntry(entry, opened) {
  for (const [field, value] of Object.entries(opened)) {
    if (entry[field] !== value) throw new ProofRefused("other-entry", { field, expected: value, found: entry[field] });
  }
}

/**
 * @param {import("./tree.js").SumKind} kind
 * @param {string} named the line's commitment
 * @param {number[]} amounts
 * @param {Record<string, any>} told
 * @param {import("./entries.js").Entry} entry
 * @param {number[]} sums the entry's
 */
function requireLine(kind, named, amounts, told, entry, sums) {
  if (!isInteger(told.index) || !Array.isArray(told.path) || told.path.length > PATH_MAX) throw malformed("path");
  const root = { count: BigInt(entry.count), sums: sums.map(BigInt), hash: unhex(entry.root) };
  return verifySum(kind, unhex(named), amounts.map(BigInt), BigInt(told.index), told.path.map(node), root);
}

/**
 * @param {unknown} told
 * @returns {import("./tree.js").SumNode}
 */
function node(told) {
  if (!Array.isArray(told) || told.length !== 3) throw malformed("path");
  const [count, sums, hash] = told;
  if (!isInteger(count) || !Array.isArray(sums) || !sums.every(isInteger) || !isDigest(hash)) throw malformed("path");
  return { count: BigInt(count), sums: sums.map(BigInt), hash: unhex(hash) };
}

/**
 * @param {unknown} salt
 * @returns {Uint8Array}
 */
function saltBytes(salt) {
  if (!isDigest(salt)) throw malformed("salt");
  return unhex(salt);
}
