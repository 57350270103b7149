"""A chain of one machine: py-evm behind JSON-RPC on the loopback interface, kept in one SQLite file.

For development, tests and small co-ops that do not use a public chain yet. It is what a node is to the rest of the
service and nothing more: an address that answers JSON-RPC, chosen by settings.

What it promises:

- Every transaction is mined at once, alone in its block, and is final: there are no reorganisations, so `latest`,
  `safe`, `finalized` and `pending` name the same block. A transaction whose nonce is too high is refused, not queued.
- What was answered is on disk (`synchronous=FULL`). The file is py-evm's own database, so opening it again replays
  nothing and finds the same blocks, whatever happened to the process before.
- A block's time is that of the clock or one second after its parent's, whichever is later. A burst of transactions
  therefore runs ahead of the clock: nothing may compare the two.
- Calls see the block they name, its time included, as on any other node: a contract that refuses to look at the
  present second (ERC-5805) refuses it here too. `evm_mine` adds an empty block.

Run: `python -m streamcoop.embedded.chain --data DIR --port PORT --registrar-key-file FILE --log-origin-file FILE
--officer ADDRESS --officer ADDRESS [--constitution-file FILE]`. When it is ready it writes one line of JSON to standard
output: `rpc_url`, `chain_id`, `membership_contract`, `anchor_contract` and `rate_registry`. SIGTERM and SIGINT end it.
"""
