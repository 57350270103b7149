// Compiles the contracts and writes their ABI and bytecode, the only form in which other code reaches them.
//
//   node compile.mjs [folder]      folder: where to write, `abi` beside this file unless given
//
// The same sources and the same package-lock.json give the same bytes on every machine.

import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join, resolve } from "node:path";
import { fileURLToPath } from "node:url";

import solc from "solc";

const HERE = dirname(fileURLToPath(import.meta.url));
const CONTRACTS = ["CoopMembership", "EpochAnchor", "RateRegistry"];
const LIBRARY = "@openzeppelin/contracts";

const SETTINGS = {
  // Cancun is the newest fork that both the embedded test chain and the production chains we know of carry.
  evmVersion: "cancun",
  // Without the hash of the metadata the bytecode depends on nothing but what it does.
  metadata: { bytecodeHash: "none" },
  optimizer: { enabled: true, runs: 200 },
  outputSelection: { "*": { "*": ["abi", "evm.bytecode.object", "evm.deployedBytecode.object"] } },
};

const resolver = createRequire(import.meta.url);

function findImport(path) {
  try {
    const file = path.startsWith(`${LIBRARY}/`) ? resolver.resolve(path) : join(HERE, "src", path);
    return { contents: readFileSync(file, "utf8") };
  } catch (error) {
    return { error: `${path}: ${error.message}` };
  }
}

function compile() {
  const sources = Object.fromEntries(
    CONTRACTS.map((name) => [`${name}.sol`, { content: readFileSync(join(HERE, "src", `${name}.sol`), "utf8") }]),
  );
  const input = JSON.stringify({ language: "Solidity", sources, settings: SETTINGS });
  const output = JSON.parse(solc.compile(input, { import: findImport }));
  // In our own sources a warning is an error; the library's warnings are not ours to mend.
  const complaints = (output.errors ?? []).filter(
    ({ severity, sourceLocation }) => severity === "error" || !sourceLocation?.file.startsWith(`${LIBRARY}/`),
  );
  if (complaints.length > 0) {
    throw new Error(complaints.map((complaint) => complaint.formattedMessage).join("\n"));
  }
  return output.contracts;
}

function sorted(value) {
  if (Array.isArray(value)) return value.map(sorted);
  if (value === null || typeof value !== "object") return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sorted(value[key])]),
  );
}

function artifact(name, output) {
  return {
    abi: output.abi,
    bytecode: `0x${output.evm.bytecode.object}`,
    compiler: {
      library: `${LIBRARY} ${resolver(`${LIBRARY}/package.json`).version}`,
      settings: SETTINGS,
      solc: solc.version(),
    },
    contract: name,
    deployedBytecode: `0x${output.evm.deployedBytecode.object}`,
  };
}

const folder = resolve(process.argv[2] ?? join(HERE, "abi"));
const compiled = compile();
mkdirSync(folder, { recursive: true });
for (const name of CONTRACTS) {
  const json = JSON.stringify(sorted(artifact(name, compiled[`${name}.sol`][name])), null, 2);
  writeFileSync(join(folder, `${name}.json`), `${json}\n`);
}
