// SPDX-License-Identifier: AGPL-3.0-or-later
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {Time} from "@openzeppelin/contracts/utils/types/Time.sol";

import {IEpochAnchor} from "./IEpochAnchor.sol";

/// @title EpochAnchor
/// @notice {IEpochAnchor} is the specification.
contract EpochAnchor is AccessControl, IEpochAnchor {
    /* CONSTANTS AND IMMUTABLES */

    /// @inheritdoc IEpochAnchor
    bytes32 public constant ANCHORER_ROLE = keccak256("ANCHORER_ROLE");

    /// @inheritdoc IEpochAnchor
    bytes32 public immutable originHash;

    /* STORAGE */

    uint64[] private _epochs;
    mapping(uint64 epoch => Anchor) private _anchorOf;

    /* CONSTRUCTION */

    /// @param administrator Who grants and revokes the role of anchorer.
    /// @param anchorer The first to have it.
    /// @param originHash_ SHA-256 of the log's origin.
    constructor(address administrator, address anchorer, bytes32 originHash_) {
        if (administrator == address(0)) revert AdministratorMissing();
        if (anchorer == address(0)) revert AnchorerMissing();
        if (originHash_ == 0) revert OriginMissing();
        originHash = originHash_;
        _grantRole(DEFAULT_ADMIN_ROLE, administrator);
        _grantRole(ANCHORER_ROLE, anchorer);
    }

    /* ONLY ANCHORER FUNCTIONS */

    /// @inheritdoc IEpochAnchor
    function anchor(uint64 epoch, uint64 size, bytes32 root, uint64 grossMicro, uint64 royaltiesMicro)
        external
        onlyRole(ANCHORER_ROLE)
    {
        if (size == 0) revert LogEmpty();
        Anchor storage known = _anchorOf[epoch];
        if (known.anchoredAt != 0) {
            bool isSame = known.size == size && known.root == root && known.grossMicro == grossMicro
                && known.royaltiesMicro == royaltiesMicro;
            // Sent twice, it must not seem to have failed.
            if (isSame) return;
            revert AnchoredOtherwise(epoch);
        }
        (uint64 lastEpoch, Anchor memory last) = latest();
        if (last.anchoredAt != 0) {
            if (epoch < lastEpoch) revert EpochNotAscending(epoch, lastEpoch);
            if (size < last.size) revert LogShrunk(size, last.size);
            if (size == last.size && root != last.root) revert LogForked(size);
        }

        _epochs.push(epoch);
        _anchorOf[epoch] = Anchor(size, grossMicro, royaltiesMicro, Time.timestamp(), root);

        emit Anchored(epoch, size, root, grossMicro, royaltiesMicro);
    }

    /* VIEWS */

    /// @inheritdoc IEpochAnchor
    function anchorOf(uint64 epoch) external view returns (Anchor memory) {
        return _anchorOf[epoch];
    }

    /// @inheritdoc IEpochAnchor
    function latest() public view returns (uint64 epoch, Anchor memory anchored) {
        uint256 number = _epochs.length;
        if (number != 0) {
            epoch = _epochs[number - 1];
            anchored = _anchorOf[epoch];
        }
    }

    /// @inheritdoc IEpochAnchor
    function count() external view returns (uint256) {
        return _epochs.length;
    }

    /// @inheritdoc IEpochAnchor
    function epochAt(uint256 index) external view returns (uint64) {
        return _epochs[index];
    }
}
