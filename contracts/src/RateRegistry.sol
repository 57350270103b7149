// SPDX-License-Identifier: AGPL-3.0-or-later
pragma solidity 0.8.37;

import {AccessControl} from "@openzeppelin/contracts/access/AccessControl.sol";
import {Checkpoints} from "@openzeppelin/contracts/utils/structs/Checkpoints.sol";
import {Time} from "@openzeppelin/contracts/utils/types/Time.sol";

import {IRateRegistry} from "./IRateRegistry.sol";

/// @title RateRegistry
/// @notice {IRateRegistry} is the specification.
contract RateRegistry is AccessControl, IRateRegistry {
    using Checkpoints for Checkpoints.Trace208;

    /* CONSTANTS AND IMMUTABLES */

    /// @inheritdoc IRateRegistry
    bytes32 public constant RECORDER_ROLE = keccak256("RECORDER_ROLE");

    uint256 private constant _PARAMETERS = 7;

    /// @inheritdoc IRateRegistry
    uint48 public immutable timelock;

    /* STORAGE */

    // Set at construction and never again: structs cannot be immutable.
    Rates private _lowest;
    Rates private _highest;
    Rates private _stepMax;
    Rates private _founding;

    Decision[] private _decisions;
    /// @dev One more than the index, so that 0 is none.
    mapping(bytes16 ballot => uint256) private _numberOf;
    /// @dev By the second of effect, one more than the index of the last decision that takes effect then.
    Checkpoints.Trace208 private _effects;

    /* CONSTRUCTION */

    /// @param administrator Who grants and revokes the role of recorder.
    /// @param recorder The first to have it.
    /// @param timelock_ Seconds between a decision and its effect.
    /// @param lowest The least that each number may be.
    /// @param highest The most.
    /// @param stepMax The most it may differ from the decision before.
    /// @param founding What holds before any decision: within the bounds.
    constructor(
        address administrator,
        address recorder,
        uint48 timelock_,
        Rates memory lowest,
        Rates memory highest,
        Rates memory stepMax,
        Rates memory founding
    ) {
        if (administrator == address(0)) revert AdministratorMissing();
        if (recorder == address(0)) revert RecorderMissing();
        timelock = timelock_;
        _lowest = lowest;
        _highest = highest;
        _stepMax = stepMax;
        _founding = founding;
        _requireInBounds(founding);
        _grantRole(DEFAULT_ADMIN_ROLE, administrator);
        _grantRole(RECORDER_ROLE, recorder);
    }

    /* ONLY RECORDER FUNCTIONS */

    /// @inheritdoc IRateRegistry
    function decide(bytes16 ballot, bytes32 resultHash, Rates calldata rates) external onlyRole(RECORDER_ROLE) {
        if (ballot == 0) revert BallotMissing();
        if (resultHash == 0) revert ResultMissing();
        uint256 known = _numberOf[ballot];
        if (known != 0) {
            // Sent twice, it must not seem to have failed.
            if (_isSame(_decisions[known - 1], resultHash, rates)) return;
            revert DecidedOtherwise(ballot);
        }
        _requireInBounds(rates);
        _requireOneStep(rates, ratesAt(Time.timestamp()));
        uint256 number = _decisions.length;
        if (number != 0) _requireOneStep(rates, _decisions[number - 1].rates);

        uint48 effectiveAt = Time.timestamp() + timelock;
        _decisions.push(Decision(ballot, Time.timestamp(), effectiveAt, resultHash, rates));
        _numberOf[ballot] = number + 1;
        _effects.push(effectiveAt, uint208(number + 1));

        emit Decided(ballot, resultHash, rates, effectiveAt);
    }

    /* VIEWS */

    /// @inheritdoc IRateRegistry
    function bounds() external view returns (Rates memory lowest, Rates memory highest, Rates memory stepMax) {
        return (_lowest, _highest, _stepMax);
    }

    /// @inheritdoc IRateRegistry
    function ratesAt(uint48 time) public view returns (Rates memory) {
        uint256 number = _effects.upperLookupRecent(time);
        return number == 0 ? _founding : _decisions[number - 1].rates;
    }

    /// @inheritdoc IRateRegistry
    function decisionOf(bytes16 ballot) external view returns (Decision memory decision) {
        uint256 number = _numberOf[ballot];
        if (number != 0) decision = _decisions[number - 1];
    }

    /// @inheritdoc IRateRegistry
    function count() external view returns (uint256) {
        return _decisions.length;
    }

    /// @inheritdoc IRateRegistry
    function decisionAt(uint256 index) external view returns (Decision memory) {
        return _decisions[index];
    }

    /* WHAT MAY BE DECIDED */

    function _requireInBounds(Rates memory rates) private view {
        uint64[_PARAMETERS] memory values = _numbers(rates);
        uint64[_PARAMETERS] memory lowest = _numbers(_lowest);
        uint64[_PARAMETERS] memory highest = _numbers(_highest);
        for (uint256 i = 0; i < _PARAMETERS; ++i) {
            if (values[i] < lowest[i] || values[i] > highest[i]) revert OutOfBounds(Parameter(i), values[i]);
        }
        if (rates.communityCutBp > rates.reserveCutBp) {
            revert CutsNotOrdered(rates.communityCutBp, rates.reserveCutBp);
        }
    }

    function _requireOneStep(Rates memory rates, Rates memory from) private view {
        uint64[_PARAMETERS] memory values = _numbers(rates);
        uint64[_PARAMETERS] memory before = _numbers(from);
        uint64[_PARAMETERS] memory stepMax = _numbers(_stepMax);
        for (uint256 i = 0; i < _PARAMETERS; ++i) {
            uint64 step = values[i] > before[i] ? values[i] - before[i] : before[i] - values[i];
            if (step > stepMax[i]) revert StepTooLarge(Parameter(i), values[i], before[i]);
        }
    }

    function _numbers(Rates memory rates) private pure returns (uint64[_PARAMETERS] memory) {
        return [
            uint64(rates.artistShareBp),
            rates.communityCutBp,
            rates.reserveCutBp,
            rates.firstPriceMicro,
            rates.plays,
            rates.payoutMinimumMinor,
            rates.listenMsMax
        ];
    }

    function _isSame(Decision memory known, bytes32 resultHash, Rates calldata rates) private pure returns (bool) {
        return known.resultHash == resultHash && keccak256(abi.encode(known.rates)) == keccak256(abi.encode(rates));
    }
}
