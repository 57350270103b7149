// Runs the browser's verifier on jobs from standard input (a JSON list) and prints what came of each, for test_proof.py.

import { argv, stdin, stdout } from "node:process";

const folder = argv[2];
const load = (name) => import(new URL(`${name}.js`, `file://${folder}/`));
const [proof, bytes, canonical, note, tree] = await Promise.all(
  ["index", "bytes", "canonical", "note", "tree"].map(load),
);
const { unb64, unhex } = bytes;

/** A Storage over a plain object, as a page has in localStorage. `meanwhile` is what another page writes after a read. */
class Kept {
  constructor(held, meanwhile = {}) {
    this.held = held;
    this.meanwhile = meanwhile;
  }
  getItem(name) {
    const found = this.held[name] ?? null;
    Object.assign(this.held, this.meanwhile);
    return found;
  }
  setItem(name, value) {
    this.held[name] = String(value);
  }
  removeItem(name) {
    delete this.held[name];
  }
}

const sumNode = ([count, sums, hash]) => ({ count: BigInt(count), sums: sums.map(BigInt), hash: unhex(hash) });

const operations = {
  receipt: ({ data, pinned, expect }) => proof.verifyReceipt(unb64(data), pinned, { expect }),
  steps: async ({ data, pinned }) => {
    const passed = [];
    const ended = await proof.verifyReceipt(unb64(data), pinned, { passed: (step) => passed.push(step) }).then(
      () => null,
      (failed) => failed.code,
    );
    return { passed, ended, all: proof.STEPS };
  },
  receiptText: ({ text, pinned }) => proof.verifyReceipt(text, pinned),
  promise: ({ data, pinned, expect }) => proof.verifyPromise(unb64(data), pinned, { expect }),
  playCommitment: ({ opening, salt }) => proof.playCommitment(opening, salt),
  founding: async ({ data }) => (await proof.parseFounding(unb64(data))).pin,
  canonical: ({ data }) => canonical.decode(unb64(data)),
  note: async ({ data, keys }) => {
    const known = await Promise.all(keys.map(note.parseVerifierKey));
    return (await note.verified(note.parseNote(unb64(data)), known)).map((key) => key.text);
  },
  inclusion: ({ leaf, index, size, path, root }) =>
    tree.verifyInclusion(unhex(leaf), BigInt(index), BigInt(size), path.map(unhex), unhex(root)),
  consistency: ({ old, oldRoot, size, root, path }) =>
    tree.verifyConsistency(BigInt(old), unhex(oldRoot), BigInt(size), unhex(root), path.map(unhex)),
  sum: ({ kind, commitment, amounts, index, path, root }) =>
    tree.verifySum(kind, unhex(commitment), amounts.map(BigInt), BigInt(index), path.map(sumNode), sumNode(root)),
  pin: ({ options }, storage) => proof.pin({ ...options, storage }),
  recall: ({ options }, storage) => proof.recall({ ...options, storage }),
  forget: ({ options }, storage) => proof.forget({ ...options, storage }),
  latest: ({ options }, storage) => proof.latestHead({ ...options, storage }),
  compare: ({ options, shown }, storage) => proof.compareWithLatest(shown, { ...options, storage }),
  evidence: ({ options }, storage) => proof.keptEvidence({ ...options, storage }),
};

async function run(job) {
  const storage = new Kept(job.storage ?? {}, job.meanwhile);
  const kept = () => (job.storage ? { storage: storage.held } : {});
  try {
    return { held: (await operations[job.op](job, storage)) ?? null, ...kept() };
  } catch (failed) {
    if (failed instanceof proof.ProofRefused) return { refused: failed.code, facts: failed.facts, ...kept() };
    if (failed instanceof proof.NoVerdict) return { unknown: failed.code, facts: failed.facts, ...kept() };
    return { crashed: String(failed?.stack ?? failed), ...kept() };
  }
}

const parts = [];
for await (const part of stdin) parts.push(part);
const outcomes = [];
for (const job of JSON.parse(Buffer.concat(parts).toString())) outcomes.push(await run(job));
stdout.write(JSON.stringify(outcomes));
