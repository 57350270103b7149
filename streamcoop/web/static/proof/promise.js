/** Promises as ledger/receipts.py has them: that a play will be in the log, that a vote will be counted. */

import { number, plain } from "./bytes.js";
import { isDigest, isUuid } from "./entries.js";
import { parseNote, verified } from "./note.js";
import { malformed } from "./refused.js";

const PLAY_HEAD = "streamcoop promise v1";
const VOTE_HEAD = "streamcoop vote promise v1";
const ADDRESS = /^0x[0-9a-f]{40}$/;

/**
 * @typedef {object} PlayPromise That a play will be in the log at this price by an instant.
 * @property {"play"} type
 * @property {string} origin
 * @property {string} commitment hexadecimal
 * @property {number} price_micro
 * @property {number} publish_by POSIX seconds
 *
 * @typedef {object} VotePromise That a vote was taken, and will be counted unless its address votes again.
 * @property {"vote"} type
 * @property {string} origin
 * @property {string} ballot
 * @property {string} address lower case
 * @property {string} digest hexadecimal
 * @property {number} nonce
 * @property {number} cast_at POSIX seconds
 * @property {number} publish_by POSIX seconds
 */

/**
 * The promise a note tells; its signatures are another matter.
 * @param {import("./note.js").Note} note
 * @returns {PlayPromise | VotePromise}
 */
export function parsePromise(note) {
  const lines = note.text.split("\n");
  const [head, origin, ...rest] = lines;
  if (lines.length === 6 && head === PLAY_HEAD && isDigest(rest[0])) {
    const [price_micro, publish_by] = numbers(rest.slice(1, 3));
    return { type: "play", origin, commitment: rest[0], price_micro, publish_by };
  }
  if (lines.length === 9 && head === VOTE_HEAD && isUuid(rest[0]) && ADDRESS.test(rest[1]) && isDigest(rest[2])) {
    const [nonce, cast_at, publish_by] = numbers(rest.slice(3, 6));
    return { type: "vote", origin, ballot: rest[0], address: rest[1], digest: rest[2], nonce, cast_at, publish_by };
  }
  throw malformed("promise");
}

/** @param {string[]} lines */
const numbers = (lines) => lines.map((line) => plain(number(line)));

/**
 * A promise that one of these keys signed.
 * @param {Uint8Array} data
 * @param {(origin: string) => Promise<readonly import("./note.js").VerifierKey[]>} keysOf
 * @returns {Promise<PlayPromise | VotePromise>}
 */
export async function checkPromise(data, keysOf) {
  const note = parseNote(data);
  const told = parsePromise(note);
  await verified(note, await keysOf(told.origin));
  return told;
}
