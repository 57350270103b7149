// SPDX-License-Identifier: AGPL-3.0-or-later
pragma solidity 0.8.37;

import {IAccessControl} from "@openzeppelin/contracts/access/IAccessControl.sol";

/// @title What the members decided: the numbers the co-op runs by
/// @notice Each decision of a ballot that changes a number, written once, in order, with the second from which it holds.
/// Everybody can see it before it holds, and what held at any second for ever.
///
/// @dev What holds at the end of every transaction:
///  - decisions are only ever added; each is what it was when it was written;
///  - a ballot has one decision or none;
///  - a decision takes effect `timelock` seconds after it was written. So decisions take effect in the order of writing,
///    of two written in the same second the later holds, and `ratesAt(t)` is final for every t less than `timelock`
///    ahead;
///  - every number of every decision is within its bounds, at most one step from the decision before, and at most one
///    step from what was in force when it was written: to write often takes nobody further than one step a timelock;
///  - the communal cut is never above the reserve cut.
///
/// What is assumed:
///  - the recorder writes what ballots decided. The contract cannot count votes: whoever has the log can, and compares
///    `resultHash`, the SHA-256 of the ballot's entry there. A recorder with a stolen key can write, within bounds and
///    steps, what nobody decided, also in the name of a ballot, whose own decision is then refused; it shows before it
///    holds, and the service adopts only what its own count confirms;
///  - the administrator answers for who is a recorder.
///
/// What never exists here: a proxy, an initialiser, a way to change or remove a decision, the bounds or the timelock, a
/// payable function, a call to another contract, personal data.
///
/// Cuts and shares are basis points, `firstPriceMicro` millionths of a credit, `payoutMinimumMinor` the currency's minor
/// unit. Times are block timestamps in seconds.
interface IRateRegistry is IAccessControl {
    /// @notice The seven numbers that members vote on.
    struct Rates {
        uint16 artistShareBp;
        uint16 communityCutBp;
        uint16 reserveCutBp;
        uint32 firstPriceMicro;
        uint8 plays;
        uint64 payoutMinimumMinor;
        uint32 listenMsMax;
    }

    /// @notice One of them, in the same order.
    enum Parameter {
        ArtistShareBp,
        CommunityCutBp,
        ReserveCutBp,
        FirstPriceMicro,
        Plays,
        PayoutMinimumMinor,
        ListenMsMax
    }

    /// @notice What a ballot decided. All zero where nothing is: `decidedAt` of a decision never is.
    struct Decision {
        bytes16 ballot;
        uint48 decidedAt;
        uint48 effectiveAt;
        bytes32 resultHash;
        Rates rates;
    }

    /// @notice `ballot` decided that `rates` hold from `effectiveAt` on.
    event Decided(bytes16 indexed ballot, bytes32 resultHash, Rates rates, uint48 effectiveAt);

    /// @notice The administrator given at construction is the zero address.
    error AdministratorMissing();

    /// @notice The recorder given at construction is the zero address.
    error RecorderMissing();

    /// @notice A decision is some ballot's.
    error BallotMissing();

    /// @notice A ballot's result is not empty.
    error ResultMissing();

    /// @notice The ballot decided already, with other content.
    error DecidedOtherwise(bytes16 ballot);

    /// @notice The number is outside its bounds.
    error OutOfBounds(Parameter parameter, uint64 value);

    /// @notice The number is more than one step away from `from`, which was decided last or is in force.
    error StepTooLarge(Parameter parameter, uint64 value, uint64 from);

    /// @notice The communal cut is above the reserve cut.
    error CutsNotOrdered(uint16 communityCutBp, uint16 reserveCutBp);

    /// @notice Writes what `ballot` decided: it holds `timelock` seconds from now. To repeat it with the same content
    /// changes nothing, at any time.
    /// @dev Recorder only. Emits {Decided} where something is written.
    /// Reverts with AccessControlUnauthorizedAccount, {BallotMissing}, {ResultMissing}, {DecidedOtherwise},
    /// {OutOfBounds}, {CutsNotOrdered} or {StepTooLarge}.
    function decide(bytes16 ballot, bytes32 resultHash, Rates calldata rates) external;

    /// @notice The role that writes. Granted and revoked by whoever has DEFAULT_ADMIN_ROLE.
    // solhint-disable-next-line func-name-mixedcase
    function RECORDER_ROLE() external view returns (bytes32);

    /// @notice Seconds from a decision's writing to its effect. Fixed at construction.
    function timelock() external view returns (uint48);

    /// @notice The lowest and the highest each number may be, and the most it may move at once. Fixed at construction.
    function bounds() external view returns (Rates memory lowest, Rates memory highest, Rates memory stepMax);

    /// @notice The rates in force at the second `time`: of the last decision that took effect by then, else the
    /// founding's.
    function ratesAt(uint48 time) external view returns (Rates memory);

    /// @notice What `ballot` decided; all zero if nothing is written of it.
    function decisionOf(bytes16 ballot) external view returns (Decision memory);

    /// @notice How many decisions there are.
    function count() external view returns (uint256);

    /// @notice The decision that was written as number `index`, counted from 0.
    /// @dev Reverts with Panic(0x32) from `count()` on.
    function decisionAt(uint256 index) external view returns (Decision memory);
}
