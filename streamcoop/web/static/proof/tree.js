/**
 * Merkle trees (RFC 6962, RFC 9162) and Merkle-sum trees, as ledger/merkle.py and ledger/sumtree.py have them.
 *
 * Sizes, indexes and amounts are BigInt: JavaScript's own bitwise operators know 32 bits only.
 */

import { HASH_BYTES, INT64_MAX, concat, same, sha256, u64, unhex, utf8 } from "./bytes.js";
import { ProofRefused } from "./refused.js";

export const EMPTY_ROOT = unhex("e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
/** A tree has fewer than 2^63 leaves, so no path is longer. */
export const PATH_MAX = 63;

const LEAF = Uint8Array.of(0);
const NODE = Uint8Array.of(1);
const COMMITMENT = Uint8Array.of(2);
const SALT_BYTES = 32;

/**
 * @typedef {(level: number, index: bigint) => Promise<Uint8Array>} Subtree
 *   the hash over the full subtree of the leaves from index × 2^level on
 *
 * @typedef {object} SumKind A kind of sum tree: its tag, and what each of a line's amounts is.
 * @property {string} tag
 * @property {readonly string[]} amounts
 *
 * @typedef {object} SumNode A subtree from outside.
 * @property {bigint} count
 * @property {bigint[]} sums
 * @property {Uint8Array} hash
 */

/** @param {Uint8Array} entry */
export const leafHash = (entry) => sha256(LEAF, entry);

/**
 * @param {Uint8Array} left
 * @param {Uint8Array} right
 */
export const nodeHash = (left, right) => sha256(NODE, left, right);

/**
 * The root over the hashes of leaves, or of full subtrees of one size.
 * @param {readonly Uint8Array[]} leaves at least one
 * @returns {Promise<Uint8Array>}
 */
export async function rootOf(leaves) {
  let level = leaves;
  while (level.length > 1) {
    const above = [];
    for (let at = 0; at + 1 < level.length; at += 2) above.push(await nodeHash(level[at], level[at + 1]));
    if (level.length % 2) above.push(level[level.length - 1]);
    level = above;
  }
  return level[0];
}

/**
 * The largest power of two below `size` (at least 2).
 * @param {bigint} size
 */
const split = (size) => 1n << BigInt((size - 1n).toString(2).length - 1);

/** @param {bigint} size */
const isPowerOfTwo = (size) => (size & (size - 1n)) === 0n;

/**
 * The hash over the leaves from `begin` up to `end`, where such a subtree begins.
 * @param {bigint} begin
 * @param {bigint} end
 * @param {Subtree} subtree
 * @returns {Promise<Uint8Array>}
 */
export async function rangeRoot(begin, end, subtree) {
  const size = end - begin;
  if (isPowerOfTwo(size)) {
    const level = size.toString(2).length - 1;
    return subtree(level, begin >> BigInt(level));
  }
  const middle = begin + split(size);
  return nodeHash(await rangeRoot(begin, middle, subtree), await rangeRoot(middle, end, subtree));
}

/**
 * The path of a leaf in the tree of `size` leaves (RFC 6962, 2.1.1).
 * @param {bigint} index below `size`
 * @param {bigint} size
 * @param {Subtree} subtree
 * @returns {Promise<Uint8Array[]>}
 */
export async function inclusionProof(index, size, subtree) {
  const path = [];
  let [begin, end] = [0n, size];
  while (end - begin > 1n) {
    const middle = begin + split(end - begin);
    if (index < middle) {
      path.push(await rangeRoot(middle, end, subtree));
      end = middle;
    } else {
      path.push(await rangeRoot(begin, middle, subtree));
      begin = middle;
    }
  }
  return path.reverse();
}

/**
 * That the tree of `old` leaves is the beginning of the tree of `size` (RFC 6962, 2.1.2). Empty from nothing on.
 * @param {bigint} old at most `size`
 * @param {bigint} size
 * @param {Subtree} subtree
 * @returns {Promise<Uint8Array[]>}
 */
export async function consistencyProof(old, size, subtree) {
  if (old === 0n || old === size) return [];
  const path = [];
  let [begin, end] = [0n, size];
  while (old !== end) {
    const middle = begin + split(end - begin);
    if (old <= middle) {
      path.push(await rangeRoot(middle, end, subtree));
      end = middle;
    } else {
      path.push(await rangeRoot(begin, middle, subtree));
      begin = middle;
    }
  }
  if (begin) path.push(await rangeRoot(begin, end, subtree));
  return path.reverse();
}

/**
 * @param {string} code
 * @param {string} reason
 */
const refuse = (code, reason) => new ProofRefused(code, { reason });

/**
 * Refuses unless `leaf` is at `index` of the tree of this size and root (RFC 9162, 2.1.3.2).
 * @param {Uint8Array} leaf
 * @param {bigint} index
 * @param {bigint} size
 * @param {readonly Uint8Array[]} path
 * @param {Uint8Array} root
 */
export async function verifyInclusion(leaf, index, size, path, root) {
  requireHashes([leaf, root, ...path], "not-in-log");
  if (index < 0n || index >= size) throw refuse("not-in-log", "index");
  let [node, last, found] = [index, size - 1n, leaf];
  for (const sibling of path) {
    if (last === 0n) throw refuse("not-in-log", "path-too-long");
    if (node & 1n || node === last) {
      found = await nodeHash(sibling, found);
      while (!(node & 1n) && node) [node, last] = [node >> 1n, last >> 1n];
    } else {
      found = await nodeHash(found, sibling);
    }
    [node, last] = [node >> 1n, last >> 1n];
  }
  if (last) throw refuse("not-in-log", "path-too-short");
  if (!same(found, root)) throw refuse("not-in-log", "root");
}

/**
 * Refuses unless the tree of `old` leaves is the beginning of that of `size` (RFC 9162, 2.1.4.2).
 * @param {bigint} old
 * @param {Uint8Array} oldRoot
 * @param {bigint} size
 * @param {Uint8Array} root
 * @param {readonly Uint8Array[]} path
 */
export async function verifyConsistency(old, oldRoot, size, root, path) {
  requireHashes([oldRoot, root, ...path], "inconsistent");
  if (old < 0n || old > size) throw refuse("inconsistent", "size");
  if ((old === 0n && !same(oldRoot, EMPTY_ROOT)) || (size === 0n && !same(root, EMPTY_ROOT))) {
    throw refuse("inconsistent", "empty-root");
  }
  if (old === 0n || old === size) {
    if (path.length) throw refuse("inconsistent", "path-too-long");
    if (old === size && !same(oldRoot, root)) throw refuse("inconsistent", "two-roots");
    return;
  }
  const hashes = isPowerOfTwo(old) ? [oldRoot, ...path] : [...path];
  if (!hashes.length) throw refuse("inconsistent", "path-too-short");
  let [node, last] = [old - 1n, size - 1n];
  while (node & 1n) [node, last] = [node >> 1n, last >> 1n];
  let [first, second] = [hashes[0], hashes[0]];
  for (const sibling of hashes.slice(1)) {
    if (last === 0n) throw refuse("inconsistent", "path-too-long");
    if (node & 1n || node === last) {
      first = await nodeHash(sibling, first);
      second = await nodeHash(sibling, second);
      while (!(node & 1n) && node) [node, last] = [node >> 1n, last >> 1n];
    } else {
      second = await nodeHash(second, sibling);
    }
    [node, last] = [node >> 1n, last >> 1n];
  }
  if (last) throw refuse("inconsistent", "path-too-short");
  if (!same(first, oldRoot)) throw refuse("inconsistent", "old-root");
  if (!same(second, root)) throw refuse("inconsistent", "root");
}

/**
 * @param {readonly Uint8Array[]} hashes
 * @param {string} code
 */
function requireHashes(hashes, code) {
  if (hashes.length > PATH_MAX + 2 || hashes.some((one) => one.length !== HASH_BYTES)) throw refuse(code, "hashes");
}

// --- Sums ---

/**
 * What binds to an opening and says nothing of it while the salt is secret.
 * @param {Uint8Array} salt
 * @param {Uint8Array} opening
 * @returns {Promise<Uint8Array>}
 */
export function commitment(salt, opening) {
  if (salt.length !== SALT_BYTES) throw new ProofRefused("malformed", { what: "salt" });
  return sha256(COMMITMENT, salt, opening);
}

/**
 * Refuses unless the line is at `index` under the root, and is all of the root that the path leaves.
 *
 * Each sibling's count is what the shape gives it, and no sum on the way is too large to be one.
 * @param {SumKind} kind
 * @param {Uint8Array} committed the line's commitment
 * @param {readonly bigint[]} amounts the line's amounts
 * @param {bigint} index
 * @param {readonly SumNode[]} path
 * @param {SumNode} root
 */
export async function verifySum(kind, committed, amounts, index, path, root) {
  if (index < 0n || index >= root.count) throw refuse("not-in-sum", "index");
  if (path.length > PATH_MAX) throw refuse("not-in-sum", "path-too-long");
  for (const node of [...path, root]) {
    if (node.hash.length !== HASH_BYTES) throw refuse("not-in-sum", "hashes");
    requireAmounts(kind, node.sums);
  }
  requireAmounts(kind, amounts);
  if (committed.length !== HASH_BYTES) throw refuse("not-in-sum", "hashes");
  const tag = concat(Uint8Array.of(utf8(kind.tag).length), utf8(kind.tag));
  /** @type {SumNode} */
  let found = {
    count: 1n,
    sums: [...amounts],
    hash: await sha256(LEAF, tag, u64(index), committed, ...amounts.map(u64)),
  };
  const siblings = [...path];
  let [place, width, height] = [index, root.count, 0n];
  while (width > 1n) {
    const sibling = place ^ 1n;
    if (sibling < width) {
      const other = siblings.shift();
      if (!other) throw refuse("not-in-sum", "path-too-short");
      const [full, rest] = [1n << height, root.count - (sibling << height)];
      if (other.count !== (full < rest ? full : rest)) throw refuse("not-in-sum", "count");
      found = sibling < place ? await above(tag, other, found) : await above(tag, found, other);
    }
    [place, width, height] = [place >> 1n, (width + 1n) >> 1n, height + 1n];
  }
  if (siblings.length) throw refuse("not-in-sum", "path-too-long");
  const isRoot = found.count === root.count && found.sums.every((sum, at) => sum === root.sums[at]);
  if (!isRoot || !same(found.hash, root.hash)) throw refuse("not-in-sum", "root");
}

/**
 * @param {SumKind} kind
 * @param {readonly bigint[]} amounts
 */
function requireAmounts(kind, amounts) {
  if (amounts.length !== kind.amounts.length) throw refuse("not-in-sum", "amounts");
  if (amounts.some((amount) => amount < 0n)) throw refuse("not-in-sum", "amounts");
  if (amounts.some((amount) => amount > INT64_MAX)) throw new ProofRefused("sum-too-large");
}

/**
 * @param {Uint8Array} tag
 * @param {SumNode} left
 * @param {SumNode} right
 * @returns {Promise<SumNode>}
 */
async function above(tag, left, right) {
  const sums = left.sums.map((sum, at) => sum + right.sums[at]);
  if (sums.some((sum) => sum > INT64_MAX)) throw new ProofRefused("sum-too-large");
  const sides = [left, right].flatMap((side) => [u64(side.count), ...side.sums.map(u64), side.hash]);
  return { count: left.count + right.count, sums, hash: await sha256(NODE, tag, ...sides) };
}
