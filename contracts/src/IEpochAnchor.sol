// SPDX-License-Identifier: AGPL-3.0-or-later
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";

/// @title The anchors of the co-op's public log
/// @notice At each epoch's close, the head of the log and the totals that were paid by it. Whoever holds a copy of the
/// log can compare: a log that was rewritten later, or that is shown to some in another form, does not fit its anchors.
///
/// @dev What holds at the end of every transaction:
///  - an epoch is anchored once or never, and its anchor is what it was when it was written, for ever;
///  - epochs were anchored in ascending order, not necessarily each one; `anchoredAt` is in that order too;
///  - from one anchor to the next the log's size never shrinks, and where it is the same, so is the root.
///
/// What is assumed:
///  - the anchorer writes heads of the one log whose origin was fixed at construction. The contract cannot tell whether
///    a head extends the one before: that takes the log itself, and its consistency is what auditors check;
///  - the administrator answers for who is an anchorer. An anchorer with a stolen key can write heads that no log has,
///    and shut out honest ones by a far epoch or size, but change no anchor: the co-op then goes on in a new contract.
///
/// What never exists here: a proxy, an initialiser, a way to change or remove an anchor, a payable function, a call to
/// another contract, personal data.
///
/// Epochs, sizes and sums are those of the log's entries: `grossMicro` and `royaltiesMicro` are millionths of the co-op's
/// currency, as the epoch's seal tells them. Times are block timestamps in seconds.
interface IEpochAnchor is IAccessControl {
    /// @notice What was written at an epoch's close. All zero where nothing was: `anchoredAt` of an anchor never is.
    struct Anchor {
        uint64 size;
        uint64 grossMicro;
        uint64 royaltiesMicro;
        uint64 anchoredAt;
        bytes32 root;
    }

    /// @notice The log had `size` entries under `root` when `epoch` was closed, in which artists earned `royaltiesMicro`
    /// of `grossMicro`.
    event Anchored(uint64 indexed epoch, uint64 size, bytes32 root, uint64 grossMicro, uint64 royaltiesMicro);

    /// @notice The administrator given at construction is the zero address.
    error AdministratorMissing();

    /// @notice The anchorer given at construction is the zero address.
    error AnchorerMissing();

    /// @notice The origin's hash given at construction is zero.
    error OriginMissing();

    /// @notice A log with an epoch's seal in it is not empty.
    error LogEmpty();

    /// @notice The epoch is anchored already, with other values.
    error AnchoredOtherwise(uint64 epoch);

    /// @notice A later epoch, `latest`, is anchored already.
    error EpochNotAscending(uint64 epoch, uint64 latest);

    /// @notice The log had `latest` entries at its last anchor and cannot have fewer now.
    error LogShrunk(uint64 size, uint64 latest);

    /// @notice The log of this size had another root at its last anchor.
    error LogForked(uint64 size);

    /// @notice Anchors `epoch`. To repeat it with the same values changes nothing, also once later epochs are anchored.
    /// @dev Anchorer only. Emits {Anchored} where something is written.
    /// Reverts with AccessControlUnauthorizedAccount, {LogEmpty}, {AnchoredOtherwise}, {EpochNotAscending}, {LogShrunk}
    /// or {LogForked}.
    function anchor(uint64 epoch, uint64 size, bytes32 root, uint64 grossMicro, uint64 royaltiesMicro) external;

    /// @notice The role that anchors. Granted and revoked by whoever has DEFAULT_ADMIN_ROLE.
    // solhint-disable-next-line func-name-mixedcase
    function ANCHORER_ROLE() external view returns (bytes32);

    /// @notice SHA-256 of the log's origin, the first line of its checkpoints, in UTF-8. Fixed at construction.
    function originHash() external view returns (bytes32);

    /// @notice The anchor of `epoch`; all zero if it has none.
    function anchorOf(uint64 epoch) external view returns (Anchor memory);

    /// @notice The last anchor and its epoch; all zero if there is none.
    function latest() external view returns (uint64 epoch, Anchor memory anchored);

    /// @notice How many epochs are anchored.
    function count() external view returns (uint256);

    /// @notice The epoch that was anchored as number `index`, counted from 0.
    /// @dev Reverts with Panic(0x32) from `count()` on.
    function epochAt(uint256 index) external view returns (uint64);
}
